// Deadlines of many connections with one timer: each holds a time, and one sweep looks for those that have passed. Setting costs a store.
import type { Clock, Timer } from '#lib/clock.ts';
import { Slots, type Slotted } from '#lib/slots.ts';
import { ACCESS_MS, BODY_MIN_RATE, BODY_STALL_MS, SWEEP_MS } from '../constants.ts';

export interface Deadlined extends Slotted {
  /** Monotonic milliseconds; Infinity for none. */
  deadline: number;
  /** Called by the sweep once the time has passed; it must set a new deadline or leave the set. */
  expire(now: number): void;
}

/**
 * The deadline of a request body after `bytes` more of it. It is a bucket of time: bytes fill it at `BODY_MIN_RATE`, it holds at most
 * `BODY_STALL_MS`, and an empty one ends the body. So silence and a drip end alike, and a client that is only slow goes on (attack row D-2).
 */
export function bodyDeadline(before: number, now: number, bytes: number): number {
  return Math.min(now + BODY_STALL_MS, before + (bytes * 1_000) / BODY_MIN_RATE);
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #members = new Slots<Deadlined>();
  readonly #each: (() => void) | undefined;
  #timer: Timer | undefined;
  #closed = false;
  #accessLimit: { readonly signal: AbortSignal; readonly until: number } | undefined;

  /** `each` runs with every sweep. */
  constructor(clock: Clock, each?: () => void) {
    this.#clock = clock;
    this.#each = each;
    this.#arm();
  }

  now(): number {
    return this.#clock.now();
  }

  add(member: Deadlined): void {
    this.#members.add(member);
  }

  remove(member: Deadlined): void {
    this.#members.delete(member);
  }

  /**
   * A signal for one request's access checks: it aborts after ACCESS_MS, or up to SWEEP_MS later. Requests of one moment share it, as a timer
   * and a signal for each would live for seconds and cost more than the request.
   */
  accessLimit(): AbortSignal {
    let limit = this.#accessLimit;
    const now = this.#clock.now();
    if (limit === undefined || now >= limit.until) {
      const controller = new AbortController();
      this.#clock.after(ACCESS_MS + SWEEP_MS, () => controller.abort(new DOMException('the access checks took too long', 'TimeoutError')));
      limit = { signal: controller.signal, until: now + SWEEP_MS };
      this.#accessLimit = limit;
    }
    return limit.signal;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#members.clear();
  }

  #arm(): void {
    this.#timer = this.#clock.after(SWEEP_MS, () => {
      if (this.#closed) return;
      const now = this.#clock.now();
      this.#members.forEach((member) => {
        if (member.deadline <= now) member.expire(now);
      });
      this.#each?.();
      this.#arm();
    });
  }
}
