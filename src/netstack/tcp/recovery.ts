// Where a connection stands in repairing loss, and how fast it sends while it does: proportional rate reduction (RFC 6937 with the
// safer bound of its successor), which spreads the decrease of the window over the round trip in which loss was found.

/** open: nothing known lost; recovery: loss found by ACKs; timeout: all that was outstanding counted as lost. */
export type RecoveryMode = 'open' | 'recovery' | 'timeout';

export class Recovery {
  mode: RecoveryMode = 'open';
  /** It ends when this is acknowledged: what had been sent when it began. */
  point = 0;
  /** ACKs without progress, for a peer that sends no SACK. */
  duplicateAcks = 0;
  /** Bytes sent since the recovery began, in it and for it. */
  out = 0;
  #delivered = 0;
  #flightBefore = 1;

  /** Loss was found; `flight` is what was outstanding, in bytes. */
  enter(nxt: number, flight: number): void {
    this.mode = 'recovery';
    this.point = nxt;
    this.out = 0;
    this.#delivered = 0;
    this.#flightBefore = Math.max(1, flight);
  }

  enterTimeout(nxt: number): void {
    this.mode = 'timeout';
    this.point = nxt;
    this.duplicateAcks = 0;
  }

  finish(): void {
    this.mode = 'open';
    this.duplicateAcks = 0;
  }

  /**
   * The congestion window after an ACK that brought `delivered` bytes. `pipe` is what is in the network, `threshold` where the window
   * is going. `safe`: it made progress and showed no further loss.
   */
  window(delivered: number, pipe: number, threshold: number, safe: boolean, mss: number): number {
    this.#delivered += delivered;
    let count: number;
    if (pipe > threshold) {
      count = Math.ceil((this.#delivered * threshold) / this.#flightBefore) - this.out;
    } else {
      const limit = Math.max(this.#delivered - this.out, delivered) + (safe ? mss : 0);
      count = Math.min(threshold - pipe, limit);
    }
    // The first lost segment goes out whatever the rest says.
    return pipe + Math.max(count, this.out === 0 ? mss : 0);
  }
}
