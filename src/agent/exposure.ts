// One service that this peer publishes by itself: asked for, renewed until it is stopped or its time is over, and asked for anew where it has
// lapsed. What becomes of it is told as it happens.
import { Backoff } from '#lib/backoff.ts';
import { type Clock, pause } from '#lib/clock.ts';
import { describeError, MeshgateError } from '#lib/errors.ts';
import type { DialTarget } from '#lib/net.ts';
import type { ExposeControl } from '#mesh/index.ts';
import type { ExposeAnswer, ExposedService, ExposeRequest } from '#model/exposure.ts';
import { exposeCallMs, exposeRefusedRetryMs, exposeRetry, firstLookMs, renewJitter, renewShare } from './constants.ts';
import type { Lead } from './forward.ts';

/** What somebody on this machine wants published. */
export interface ExposeWish {
  readonly target: DialTarget;
  /** It is not on this host: the gateways reach it without us, where policies let this peer reach it. */
  readonly remote: boolean;
  readonly request: Omit<ExposeRequest, 'port' | 'host'>;
  /** A refusal is no end: it is asked for again from time to time. */
  readonly patient: boolean;
}

/** What a restart goes on with. */
export interface ExposeResume {
  readonly id: string;
  readonly port: number;
}

export type ExposureState =
  /** Not published, or not for certain; `reason` says why not, empty at first. */
  | { readonly kind: 'asking'; readonly reason: string }
  /** `again`: it had lapsed, and this is a new one. `away`: why it could not be renewed, empty while it is. */
  | { readonly kind: 'open'; readonly service: ExposedService; readonly port: number; readonly again: boolean; readonly away: string }
  | { readonly kind: 'ended'; readonly reason: string };

