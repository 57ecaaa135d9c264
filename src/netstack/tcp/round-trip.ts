// The retransmission timeout (RFC 6298). The clock's granularity is far below RTO_MIN_MS, so it does not appear.
import { RTO_AFTER_SYN_LOSS_MS, RTO_INITIAL_MS, RTO_MAX_MS, RTO_MIN_MS } from '../constants.ts';

export class RoundTrip {
  /** Smoothed round trip in milliseconds, 0 before the first sample. */
  smoothed = 0;
  #variance = 0;
  #base = RTO_INITIAL_MS;
  #backoff = 0;

  /** The timeout as it is now, backed off, in milliseconds. */
  get timeout(): number {
    return Math.min(RTO_MAX_MS, this.#base * 2 ** this.#backoff);
  }

  /** How often the timer has fired since the last new acknowledgment. */
  get backoff(): number {
    return this.#backoff;
  }

  /**
   * Takes one sample, never of a segment that was sent twice unless timestamps tell the copies apart (Karn). `samples` is how many
   * a round trip brings, so that many samples do not forget faster than one would (RFC 7323 appendix G).
   */
  sample(rttMs: number, samples: number): void {
    const rtt = Math.max(rttMs, 0.1);
    if (this.smoothed === 0) {
      this.smoothed = rtt;
      this.#variance = rtt / 2;
    } else {
      const n = Math.max(1, samples);
      this.#variance += (Math.abs(this.smoothed - rtt) - this.#variance) / (4 * n);
      this.smoothed += (rtt - this.smoothed) / (8 * n);
    }
    this.#base = this.smoothed + Math.max(RTO_MIN_MS, 4 * this.#variance);
  }

  /** The timer fired: twice as long next time (RFC 6298 §5.5). */
  backOff(): void {
    if (this.#backoff < 16) this.#backoff++;
  }

  /** What made the timer fire so often is over; that it fired is not forgotten. */
  calm(): void {
    this.#backoff = Math.min(this.#backoff, 1);
  }

  /** Something new was acknowledged. */
  resetBackoff(): void {
    this.#backoff = 0;
  }

  /** The handshake is done, but only after its SYN was repeated, and no sample could be taken. */
  afterSynLoss(): void {
    if (this.smoothed === 0) this.#base = RTO_AFTER_SYN_LOSS_MS;
    this.#backoff = 0;
  }
}
