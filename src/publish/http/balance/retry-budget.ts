// How much of a service's traffic may be repeated: when everything fails, retries must not make it worse.
import { RETRY_BURST, RETRY_RATE, RETRY_SHARE } from '../../constants.ts';

/** A bucket that requests fill by a share of one each, and time by a little, so that quiet services may retry too. */
export class RetryBudget {
  #tokens = RETRY_BURST;
  #filledAt = -Infinity;

  /** A request came, for the first time. */
  earn(): void {
    if (this.#tokens < RETRY_BURST) this.#tokens += RETRY_SHARE;
  }

  /** Takes one retry where there is one. */
  spend(now: number): boolean {
    if (this.#filledAt === -Infinity) this.#filledAt = now;
    this.#tokens = Math.min(RETRY_BURST, this.#tokens + ((now - this.#filledAt) / 1000) * RETRY_RATE);
    this.#filledAt = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
