// The time by which sessions end: the server's wall clock, except that it never goes back and never stands still (attack row C-8).
import type { Clock } from '#lib/clock.ts';

export class SessionTime {
  readonly #clock: Clock;
  #wall: number;
  #monotonic: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#wall = clock.wall();
    this.#monotonic = clock.now();
  }

  /** Milliseconds since 1970. A wall clock that is set back is not followed while this process lives; one that is set forward is. */
  now(): number {
    const wall = this.#clock.wall();
    const passed = this.#wall + this.#clock.now() - this.#monotonic;
    if (wall <= passed) return passed;
    this.#wall = wall;
    this.#monotonic = this.#clock.now();
    return wall;
  }
}
