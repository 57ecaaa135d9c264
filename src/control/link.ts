// One connection that is kept open: opened, used until it ends, opened again after a pause that grows while it fails.
import { Backoff } from '#lib/backoff.ts';
import { type Clock, pause } from '#lib/clock.ts';
import { describeError, errorCode, MeshgateError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { LinkStatus } from '#model/status.ts';
import { reconnect, refusedPauseMs, stableMs } from './constants.ts';

/** What the status says of one connection. */
export class LinkState {
  readonly #name: LinkStatus['name'];
  readonly #address: string;
  readonly #clock: Clock;
  #connected = false;
  #reason = 'not connected yet';
  #since: string;

  constructor(name: LinkStatus['name'], address: string, clock: Clock) {
    this.#name = name;
    this.#address = address;
    this.#clock = clock;
    this.#since = this.#now();
  }

  get connected(): boolean {
    return this.#connected;
  }

  up(): void {
    if (!this.#connected) this.#since = this.#now();
    this.#connected = true;
    this.#reason = '';
  }

  down(reason: string): void {
    if (this.#connected) this.#since = this.#now();
    this.#connected = false;
    this.#reason = reason;
  }

  status(): LinkStatus {
    return { name: this.#name, connected: this.#connected, address: this.#address, reason: this.#reason, since: this.#since };
  }

  #now(): string {
    return new Date(this.#clock.wall()).toISOString();
  }
}

/** Ends the pause before the next attempt, the one that lasts or else the next one: there is reason to hope. */
export class Nudge {
  #pending = false;
  #waiting = new AbortController();

  now(): void {
    this.#pending = true;
    this.#waiting.abort();
  }

  async pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#pending) {
      this.#waiting = new AbortController();
      await pause(clock, delayMs, AbortSignal.any([signal, this.#waiting.signal]));
    }
    this.#pending = false;
  }
}

export interface KeepOpenOptions {
  readonly state: LinkState;
  readonly clock: Clock;
  readonly log: Logger;
  /** Ends the keeping. */
  readonly signal: AbortSignal;
  readonly nudge?: Nudge;
  /** Opens, calls `state.up()`, and returns when the connection has ended. Throwing is an ending with a reason. */
  open(signal: AbortSignal): Promise<void>;
  /** Told each refusal; the next attempt follows after a long pause. */
  refused?(reason: string): void;
}

/** Keeps a connection open until the signal aborts. Never rejects. */
export async function keepOpen(options: KeepOpenOptions): Promise<void> {
  const { state, clock, log, signal, nudge = new Nudge() } = options;
  const backoff = new Backoff({ ...reconnect, random: Math.random });
  while (!signal.aborted) {
    const startedAt = clock.now();
    let pauseMs: number | undefined;
    try {
      await options.open(signal);
      state.down('the other side ended the connection');
    } catch (error) {
      if (signal.aborted) break;
      state.down(reasonOf(error));
      log.debug('link failed', { link: state.status().name, reason: describeError(error) });
      if (isRefusal(error)) {
        options.refused?.(reasonOf(error));
        pauseMs = refusedPauseMs;
      }
    }
    if (clock.now() - startedAt >= stableMs) backoff.reset();
    await nudge.pause(clock, pauseMs ?? backoff.next(), signal);
  }
  state.down('closed');
}

/** Whether the other side will go on refusing until somebody acts. */
function isRefusal(error: unknown): boolean {
  return errorCode(error) === 'RPC_PERMISSION_DENIED';
}

/** The other side's own words where it said some, else ours. For people. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof MeshgateError)) return 'failed';
  return error.code.startsWith('RPC_') && error.detail !== '' ? `${error.message} (${error.detail})` : error.message;
}
