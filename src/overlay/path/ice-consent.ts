// Whether the pair in use still carries (consent, RFC 7675), without I/O: when to ask, what an answer proves, when to give up. A pair with
// traffic is asked more often, and one that may have moved is asked quickly.
import {
  ICE_CONSENT_BUSY_MS,
  ICE_CONSENT_INTERVAL_MS,
  ICE_CONSENT_JITTER,
  ICE_CONSENT_RETRY_MS,
  ICE_DISCONNECTED_MS,
  ICE_FAILED_MS,
  PATH_MOVED_MS,
  PATH_VERIFY_MS,
  PATH_VERIFY_RETRY_MS,
} from '../constants.ts';

/** Questions in vain after which another pair that is proven may take over. */
const doubtAfter = 2;

export class IceConsent {
  readonly #random: (target: Uint8Array) => void;
  #askAt = Infinity;
  #answeredAt = 0;
  /** Questions since the last answer. */
  #unanswered = 0;
  /** Something was sent since the last answer. */
  #busy = false;
  #doubtUntil = -Infinity;
  /** Since when the pair has to prove itself; Infinity while it has not. */
  #verifyingSince = Infinity;
  /** Until when the other side has to follow us to where it sees us now. */
  #followUntil = Infinity;

  constructor(random: (target: Uint8Array) => void) {
    this.#random = random;
  }

  get askAt(): number {
    return this.#askAt;
  }

  get answeredAt(): number {
    return this.#answeredAt;
  }

  /** When silence makes the pair one without consent. */
  get silentAt(): number {
    return this.#answeredAt + ICE_DISCONNECTED_MS;
  }

  /** When the pair is given up, unless something speaks for it before. */
  get lostAt(): number {
    return Math.min(this.#answeredAt + ICE_DISCONNECTED_MS + ICE_FAILED_MS, this.#verifyingSince + PATH_VERIFY_MS, this.#followUntil);
  }

  /** Whether another pair may take over if it is proven. */
  get weak(): boolean {
    return this.#unanswered > doubtAfter;
  }

  /** Whether one of both sides may have moved. */
  inDoubt(now: number): boolean {
    return now < this.#doubtUntil;
  }

  /** A pair was selected. */
  begin(now: number): void {
    this.#doubtUntil = -Infinity;
    this.#followUntil = Infinity;
    this.answered(now, now);
  }

  /** A check that was sent at `sentAt` was answered. */
  answered(sentAt: number, now: number): void {
    this.#answeredAt = now;
    this.#unanswered = 0;
    if (sentAt >= this.#verifyingSince) this.#verifyingSince = Infinity;
    this.#askAt = now + this.#pause(this.#busy ? ICE_CONSENT_BUSY_MS : ICE_CONSENT_INTERVAL_MS);
    this.#busy = false;
  }

  /** A check is on its way. */
  asked(now: number): void {
    this.#unanswered++;
    this.#askAt = now + (this.#verifyingSince <= now || this.inDoubt(now) ? PATH_VERIFY_RETRY_MS : ICE_CONSENT_RETRY_MS);
  }

  /** True where the deadline moved: the first datagram since the last answer. */
  sent(now: number): boolean {
    if (this.#busy) return false;
    this.#busy = true;
    return this.#hurry(now + ICE_CONSENT_BUSY_MS);
  }

  /** The other side speaks from where we did not expect it, or again after silence: ask at once. */
  doubt(now: number, moved: boolean): void {
    if (moved) this.#doubtUntil = now + PATH_MOVED_MS;
    this.#hurry(now);
  }

  /** The network changed: the pair has PATH_VERIFY_MS to answer. */
  verify(now: number): void {
    this.#askAt = now;
    this.#verifyingSince = now;
  }

  /**
   * The other side sees us at another address than before: our NAT has a new mapping, or we another route. It still sends to the old one.
   * The controlling side's next check names the pair anew; the controlled side has to be named, and begins a new run where that stays out.
   */
  moved(controlling: boolean, now: number): void {
    this.doubt(now, true);
    if (!controlling) this.#followUntil = now + PATH_MOVED_MS;
  }

  /** The controlling side names the pair we are on. */
  named(): void {
    this.#followUntil = Infinity;
  }

  /** What carried the pair is gone. */
  cut(now: number): void {
    this.#answeredAt = Math.min(this.#answeredAt, now - ICE_DISCONNECTED_MS);
  }

  #hurry(at: number): boolean {
    if (at >= this.#askAt) return false;
    this.#askAt = at;
    return true;
  }

  #pause(interval: number): number {
    const byte = new Uint8Array(1);
    this.#random(byte);
    return interval * (1 - (ICE_CONSENT_JITTER * (byte[0] ?? 0)) / 255);
  }
}
