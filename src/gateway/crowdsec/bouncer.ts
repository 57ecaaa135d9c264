// The gateway as a CrowdSec bouncer: it keeps the LAPI's decisions at hand. Until they have come once nothing can be said of anybody; while the
// LAPI is away later, the last ones known hold, also beyond their time.
import { setImmediate } from 'node:timers/promises';
import { sleep } from '#lib/backoff.ts';
import { describeError } from '#lib/errors.ts';
import type { IpAddress } from '#lib/ip.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { GeoLookup, Reputation } from '#publish/index.ts';
import { crowdsecCallMs, crowdsecDecisions, crowdsecFirstMs, crowdsecPollMs, crowdsecResyncMs, crowdsecSlice } from '../constants.ts';
import { Decisions } from './decisions.ts';
import { askDecisions, type DecisionStream, type LapiAddress } from './lapi.ts';

export interface BouncerOptions extends LapiAddress {
  readonly log: Logger;
  /** Between two questions; ten seconds where it is left out. */
  readonly pollMs?: number | undefined;
}

export class CrowdsecBouncer implements Reputation, Closable {
  readonly #options: BouncerOptions;
  readonly #stopping = new AbortController();
  #decisions = new Decisions();
  /** Whether all of them have come once. */
  #known = false;
  #failure = '';
  #overfull = false;
  #version = 0;
  /** Something was deleted that is not known: two LAPIs, or one that tells less than it deletes. Asked for anew then, but not all the time. */
  #astray = false;
  #syncedAt = 0;
  #running: Promise<void> | undefined;

  constructor(options: BouncerOptions) {
    this.#options = options;
  }

  /** Asks until it is closed. Never rejects. */
  start(): void {
    this.#running ??= this.#run();
  }

  get size(): number {
    return this.#decisions.size;
  }

  /** Grows with each change of what is known. */
  version(): number {
    return this.#version;
  }

  problem(): string {
    if (!this.#known) return `CrowdSec has not told its decisions yet${this.#failure === '' ? '' : `: ${this.#failure}`}`;
    return this.#overfull ? `CrowdSec has more than ${crowdsecDecisions} decisions` : '';
  }

  /** Why what is known may be old; empty where it is not. */
  get outage(): string {
    return this.#known && this.#failure !== '' ? `CrowdSec cannot be asked, its last known decisions hold: ${this.#failure}` : '';
  }

  banned(address: IpAddress, geo: GeoLookup): string | undefined {
    return this.#decisions.banned(address, geo);
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { log, pollMs = crowdsecPollMs } = this.#options;
    while (!signal.aborted) {
      const whole = !this.#known || this.#failure !== '' || (this.#astray && performance.now() - this.#syncedAt >= crowdsecResyncMs);
      try {
        const stream = await askDecisions(this.#options, whole, AbortSignal.any([signal, AbortSignal.timeout(crowdsecCallMs)]));
        await this.#apply(stream, whole);
        if (this.#failure !== '') log.info('CrowdSec answers again', { decisions: this.size });
        this.#failure = '';
      } catch (error) {
        if (signal.aborted) return;
        const failure = describeError(error);
        if (failure !== this.#failure) log.warn('CrowdSec cannot be asked', { error: failure, decisions: this.size });
        this.#failure = failure;
      }
      // While nothing is known, services are closed.
      await sleep(this.#known ? pollMs : Math.min(pollMs, crowdsecFirstMs), signal);
    }
  }

  /** In slices, so that requests go on meanwhile; a whole answer takes the place of what was known at once. */
  async #apply({ added, deleted, unread }: DecisionStream, whole: boolean): Promise<void> {
    const decisions = whole ? new Decisions() : this.#decisions;
    let strange = unread;
    let overfull = false;
    for (const [i, decision] of added.entries()) {
      if (decisions.size >= crowdsecDecisions) overfull = true;
      else if (!decisions.add(decision)) strange++;
      if (i % crowdsecSlice === crowdsecSlice - 1) await setImmediate();
    }
    // What a whole answer has deleted is not in it.
    let astray = false;
    if (!whole) for (const decision of deleted) if (!decisions.delete(decision)) astray = true;
    if (strange > 0) this.#options.log.warn('some decisions of CrowdSec cannot be read', { count: strange });
    if (overfull) this.#options.log.error('CrowdSec has too many decisions', { limit: crowdsecDecisions });
    this.#overfull = whole ? overfull : this.#overfull || overfull;
    this.#astray = astray || overfull || (!whole && this.#astray);
    if (whole) this.#syncedAt = performance.now();
    const changed = !this.#known || whole || added.length + deleted.length > 0;
    this.#decisions = decisions;
    this.#known = true;
    if (changed) this.#version++;
  }
}
