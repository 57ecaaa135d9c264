// Answers of an authority, kept for a while: served at once while fresh, asked again in the background while still good, held over an
// outage for a bounded time, and gone at once where they are revoked. Sessions and service tokens share these rules.
import type { Clock } from '#lib/clock.ts';
import { untilAborted } from './abort.ts';
import {
  authorityMs,
  authorityParallel,
  authorityRetryMs,
  missTableSize,
  sessionFreshMs,
  sessionGraceMs,
  sessionMissMs,
  sessionTableSize,
  sessionWaitMs,
} from './constants.ts';
import { identityError } from './errors.ts';

export interface AnswerCacheOptions<A> {
  readonly clock: Clock;
  /** Whether the answer lets the caller in. */
  readonly live: (answer: A) => boolean;
  /** Wall-clock milliseconds after which a live answer is over, whatever happens. */
  readonly expiresAt: (answer: A) => number;
  /** Milliseconds without a look-up after which a live answer is over; undefined for no such limit. */
  readonly idleMs: (answer: A) => number | undefined;
  /** What is answered in place of one that was revoked while it was on its way. */
  readonly revoked: A;
  /** What is answered where `expiresAt` has come, or the time without use is over. */
  readonly expired: A;
  /** A live answer has ended: by the authority's word, by time, or because it could not be confirmed for too long. */
  readonly ended: (key: string, answer: A, why: EndReason) => void;
}

export type EndReason = 'revoked' | 'expired' | 'unconfirmed';

export type Ask<A> = (signal: AbortSignal) => Promise<A>;

interface Entry<A> {
  readonly answer: A;
  /** Monotonic milliseconds of the last confirmation. */
  confirmedAt: number;
  /** Not asked again before; after a failure. */
  retryAt: number;
  /** When it last went to the end of the table: its last use, to the precision of `usedAgainMs`. */
  movedAt: number;
  /** Monotonic milliseconds of `expiresAt`, as of the time when the answer came: setting the clock moves it no more (attack row C-8). */
  readonly endsAt: number;
}

interface Flight<A> {
  readonly work: Promise<A>;
  /** Revocations that came while it was under way. */
  readonly vetoes: ((key: string, answer: A) => boolean)[];
}

/** An entry in steady use is not moved more often than this: a table that loses and gains an entry with each request is made anew all the time. */
const usedAgainMs = 1_000;

/** Revocations that one question remembers; with more it counts as failed. */
const vetoesMost = 256;

export class AnswerCache<A> {
  readonly #options: AnswerCacheOptions<A>;
  /** Live answers in the order of use, to the precision of `usedAgainMs`. */
  readonly #entries = new Map<string, Entry<A>>();
  readonly #misses = new Map<string, { readonly answer: A; readonly until: number }>();
  readonly #flights = new Map<string, Flight<A>>();
  /** Whether the last question failed: then nobody waits for a renewal. */
  #away = false;

  constructor(options: AnswerCacheOptions<A>) {
    this.#options = options;
  }

