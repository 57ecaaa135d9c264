// Deadlines of many connections with one timer: each holds a time, and one sweep looks for those that have passed. Setting costs a store.
import type { Clock, Timer } from '#lib/clock.ts';
import { SWEEP_MS } from '../constants.ts';

export interface Deadlined {
  /** Monotonic milliseconds; Infinity for none. */
  deadline: number;
  /** Called by the sweep once the time has passed; it must set a new deadline or leave the set. */
  expire(now: number): void;
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #members = new Set<Deadlined>();
  readonly #each: (() => void) | undefined;
  #timer: Timer | undefined;
  #closed = false;

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

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#members.clear();
  }

  #arm(): void {
    this.#timer = this.#clock.after(SWEEP_MS, () => {
      if (this.#closed) return;
      const now = this.#clock.now();
      for (const member of this.#members) {
        if (member.deadline <= now) member.expire(now);
      }
      this.#each?.();
      this.#arm();
    });
  }
}
