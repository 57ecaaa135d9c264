// A clock that runs with the real one and can be made to run ahead, so that ten minutes of an overlay pass in seconds while its packets
// go over real sockets. The wall clock can be set apart from it.
import type { Clock, Timer } from '#lib/clock.ts';

interface Due {
  readonly at: number;
  readonly fire: () => void;
}

/** One step of running ahead: short against every timer that waits for an answer. */
const stepMs = 100;

export class FastClock implements Clock {
  /** How far somebody has set the wall clock, milliseconds. */
  wallShift = 0;
  #ahead = 0;
  readonly #timers = new Set<Due>();
  #real: NodeJS.Timeout | undefined;
  #realAt = Infinity;

  now(): number {
    return performance.now() + this.#ahead;
  }

  wall(): number {
    return Date.now() + this.#ahead + this.wallShift;
  }

  after(delayMs: number, fire: () => void): Timer {
    const timer: Due = { at: this.now() + Math.max(0, delayMs), fire };
    this.#timers.add(timer);
    this.#arm(timer.at);
    return { cancel: () => this.#timers.delete(timer) };
  }

  /** Lets time pass quickly: after each step everything that is due has fired, and what it sent has had a chance to arrive. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      this.#ahead += Math.min(stepMs, left);
      this.#fire();
      for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #fire(): void {
    const now = this.now();
    const due = [...this.#timers].filter(({ at }) => at <= now).sort((a, b) => a.at - b.at);
    for (const timer of due) if (this.#timers.delete(timer)) timer.fire();
    this.#realAt = Infinity;
    for (const { at } of this.#timers) this.#arm(at);
  }

  #arm(at: number): void {
    if (at >= this.#realAt) return;
    clearTimeout(this.#real);
    this.#realAt = at;
    this.#real = setTimeout(() => this.#fire(), Math.max(0, at - this.now()));
    this.#real.unref();
  }
}
