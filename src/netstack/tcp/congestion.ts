// CUBIC (RFC 9438) with slow start from an initial window of ten segments (RFC 6928) that HyStart++ ends. Windows are bytes; the cubic
// function works in segments and seconds, as the RFC writes it.
import { INITIAL_WINDOW_BYTES, INITIAL_WINDOW_SEGMENTS } from '../constants.ts';
import { SlowStart } from './slow-start.ts';

const C = 0.4;
const BETA = 0.7;
/** RFC 9438 §4.3: makes the Reno estimate as fast as Reno with a decrease of BETA. */
const RENO_ALPHA = (3 * (1 - BETA)) / (1 + BETA);

export class Congestion {
  /** Congestion window in bytes; may have a fraction. */
  window: number;
  /** Slow-start threshold in bytes. */
  threshold = Infinity;
  readonly #slowStart = new SlowStart();
  #mss: number;
  #epochAt = -1;
  /** The last ACK, to leave out of the growth the time in which the sender did not use its window. */
  #ackAt = 0;
  /** In segments: window before the last decrease, and at the start of this epoch; the Reno estimate. */
  #maximum = 0;
  #prior = 0;
  #estimate = 0;
  #k = 0;
  #undo: { readonly window: number; readonly threshold: number; readonly maximum: number } | undefined;

  constructor(mss: number) {
    this.#mss = mss;
    this.window = initialWindow(mss);
  }

  get slowStart(): boolean {
    return this.window < this.threshold;
  }

  /** The segment size changed (options agreed, path MTU lowered). `fresh` also sets the initial window anew. */
  setMss(mss: number, fresh: boolean): void {
    this.#mss = mss;
    this.window = fresh ? initialWindow(mss) : Math.max(this.window, mss);
  }

  /** `acked` new bytes were acknowledged while the window was what limited us. `rttMs` is the smoothed round trip. */
  onAck(acked: number, now: number, rttMs: number): void {
    this.#ackAt = now;
    if (this.slowStart) {
      // Bytes count, not ACKs (RFC 3465), without its limit of two segments: receivers that join segments acknowledge many at once.
      this.window += acked / this.#slowStart.divisor;
      return;
    }
    const segments = this.window / this.#mss;
    if (this.#epochAt < 0) this.#startEpoch(segments, now);
    const elapsed = (now - this.#epochAt) / 1000;
    this.#estimate += ((this.#estimate >= this.#prior ? 1 : RENO_ALPHA) * (acked / this.#mss)) / segments;
    if (this.#cubic(elapsed) < this.#estimate) {
      this.window = Math.max(this.window, this.#estimate * this.#mss);
      return;
    }
    const target = Math.min(Math.max(this.#cubic(elapsed + rttMs / 1000), segments), 1.5 * segments);
    this.window += ((target - segments) / segments) * acked;
  }

  /** One ACK in slow start, whatever it acknowledged: the round trip of the newest bytes that it brought, where that is known. */
  onRoundTrip(una: number, nxt: number, rttMs: number | undefined): void {
    if (this.slowStart && this.#slowStart.onAck(una, nxt, rttMs)) this.threshold = this.window;
  }

  /** An ACK while the sender had less to send than it might: the time since the last is no part of the growth (RFC 9438 §5.8). */
  onUnused(now: number): void {
    if (this.#epochAt >= 0) this.#epochAt += now - Math.max(this.#ackAt, this.#epochAt);
    this.#ackAt = now;
  }

  /** Loss found by ACKs: `threshold` is where the window is to go. `flight` is what was outstanding, in bytes. */
  onLoss(flight: number): void {
    this.#remember();
    this.#decrease(flight);
  }

  /** The retransmission timer fired. `first` is false where it fires again for the same data (RFC 5681 §3.1). */
  onTimeout(flight: number, first: boolean): void {
    if (first) {
      this.#remember();
      this.#decrease(flight);
    }
    this.window = this.#mss;
  }

  /** What was taken for loss was reordering or delay (RFC 4015): back to before. */
  undo(): void {
    if (this.#undo === undefined) return;
    this.window = Math.max(this.window, this.#undo.window);
    this.threshold = this.#undo.threshold;
    this.#maximum = this.#undo.maximum;
    this.#undo = undefined;
    this.#epochAt = -1;
  }

  /** Nothing was sent for longer than the retransmission timeout: what was learnt about the path is old (RFC 5681 §4.1). */
  onIdle(): void {
    this.window = Math.min(this.window, initialWindow(this.#mss));
    this.#epochAt = -1;
    this.#slowStart.restart();
  }

  #remember(): void {
    this.#undo = { window: this.window, threshold: this.threshold, maximum: this.#maximum };
  }

  #decrease(flight: number): void {
    const segments = this.window / this.#mss;
    // Fast convergence (RFC 9438 §4.7): a flow that shrinks makes room for newer ones.
    this.#maximum = segments < this.#maximum ? (segments * (1 + BETA)) / 2 : segments;
    this.#prior = segments;
    // From what was in flight, not the window, where the sender had less to send (RFC 9438 §4.6).
    this.threshold = Math.max(Math.min(flight, this.window) * BETA, 2 * this.#mss);
    this.#epochAt = -1;
    this.#slowStart.restart();
  }

  #startEpoch(segments: number, now: number): void {
    this.#epochAt = now;
    if (this.#maximum <= segments) {
      this.#k = 0;
      this.#maximum = segments;
    } else {
      this.#k = Math.cbrt((this.#maximum - segments) / C);
    }
    this.#estimate = segments;
  }

  #cubic(seconds: number): number {
    return C * (seconds - this.#k) ** 3 + this.#maximum;
  }
}

function initialWindow(mss: number): number {
  return Math.min(INITIAL_WINDOW_SEGMENTS * mss, Math.max(2 * mss, INITIAL_WINDOW_BYTES));
}