  /** The answer for the key, at once where it is known. Rejects with IDENTITY_AUTHORITY_UNREACHABLE, or with the signal's reason. */
  lookup(key: string, ask: Ask<A>, signal: AbortSignal): A | Promise<A> {
    const now = this.#options.clock.now();
    const entry = this.#current(key, now);
    if (entry === undefined) {
      const miss = this.#misses.get(key);
      if (miss !== undefined && miss.until > now) return miss.answer;
      return untilAborted(this.#ask(key, ask), signal);
    }
    if (entry === 'expired') return this.#options.expired;
    if (now - entry.movedAt >= usedAgainMs) {
      entry.movedAt = now;
      this.#entries.delete(key);
      this.#entries.set(key, entry);
    }
    const age = now - entry.confirmedAt;
    if (age < sessionFreshMs || now < entry.retryAt) return entry.answer;
    const renewed = this.#ask(key, ask);
    if (age < sessionWaitMs || this.#away) {
      renewed.catch(() => undefined); // the entry has taken note
      return entry.answer;
    }
    // Too old to serve unasked, but good enough where nobody can be asked.
    const held = renewed.catch((error: unknown) => {
      const still = this.#current(key, this.#options.clock.now());
      if (still === undefined || still === 'expired') throw error;
      return still.answer;
    });
    return untilAborted(held, signal);
  }

  /** Keeps an answer that the authority gave unasked. */
  put(key: string, answer: A): void {
    this.#store(key, answer);
  }

  /** Ends every answer that the predicate names, kept or on its way. Maps may lose entries while they are walked through. */
  revoke(matches: (key: string, answer: A) => boolean): void {
    for (const [key, entry] of this.#entries) if (matches(key, entry.answer)) this.#end(key, entry.answer, 'revoked');
    for (const flight of this.#flights.values()) if (flight.vetoes.length <= vetoesMost) flight.vetoes.push(matches);
  }

  /** Has every answer asked for again at its next use: revocations may have been missed. */
  distrust(): void {
    const stale = this.#options.clock.now() - sessionWaitMs;
    for (const entry of this.#entries.values()) {
      entry.confirmedAt = Math.min(entry.confirmedAt, stale);
      entry.retryAt = 0;
    }
    this.#misses.clear();
  }

  /** Those that are kept. */
  *answers(): Iterable<A> {
    for (const { answer } of this.#entries.values()) yield answer;
  }

  /** Ends what is over; called now and then, so that open streams do not outlive their session. */
  sweep(): void {
    const now = this.#options.clock.now();
    for (const key of this.#entries.keys()) this.#current(key, now);
    for (const [key, miss] of this.#misses) if (miss.until <= now) this.#misses.delete(key);
  }

  get size(): number {
    return this.#entries.size;
  }

  get misses(): number {
    return this.#misses.size;
  }

  /** The entry where it still counts; ends it where its time is over. */
  #current(key: string, now: number): Entry<A> | 'expired' | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.endsAt <= now || now - entry.movedAt > (this.#options.idleMs(entry.answer) ?? Number.POSITIVE_INFINITY)) {
      this.#end(key, entry.answer, 'expired');
      return 'expired';
    }
    if (now - entry.confirmedAt < sessionGraceMs) return entry;
    this.#end(key, entry.answer, 'unconfirmed');
    return undefined;
  }

  #ask(key: string, ask: Ask<A>): Promise<A> {
    const running = this.#flights.get(key);
    if (running !== undefined) return running.work;
    if (this.#flights.size >= authorityParallel) return Promise.reject(identityError('IDENTITY_AUTHORITY_UNREACHABLE', 'too many questions'));
    const vetoes: Flight<A>['vetoes'] = [];
    const work = this.#askNow(key, ask, vetoes).finally(() => this.#flights.delete(key));
    this.#flights.set(key, { work, vetoes });
    return work;
  }

  async #askNow(key: string, ask: Ask<A>, vetoes: Flight<A>['vetoes']): Promise<A> {
    const deadline = new AbortController();
    const timer = this.#options.clock.after(authorityMs, () => deadline.abort(identityError('IDENTITY_AUTHORITY_UNREACHABLE', 'no answer in time')));
    try {
      const answer = await untilAborted(ask(deadline.signal), deadline.signal);
      if (vetoes.length > vetoesMost) throw identityError('IDENTITY_AUTHORITY_UNREACHABLE', 'too many revocations meanwhile');
      this.#away = false;
      if (this.#options.live(answer) && vetoes.some((veto) => veto(key, answer))) return this.#options.revoked;
      this.#store(key, answer);
      return answer;
    } catch (cause) {
      this.#away = true;
      const entry = this.#entries.get(key);
      if (entry !== undefined) entry.retryAt = this.#options.clock.now() + authorityRetryMs;
      throw identityError('IDENTITY_AUTHORITY_UNREACHABLE', '', cause);
    } finally {
      timer.cancel();
    }
  }

  #store(key: string, answer: A): void {
    const now = this.#options.clock.now();
    const before = this.#entries.get(key);
    if (!this.#options.live(answer)) {
      if (before !== undefined) this.#end(key, before.answer, 'revoked');
      bounded(this.#misses, key, { answer, until: now + sessionMissMs }, missTableSize);
      return;
    }
    this.#misses.delete(key);
    const endsAt = now + this.#options.expiresAt(answer) - this.#options.clock.wall();
    bounded(this.#entries, key, { answer, confirmedAt: now, retryAt: 0, movedAt: now, endsAt }, sessionTableSize);
  }

  #end(key: string, answer: A, why: EndReason): void {
    this.#entries.delete(key);
    this.#options.ended(key, answer, why);
  }
}

/** Puts an entry last and lets the first ones go beyond the limit. What is let go is only forgotten: it will be asked for again. */
function bounded<V>(table: Map<string, V>, key: string, value: V, limit: number): void {
  table.delete(key);
  table.set(key, value);
  for (const first of table.keys()) {
    if (table.size <= limit) break;
    table.delete(first);
  }
}
