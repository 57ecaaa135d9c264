// Connections before they are: the way to the target is opened at the SYN, and only then the caller hears that it is open. So a target that
// refuses is a port that refuses, and the caller knows that not one byte of his was sent.
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '#lib/clock.ts';
import { errorCode } from '#lib/errors.ts';
import { formatIp } from '#lib/ip.ts';
import type { SocketAddress, SynVerdict } from '#netstack/types.ts';
import { MAX_OPENINGS, OPENING_KEPT_MS, OPENING_MS } from './constants.ts';

/** Opens the way to what stands at `local`; gives up where the signal aborts. */
export type OpenWay = (local: SocketAddress, signal: AbortSignal) => Promise<Duplex>;

interface Opening {
  readonly caller: string;
  readonly giveUp: AbortController;
  timer: Timer;
  state:
    | { readonly kind: 'dialling' }
    | { readonly kind: 'open'; readonly way: Duplex }
    | { readonly kind: 'failed'; readonly verdict: Exclude<SynVerdict, 'accept'> };
}

export class Openings {
  readonly #clock: Clock;
  readonly #open: OpenWay;
  readonly #openings = new Map<string, Opening>();
  readonly #ofCaller = new Map<string, number>();

  constructor(clock: Clock, open: OpenWay) {
    this.#clock = clock;
    this.#open = open;
  }

  /**
   * What becomes of a permitted SYN. The first one opens the way and is held; so are its repetitions, until the way is open or has failed, of
   * which `again` tells. Undefined `again`: nothing is opened, as this is the last step of a handshake. A caller who opens too many at once is
   * held without anything being opened, so that he tries again: each may have as many as are free after them, which leaves room for any other.
   */
  judge(local: SocketAddress, remote: SocketAddress, again: (() => void) | undefined): SynVerdict {
    const key = keyOf(local, remote);
    const known = this.#openings.get(key);
    if (known !== undefined) return this.#verdict(key, known);
    if (again === undefined) return 'refuse';
    const caller = formatIp(remote.ip);
    const ofCaller = this.#ofCaller.get(caller) ?? 0;
    if (ofCaller >= MAX_OPENINGS - this.#openings.size) return 'hold';
    const giveUp = new AbortController();
    const timer = this.#clock.after(OPENING_MS, () => giveUp.abort());
    const opening: Opening = { caller, giveUp, timer, state: { kind: 'dialling' } };
    this.#openings.set(key, opening);
    this.#ofCaller.set(caller, ofCaller + 1);
    void this.#dial(key, opening, local, again);
    return 'hold';
  }

  /** Whether a SYN from there has been seen, and is neither refused nor accepted yet. */
  has(local: SocketAddress, remote: SocketAddress): boolean {
    return this.#openings.has(keyOf(local, remote));
  }

  /** Hands over the open way of a connection that was accepted; undefined where there is none. */
  take(local: SocketAddress, remote: SocketAddress): Duplex | undefined {
    const key = keyOf(local, remote);
    const opening = this.#openings.get(key);
    if (opening?.state.kind !== 'open') return undefined;
    this.#forget(key, opening);
    return opening.state.way;
  }

  /** The caller is gone. */
  withdraw(local: SocketAddress, remote: SocketAddress): void {
    if (this.#openings.size === 0) return;
    const key = keyOf(local, remote);
    const opening = this.#openings.get(key);
    if (opening !== undefined) this.#drop(key, opening);
  }

  /** Ways that are being opened, or wait for their caller. */
  get size(): number {
    return this.#openings.size;
  }

  close(): void {
    for (const [key, opening] of this.#openings) this.#drop(key, opening);
  }

  /** A refusal is forgotten with the answer; a silent failure stays, so that repetitions open nothing more for a while. */
  #verdict(key: string, opening: Opening): SynVerdict {
    const { state } = opening;
    if (state.kind === 'dialling') return 'hold';
    if (state.kind === 'open') return 'accept';
    if (state.verdict !== 'hold') this.#forget(key, opening);
    return state.verdict;
  }

  async #dial(key: string, opening: Opening, local: SocketAddress, again: () => void): Promise<void> {
    const { signal } = opening.giveUp;
    const state = await this.#open(local, signal).then(
      (way): Opening['state'] => {
        way.on('error', () => undefined);
        return { kind: 'open', way };
      },
      (error: unknown): Opening['state'] => ({ kind: 'failed', verdict: signal.aborted ? 'hold' : verdictOf(error) }),
    );
    if (this.#openings.get(key) !== opening) {
      if (state.kind === 'open') state.way.destroy();
      return;
    }
    opening.state = state;
    opening.timer.cancel();
    opening.timer = this.#clock.after(OPENING_KEPT_MS, () => this.#drop(key, opening));
    again();
  }

  /** The caller is gone, or we are. */
  #drop(key: string, opening: Opening): void {
    this.#forget(key, opening);
    opening.giveUp.abort();
    if (opening.state.kind === 'open') opening.state.way.destroy();
  }

  #forget(key: string, opening: Opening): void {
    if (this.#openings.get(key) !== opening) return;
    this.#openings.delete(key);
    opening.timer.cancel();
    const left = (this.#ofCaller.get(opening.caller) ?? 1) - 1;
    if (left > 0) this.#ofCaller.set(opening.caller, left);
    else this.#ofCaller.delete(opening.caller);
  }
}

const unreachable = new Set(['EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENETDOWN']);

/** What the caller hears of a target that cannot be reached: what it would hear of one in the same network. */
function verdictOf(error: unknown): Exclude<SynVerdict, 'accept'> {
  const code = errorCode(error) ?? '';
  if (code === 'ETIMEDOUT' || code === 'ABORT_ERR') return 'hold';
  return unreachable.has(code) ? 'unreachable' : 'refuse';
}

function keyOf(local: SocketAddress, remote: SocketAddress): string {
  return `${formatIp(remote.ip)} ${remote.port} ${formatIp(local.ip)} ${local.port}`;
}
