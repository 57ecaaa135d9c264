// Wrong passwords and codes, counted by name: after a few, each one more doubles the time in which no further is looked at. Counting goes by
// name, so it holds for names that do not exist too and tells nobody which do.
import type { Clock } from '#lib/clock.ts';
import { attemptMemoryMs, firstAttemptDelayMs, freeAttempts, maxAttemptDelayMs } from './constants.ts';
import { domainError } from './errors.ts';

interface Failures {
  readonly count: number;
  readonly last: number;
  readonly waitUntil: number;
}

export class Attempts {
  readonly #clock: Clock;
  readonly #limit: number;
  /** Least recent failure first. Pushing a name out takes as many password checks as the table has rows, which is slower than waiting. */
  readonly #failures = new Map<string, Failures>();

  constructor(clock: Clock, limit: number) {
    this.#clock = clock;
    this.#limit = limit;
  }

  get size(): number {
    return this.#failures.size;
  }

  /** Throws DOMAIN_TOO_MANY_ATTEMPTS while the name has to wait. An attempt made meanwhile does not make it longer. */
  check(name: string): void {
    const failures = this.#failures.get(name);
    if (failures !== undefined && failures.waitUntil > this.#clock.now()) throw domainError('DOMAIN_TOO_MANY_ATTEMPTS');
  }

  /**
   * Counts an attempt as wrong before it is looked at, so that many at once are counted too; `succeeded` takes it back.
   * Throws as `check` does.
   */
  begin(name: string): void {
    this.check(name);
    const now = this.#clock.now();
    const before = this.#failures.get(name);
    const count = (before === undefined || now - before.last > attemptMemoryMs ? 0 : before.count) + 1;
    const delay = count < freeAttempts ? 0 : Math.min(maxAttemptDelayMs, firstAttemptDelayMs * 2 ** (count - freeAttempts));
    this.#failures.delete(name);
    this.#failures.set(name, { count, last: now, waitUntil: now + delay });
    if (this.#failures.size > this.#limit) {
      const oldest = this.#failures.keys().next().value;
      if (oldest !== undefined) this.#failures.delete(oldest);
    }
  }

  /** The attempt was never looked at: it does not count, nor does anybody wait for it. */
  withdraw(name: string): void {
    const failures = this.#failures.get(name);
    if (failures !== undefined) this.#failures.set(name, { ...failures, count: Math.max(0, failures.count - 1), waitUntil: 0 });
  }

  succeeded(name: string): void {
    this.#failures.delete(name);
  }
}
