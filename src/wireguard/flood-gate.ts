// Decides which handshake messages are worth a key agreement. Up to a rate all are; above it (under load) a sender has to show by a
// cookie that it receives at its address, and no source, nor all together, gets more than a share.
import type { DeviceLimits } from './constants.ts';

/** `cookie` asks the sender to come again with a cookie. */
export type GateDecision = 'accept' | 'cookie' | 'drop';

const windowMs = 1_000;

/** Counts by whole seconds; the load of the second before still counts, so that the answer does not flap. */
export class FloodGate {
  readonly #limits: DeviceLimits;
  readonly #sources = new Map<string, number>();
  #windowStart = -Infinity;
  #seen = 0;
  #accepted = 0;
  #cookies = 0;
  #loadedBefore = false;

  constructor(limits: DeviceLimits) {
    this.#limits = limits;
  }

  /**
   * Asks for a message with a good MAC1. `share` and `hasCookie` are called under load only. Where `proven`, the source needs no cookie
   * and has no share of its own, but counts like the others.
   */
  decide(proven: boolean, share: () => string, hasCookie: () => boolean, now: number): GateDecision {
    if (now - this.#windowStart >= windowMs) {
      this.#loadedBefore = now - this.#windowStart < 2 * windowMs && this.#seen > this.#limits.handshakesPerSecond;
      this.#windowStart = now;
      this.#seen = 0;
      this.#accepted = 0;
      this.#cookies = 0;
      this.#sources.clear();
    }
    this.#seen++;
    if (this.#seen <= this.#limits.handshakesPerSecond && !this.#loadedBefore) return 'accept';
    if (!proven && !hasCookie()) return this.#cookies++ < this.#limits.cookieReplies ? 'cookie' : 'drop';
    if (this.#accepted >= this.#limits.handshakesAccepted) return 'drop';
    if (!proven && !this.#countSource(share())) return 'drop';
    this.#accepted++;
    return 'accept';
  }

  /** Whether the source has some of its share left in this second. */
  #countSource(name: string): boolean {
    const count = this.#sources.get(name) ?? 0;
    if (count >= this.#limits.handshakesPerSource) return false;
    if (count === 0 && this.#sources.size >= this.#limits.handshakeSources) return false;
    this.#sources.set(name, count + 1);
    return true;
  }
}