export interface ExposureDeps {
  readonly control: ExposeControl;
  /** Leads a port of the overlay to the target, the one that is wished for where there is one; undefined where that is not to be had. */
  readonly lead: (target: DialTarget, port: number | undefined) => Promise<Lead | undefined>;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export class Exposure {
  readonly wish: ExposeWish;
  readonly #deps: ExposureDeps;
  readonly #stopping = new AbortController();
  readonly #listeners = new Set<(state: ExposureState) => void>();
  readonly #backoff: Backoff;
  #state: ExposureState = { kind: 'asking', reason: '' };
  #lead: Lead | undefined;
  #resume: ExposeResume | undefined;
  readonly #running: Promise<void>;

  /** Begins at once. */
  constructor(wish: ExposeWish, resume: ExposeResume | undefined, deps: ExposureDeps) {
    this.wish = wish;
    this.#resume = resume;
    this.#deps = deps;
    this.#backoff = new Backoff({ ...exposeRetry, random: deps.random });
    this.#running = this.#run();
  }

  get state(): ExposureState {
    return this.#state;
  }

  /** Calls back at each change from now on; returns how to stop. */
  onState(listener: (state: ExposureState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Takes the service away; where the control plane cannot be told in time, it lapses there. Never rejects. */
  async stop(reason = 'stopped'): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    const state = this.#state;
    this.#end(reason);
    if (state.kind !== 'open') return;
    await this.#deps.control.stopExposure(state.service.id, AbortSignal.timeout(exposeCallMs)).catch(() => undefined);
  }

  /** Ends the work and forwards nothing more, but leaves the service to whoever goes on with it: it lapses where nobody does. */
  async leave(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    this.#lead?.end();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    let had = false;
    while (!signal.aborted && this.#state.kind !== 'ended') {
      const service = this.#resume === undefined ? await this.#ask() : await this.#resumed(this.#resume);
      if (service === undefined) continue;
      this.#backoff.reset();
      this.#set({ kind: 'open', service, port: this.#lead?.port ?? this.wish.target.port, again: had, away: '' });
      had = true;
      await this.#renew(service);
    }
  }

  /** What was published before a restart, where it still is. */
  async #resumed(resume: ExposeResume): Promise<ExposedService | undefined> {
    this.#resume = undefined;
    if (!this.wish.remote && (this.#lead = await this.#deps.lead(this.wish.target, resume.port)) === undefined) return undefined;
    for (;;) {
      const answer = await this.#try((signal) => this.#deps.control.renewExposure(resume.id, signal));
      if (this.#stopping.signal.aborted) return undefined;
      if (answer?.kind === 'open') return answer.service;
      if (answer?.kind === 'withdrawn') {
        this.#end(answer.reason);
        return undefined;
      }
      if (answer !== undefined) break;
      await this.#pause(this.#backoff.next());
    }
    this.#drop();
    return undefined;
  }

  async #ask(): Promise<ExposedService | undefined> {
    const { target, remote, request, patient } = this.wish;
    if (!remote) {
      this.#lead ??= await this.#deps.lead(target, undefined);
      if (this.#lead === undefined) {
        this.#end('no port of the overlay is free for it');
        return undefined;
      }
    }
    const place = remote ? { port: target.port, host: target.host } : { port: this.#lead?.port ?? target.port, host: undefined };
    const asked: ExposeRequest = { ...request, ...place };
    const answer = await this.#try((signal) => this.#deps.control.expose(asked, signal));
    if (this.#stopping.signal.aborted) {
      // It may have come to be meanwhile: nobody would know of it.
      if (answer?.kind === 'open') await this.#deps.control.stopExposure(answer.service.id, AbortSignal.timeout(exposeCallMs)).catch(() => undefined);
      return undefined;
    }
    if (answer?.kind === 'open') return answer.service;
    if (answer?.kind === 'refused') {
      if (!patient) {
        this.#end(answer.reason);
        return undefined;
      }
      this.#set({ kind: 'asking', reason: answer.reason });
    }
    await this.#pause(answer === undefined ? this.#backoff.next() : exposeRefusedRetryMs);
    return undefined;
  }

  /** Until it has lapsed, which asks for a new one, or has ended. Renewals that fail are tried again for as long as it may still be there. */
  async #renew(first: ExposedService): Promise<void> {
    const { clock, control, random } = this.#deps;
    const { signal } = this.#stopping;
    let service = first;
    let lookMs: number = firstLookMs;
    let failing = false;
    while (!signal.aborted) {
      const everyMs = service.ttlMs * renewShare * (1 - renewJitter * random());
      // Gateways say soon whether it can be reached; until then it is looked at more often.
      const soon = service.state !== '' && service.state !== 'active' && lookMs < everyMs;
      const dueMs = failing ? Math.min(this.#backoff.next(), everyMs) : soon ? lookMs : everyMs;
      if (soon) lookMs *= 2;
      const leftMs = service.endsAt === undefined ? Number.POSITIVE_INFINITY : service.endsAt - clock.wall();
      await pause(clock, Math.min(dueMs, Math.max(0, leftMs)), signal);
      if (signal.aborted) return;
      if (service.endsAt !== undefined && clock.wall() >= service.endsAt) return this.#end('its time is over');
      const id = service.id;
      const answer = await this.#try((within) => control.renewExposure(id, within));
      if (signal.aborted) return;
      failing = answer === undefined;
      if (answer === undefined) continue;
      this.#backoff.reset();
      if (answer.kind === 'withdrawn') return this.#end(answer.reason);
      if (answer.kind === 'refused') {
        if (!this.wish.patient) return this.#end(answer.reason);
        this.#set({ kind: 'asking', reason: answer.reason });
        return this.#pause(exposeRefusedRetryMs);
      }
      if (answer.kind === 'lapsed') return this.#set({ kind: 'asking', reason: 'it had lapsed' });
      service = answer.service;
      this.#opened(service);
    }
  }

  #opened(service: ExposedService): void {
    const { state } = this;
    if (state.kind !== 'open') return;
    const same = state.away === '' && state.service.state === service.state && state.service.reason === service.reason;
    if (!same) this.#set({ ...state, service, again: false, away: '' });
  }

  /** Undefined where the control plane could not be asked, which is told. */
  async #try(call: (signal: AbortSignal) => Promise<ExposeAnswer>): Promise<ExposeAnswer | undefined> {
    try {
      return await call(AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(exposeCallMs)]));
    } catch (error) {
      if (this.#stopping.signal.aborted) return undefined;
      const reason = error instanceof MeshgateError ? publicText(error) : describeError(error);
      const { state } = this;
      if (state.kind === 'asking' && state.reason !== reason) this.#set({ kind: 'asking', reason });
      if (state.kind === 'open' && state.away !== reason) this.#set({ ...state, again: false, away: reason });
      return undefined;
    }
  }

  #pause(delayMs: number): Promise<void> {
    return pause(this.#deps.clock, delayMs, this.#stopping.signal);
  }

  #drop(): void {
    this.#lead?.end();
    this.#lead = undefined;
  }

  #end(reason: string): void {
    this.#drop();
    if (this.#state.kind !== 'ended') this.#set({ kind: 'ended', reason });
  }

  #set(state: ExposureState): void {
    this.#state = state;
    for (const listener of this.#listeners) listener(state);
  }
}

/** The other side's own words where it said some. */
function publicText({ message, detail }: MeshgateError): string {
  return detail === '' ? message : `${message} (${detail})`;
}
