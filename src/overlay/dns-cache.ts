// Answers that are kept for as long as they are good, and questions that several wait for, asked once.
import type { Clock } from '#lib/clock.ts';
import { MAX_CACHED_ANSWERS } from './constants.ts';

/** What was answered and for how many seconds more it is good. */
export interface Cached<T> {
  readonly value: T;
  readonly leftSeconds: number;
}

export class AnswerCache<T> {
  readonly #clock: Clock;
  /** In order of use: the one used longest ago first. */
  readonly #answers = new Map<string, { readonly value: T; readonly until: number }>();
  readonly #asking = new Map<string, Promise<Cached<T>>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What is kept, or what `ask` finds; failures are not kept. */
  get(key: string, ask: () => Promise<{ readonly value: T; readonly ttlSeconds: number }>): Promise<Cached<T>> {
    const kept = this.#answers.get(key);
    const left = kept === undefined ? 0 : kept.until - this.#clock.now();
    this.#answers.delete(key);
    if (kept !== undefined && left > 0) {
      this.#answers.set(key, kept);
      return Promise.resolve({ value: kept.value, leftSeconds: left / 1000 });
    }
    const asking = this.#asking.get(key) ?? this.#ask(key, ask);
    this.#asking.set(key, asking);
    return asking;
  }

  clear(): void {
    this.#answers.clear();
  }

  /** Forgets the answers under these keys. */
  forget(which: (key: string) => boolean): void {
    for (const key of this.#answers.keys()) if (which(key)) this.#answers.delete(key);
  }

  get size(): number {
    return this.#answers.size;
  }

  async #ask(key: string, ask: () => Promise<{ readonly value: T; readonly ttlSeconds: number }>): Promise<Cached<T>> {
    try {
      const { value, ttlSeconds } = await ask();
      if (ttlSeconds > 0) this.#answers.set(key, { value, until: this.#clock.now() + ttlSeconds * 1000 });
      for (const oldest of this.#answers.keys()) {
        if (this.#answers.size <= MAX_CACHED_ANSWERS) break;
        this.#answers.delete(oldest);
      }
      return { value, leftSeconds: ttlSeconds };
    } finally {
      this.#asking.delete(key);
    }
  }
}
