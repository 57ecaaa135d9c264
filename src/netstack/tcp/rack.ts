// RACK (RFC 8985 §6): bytes are lost when others that were sent later have arrived and a little time for reordering has passed. How much
// time is learnt: none until reordering is seen, then a quarter of the shortest round trip, more where D-SACKs say that it was too little.
import { DUPLICATE_ACKS, MIN_RTT_AGE_MS, REORDER_PERSIST, REORDER_STEPS } from '../constants.ts';
import { seqLess } from './seq.ts';
import type { SentRanges } from './sent.ts';

export class Rack {
  /** Shortest round trip of late, in milliseconds; Infinity before the first. */
  minRtt = Infinity;
  /** When what still has its time for reordering will count as lost. */
  dueAt = Infinity;
  #minRttAt = -Infinity;
  /** The most recently sent bytes that have arrived: when they were sent, where they end, how long they took. */
  #at = -Infinity;
  #end = 0;
  #rtt = 0;
  #reordered = false;
  /** Quarters of the shortest round trip to wait; back to one when this many recoveries brought no D-SACK. */
  #steps = 1;
  #persist = 0;
  /** One step for each round trip: D-SACKs count again when this has been acknowledged. */
  #roundEnd: number | undefined;

  /** Takes in what an acknowledgment brought. `echoedBefore`: its timestamp says that it answers an earlier copy of the newest bytes. */
  update(sent: SentRanges, echoedBefore: boolean, now: number): void {
    if (sent.onceLastAt !== -Infinity) this.takeRoundTrip(now - sent.onceLastAt, now);
    if (sent.reordered) this.#reordered = true;
    if (sent.delivered === 0) return;
    const rtt = now - sent.newestAt;
    // Sooner than any round trip: the first copy arrived, not the one that was sent then (§6.2 step 2).
    if (sent.newestAgain && (echoedBefore || rtt < this.minRtt)) return;
    this.#rtt = rtt;
    if (sent.newestAt > this.#at || (sent.newestAt === this.#at && seqLess(this.#end, sent.newestEnd))) {
      this.#at = sent.newestAt;
      this.#end = sent.newestEnd;
    }
  }

  /** The peer got bytes twice: what was sent again had only been late. */
  onDuplicate(una: number, nxt: number): void {
    if (this.#roundEnd !== undefined && seqLess(una, this.#roundEnd)) return;
    this.#roundEnd = nxt;
    this.#steps = Math.min(REORDER_STEPS, this.#steps + 1);
    this.#persist = REORDER_PERSIST;
  }

  onRecoveryEnd(): void {
    if (this.#persist > 0 && --this.#persist === 0) this.#steps = 1;
  }

  /** Marks what is lost by now. `recovering`: loss is known already, so without any sign of reordering there is nothing to wait for. */
  detect(sent: SentRanges, recovering: boolean, mss: number, smoothed: number, now: number): void {
    this.dueAt = Infinity;
    if (this.#at === -Infinity) return;
    const certain = recovering || sent.sackedBytes > (DUPLICATE_ACKS - 1) * mss;
    let window = 0;
    if (this.#reordered || !certain) window = Math.min((this.#steps * this.minRtt) / 4, smoothed);
    this.dueAt = sent.markOverdue(this.#at, this.#end, this.#rtt + window, now);
  }

  /** Takes a round trip that is certain, in milliseconds. */
  takeRoundTrip(rtt: number, now: number): void {
    if (rtt > this.minRtt && now - this.#minRttAt < MIN_RTT_AGE_MS) return;
    this.minRtt = Math.max(0.01, rtt);
    this.#minRttAt = now;
  }
}
