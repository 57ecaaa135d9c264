// A clock that a test moves: timers fire in order of their time, and nothing waits.
import type { Clock, Timer } from '#lib/clock.ts';

export class ManualClock implements Clock {
  #now = 0;
  #wallAtStart: number;
  readonly #timers = new Set<{ readonly at: number; readonly fire: () => void }>();

  constructor(wallAtStart = Date.UTC(2026, 10, 22)) {
    this.#wallAtStart = wallAtStart;
  }

  now(): number {
    return this.#now;
  }

  wall(): number {
    return this.#wallAtStart + this.#now;
  }

  /** Sets the wall clock, as an operator or NTP does; intervals go on. */
  setWall(at: number): void {
    this.#wallAtStart = at - this.#now;
  }

  after(delayMs: number, fire: () => void): Timer {
    const timer = { at: this.#now + Math.max(0, delayMs), fire };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  /** Lets time pass, firing what becomes due. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      let next: { readonly at: number; readonly fire: () => void } | undefined;
      for (const timer of this.#timers) if (timer.at <= end && (next === undefined || timer.at < next.at)) next = timer;
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.fire();
    }
    this.#now = end;
  }

  get pending(): number {
    return this.#timers.size;
  }
}
