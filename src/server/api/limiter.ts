// Token buckets per key, in bounded memory: for endpoints without sign-in and for credentials that do not fit.

export interface LimiterOptions {
  /** This many at once. */
  readonly burst: number;
  /** One more after each interval. */
  readonly intervalMs: number;
  /** Keys remembered; the one used longest ago is forgotten first. */
  readonly maxKeys: number;
}

interface Bucket {
  readonly left: number;
  readonly at: number;
}

export class Limiter {
  readonly #options: LimiterOptions;
  readonly #buckets = new Map<string, Bucket>();

  constructor(options: LimiterOptions) {
    this.#options = options;
  }

  /** Takes one; false where nothing is left. `now` is monotonic milliseconds. */
  take(key: string, now: number): boolean {
    const left = this.#left(key, now);
    const fits = left >= 1;
    this.#buckets.delete(key); // back to the end of the map: the order is the order of use
    this.#buckets.set(key, { left: fits ? left - 1 : left, at: now });
    const oldest = this.#buckets.keys().next();
    if (this.#buckets.size > this.#options.maxKeys && oldest.done !== true) this.#buckets.delete(oldest.value);
    return fits;
  }

  /** Whether `take` would succeed. */
  allows(key: string, now: number): boolean {
    return this.#left(key, now) >= 1;
  }

  /** Seconds after which one more fits, at least 1: for `Retry-After`. */
  retrySeconds(key: string, now: number): number {
    return Math.max(1, Math.ceil(((1 - this.#left(key, now)) * this.#options.intervalMs) / 1000));
  }

  get size(): number {
    return this.#buckets.size;
  }

  #left(key: string, now: number): number {
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return this.#options.burst;
    return Math.min(this.#options.burst, bucket.left + (now - bucket.at) / this.#options.intervalMs);
  }
}
