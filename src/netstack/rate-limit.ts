// A token bucket in the caller's time, for answers that anybody can provoke.

export class RateLimit {
  readonly #perSecond: number;
  #tokens: number;
  #at = -Infinity;

  /** Allows `perSecond` a second, and as many at once after a quiet second. */
  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#tokens = perSecond;
  }

  /** Takes one token; false when there is none. */
  take(now: number): boolean {
    if (now > this.#at) {
      const gained = ((now - this.#at) * this.#perSecond) / 1000;
      this.#tokens = Math.min(this.#perSecond, this.#tokens + gained);
      this.#at = now;
    }
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
