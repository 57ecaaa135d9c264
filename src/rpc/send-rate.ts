// A token bucket per sending address, in a table of bounded size: the oldest entry gives way.

interface Bucket {
  tokens: number;
  at: number;
}

export class SendRate {
  readonly #burst: number;
  readonly #perMs: number;
  readonly #limit: number;
  readonly #now: () => number;
  readonly #buckets = new Map<string, Bucket>();

  /** `now` is monotonic milliseconds. */
  constructor(burst: number, perSecond: number, limit: number, now: () => number) {
    this.#burst = burst;
    this.#perMs = perSecond / 1000;
    this.#limit = limit;
    this.#now = now;
  }

  /** Whether this sender may send one more now. */
  take(sender: string): boolean {
    const now = this.#now();
    const known = this.#buckets.get(sender);
    const tokens = known === undefined ? this.#burst : Math.min(this.#burst, known.tokens + (now - known.at) * this.#perMs);
    this.#buckets.delete(sender);
    if (this.#buckets.size >= this.#limit) {
      const oldest = this.#buckets.keys().next();
      if (oldest.done !== true) this.#buckets.delete(oldest.value);
    }
    const allowed = tokens >= 1;
    this.#buckets.set(sender, { tokens: allowed ? tokens - 1 : tokens, at: now });
    return allowed;
  }
}
