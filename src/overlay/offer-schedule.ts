// When the next offer to a peer is due (netbird-wire §5.2): a pure schedule, told of what happens and asked for a time.
import { Backoff } from '#lib/backoff.ts';
import {
  OFFER_CAP_MAX_MS,
  OFFER_CAP_MIN_MS,
  OFFER_FACTOR,
  OFFER_FIRST_AFTER_CHANGE_MS,
  OFFER_FIRST_MS,
  OFFER_JITTER,
  PARTIAL_REPEAT_MS,
  PARTIAL_RETRIES,
} from './constants.ts';

/** `partial`: the relay carries the peer, and a direct path is wanted. */
export type Reach = 'none' | 'partial' | 'full';

export class OfferSchedule {
  readonly #random: () => number;
  readonly #capMs: number;
  #backoff: Backoff;
  #reach: Reach = 'none';
  #partialOffers = 0;
  #at: number;
  /** One offer has to go out although nothing is missing: what it says is new. */
  #news = false;

  /** The first offer is due at once. */
  constructor(random: () => number, now: number) {
    this.#random = random;
    this.#capMs = OFFER_CAP_MIN_MS + random() * (OFFER_CAP_MAX_MS - OFFER_CAP_MIN_MS);
    this.#backoff = this.#newBackoff(OFFER_FIRST_MS);
    this.#at = now;
  }

  /** When to offer next; Infinity while nothing is missing. */
  get at(): number {
    return this.#reach === 'full' && !this.#news ? Infinity : this.#at;
  }

  /** An offer went out. */
  sent(now: number): void {
    this.#news = false;
    if (this.#reach === 'partial') this.#partialOffers++;
    this.#at = now + (this.#reach === 'partial' && this.#partialOffers >= PARTIAL_RETRIES ? PARTIAL_REPEAT_MS : this.#backoff.next());
  }

  /** What of the peer can be reached changed. A loss starts the quick schedule. */
  reached(reach: Reach, now: number): void {
    if (reach === this.#reach) return;
    const lost = rank(reach) < rank(this.#reach);
    this.#reach = reach;
    this.#partialOffers = 0;
    if (lost) this.restart(now);
  }

  /** Something changed that makes a new attempt worth while: quickly, then ever more slowly. `delayMs` puts the first one off. */
  restart(now: number, delayMs = OFFER_FIRST_AFTER_CHANGE_MS): void {
    this.#backoff = this.#newBackoff(OFFER_FIRST_AFTER_CHANGE_MS);
    this.#partialOffers = 0;
    this.#at = now + delayMs;
  }

  /** What our offers say changed, such as our relay: the other side has to hear it, even where nothing is missing. */
  announce(now: number, delayMs: number): void {
    this.#news = true;
    this.restart(now, delayMs);
  }

  #newBackoff(firstMs: number): Backoff {
    return new Backoff({ firstMs, factor: OFFER_FACTOR, maxMs: this.#capMs, jitter: OFFER_JITTER, random: this.#random });
  }
}

function rank(reach: Reach): number {
  return reach === 'none' ? 0 : reach === 'partial' ? 1 : 2;
}
