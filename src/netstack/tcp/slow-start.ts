// HyStart++ (RFC 9406): leaves slow start when round trips grow, before the queue on the way overflows. First more slowly for a few
// rounds, to see whether the delay was only a passing one.

/** Round trips that make up an opinion. */
const SAMPLES = 8;
const THRESHOLD_MIN_MS = 4;
const THRESHOLD_MAX_MS = 16;
/** While in doubt the window grows at a quarter of the speed, for so many rounds. */
const DOUBT_DIVISOR = 4;
const DOUBT_ROUNDS = 5;

export class SlowStart {
  #windowEnd: number | undefined;
  #lastMin = Infinity;
  #currentMin = Infinity;
  #samples = 0;
  #doubtRounds = 0;
  #doubtBase = Infinity;

  /** By what the growth of slow start is divided now. */
  get divisor(): number {
    return this.#doubtRounds > 0 ? DOUBT_DIVISOR : 1;
  }

  /**
   * Takes one ACK of slow start: the round trip of the newest bytes that it brought, or undefined where none could be told. Returns
   * whether slow start is over.
   */
  onAck(una: number, nxt: number, rttMs: number | undefined): boolean {
    if (this.#windowEnd === undefined || ((una - this.#windowEnd) | 0) >= 0) {
      this.#windowEnd = nxt;
      this.#lastMin = this.#currentMin;
      this.#currentMin = Infinity;
      this.#samples = 0;
      if (this.#doubtRounds > 0 && ++this.#doubtRounds > DOUBT_ROUNDS) return true;
    }
    if (rttMs === undefined) return false;
    this.#currentMin = Math.min(this.#currentMin, rttMs);
    this.#samples++;
    if (this.#samples < SAMPLES) return false;
    if (this.#doubtRounds > 0) {
      if (this.#currentMin < this.#doubtBase) this.#doubtRounds = 0;
    } else if (this.#lastMin !== Infinity && this.#currentMin !== Infinity) {
      const threshold = Math.max(THRESHOLD_MIN_MS, Math.min(this.#lastMin / 8, THRESHOLD_MAX_MS));
      if (this.#currentMin >= this.#lastMin + threshold) {
        this.#doubtBase = this.#currentMin;
        this.#doubtRounds = 1;
      }
    }
    return false;
  }

  /** The window was reduced or forgotten: whatever slow start follows is measured anew. */
  restart(): void {
    this.#windowEnd = undefined;
    this.#lastMin = Infinity;
    this.#currentMin = Infinity;
    this.#samples = 0;
    this.#doubtRounds = 0;
  }
}
