// The window that tells replayed counters from late ones: a ring of bits in the manner of RFC 6479, where moving forward clears whole
// words instead of shifting.
import { replayRingBits } from './constants.ts';

const words = replayRingBits / 32;

/** Counters this far behind the highest one are still accepted once; one word is always being refilled. */
export const replayWindow = replayRingBits - 32;

/** One direction of one session. */
export class ReplayWindow {
  readonly #ring = new Uint32Array(words);
  #highest = -1;

  /** Whether the counter may still be accepted: not too old, not seen. */
  fresh(counter: number): boolean {
    if (counter > this.#highest) return true;
    if (this.#highest - counter >= replayWindow) return false;
    return ((this.#ring[Math.floor(counter / 32) % words] ?? 0) & (1 << (counter % 32))) === 0;
  }

  /** Marks the counter of a genuine message; false where it must be dropped after all. */
  accept(counter: number): boolean {
    if (!this.fresh(counter)) return false;
    const word = Math.floor(counter / 32);
    if (counter > this.#highest) {
      const from = Math.floor(this.#highest / 32);
      const steps = Math.min(word - from, words);
      for (let i = 1; i <= steps; i++) this.#ring[(from + i) % words] = 0;
      this.#highest = counter;
    }
    this.#ring[word % words] = (this.#ring[word % words] ?? 0) | (1 << (counter % 32));
    return true;
  }
}
