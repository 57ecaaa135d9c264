// Counts what an address or an account does in vain, and says how long to wait. The tables are bounded: an attacker with many addresses
// pushes out the oldest counts, not the process.
import { createHash } from 'node:crypto';
import { callerNetwork } from '#lib/ip.ts';
import type { Clock } from '#lib/clock.ts';
import {
  accountDelayMaxMs,
  attemptDelayMaxMs,
  attemptDelayMs,
  attemptForgetMs,
  attemptTableSize,
  attemptsFree,
  startsPerMinute,
} from './constants.ts';

const accountPrefix = 'account:';

interface Count {
  readonly failures: number;
  readonly at: number;
}

/** Growing delays after failed sign-ins, by key. A refused attempt does not count, so waiting always helps. */
export class FailedAttempts {
  readonly #clock: Clock;
  readonly #counts = new Map<string, Count>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Milliseconds until any of the keys may try again; 0 is now. */
  waitMs(keys: readonly string[]): number {
    const now = this.#clock.now();
    return Math.max(0, ...keys.map((key) => this.#waitOf(key, now)));
  }

  /** Counts an attempt before it is made, so that parallel ones count as well. */
  failed(keys: readonly string[]): void {
    const now = this.#clock.now();
    for (const key of keys) {
      const before = this.#counts.get(key);
      const failures = before === undefined || now - before.at > attemptForgetMs ? 1 : before.failures + 1;
      this.#counts.delete(key); // the order of the map is the order of the last failure
      this.#counts.set(key, { failures, at: now });
    }
    for (const oldest of this.#counts.keys()) {
      if (this.#counts.size <= attemptTableSize) break;
      this.#counts.delete(oldest);
    }
  }

  /** A success clears the account's count and takes the one attempt back from the address. */
  succeeded(account: string, address: string): void {
    this.#counts.delete(account);
    const count = this.#counts.get(address);
    if (count === undefined) return;
    if (count.failures <= 1) this.#counts.delete(address);
    else this.#counts.set(address, { ...count, failures: count.failures - 1 });
  }

  get size(): number {
    return this.#counts.size;
  }

  #waitOf(key: string, now: number): number {
    const count = this.#counts.get(key);
    if (count === undefined || count.failures < attemptsFree || now - count.at > attemptForgetMs) return 0;
    const longest = key.startsWith(accountPrefix) ? accountDelayMaxMs : attemptDelayMaxMs;
    const delay = Math.min(longest, attemptDelayMs * 2 ** (count.failures - attemptsFree));
    return Math.max(0, count.at + delay - now);
  }
}

/** A number of starts per minute and key; each start leaves a record in the vault. */
export class StartLimit {
  readonly #clock: Clock;
  readonly #starts = new Map<string, { count: number; readonly since: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether the key may start once more now. */
  take(key: string): boolean {
    const now = this.#clock.now();
    const entry = this.#starts.get(key);
    if (entry !== undefined && now - entry.since < 60_000) return ++entry.count <= startsPerMinute;
    this.#starts.delete(key);
    this.#starts.set(key, { count: 1, since: now });
    for (const oldest of this.#starts.keys()) {
      if (this.#starts.size <= attemptTableSize) break;
      this.#starts.delete(oldest);
    }
    return true;
  }

  get size(): number {
    return this.#starts.size;
  }
}

/** The key of an address, apart from those of accounts. */
export function addressKey(remoteAddress: string | undefined): string {
  return `address:${callerNetwork(remoteAddress)}`;
}

/** The key of an account name: one for every spelling, and no longer than any other. */
export function accountKey(email: string): string {
  return `${accountPrefix}${createHash('sha256').update(email.normalize('NFKC').trim().toLowerCase()).digest('base64url')}`;
}
