// A clock that a test moves: timers fire in order of their time, and nothing waits.
import type { Clock, Timer } from '#lib/clock.ts';

export class ManualClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ readonly at: number; readonly fire: () => void }>();

  now(): number {
    return this.#now;
  }

  wall(): number {
    return 1_700_000_000_000 + this.#now;
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

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

export function seededBytes(seed: number): (target: Uint8Array) => void {
  const next = seeded(seed);
  return (target) => {
    for (let i = 0; i < target.length; i++) target[i] = Math.floor(next() * 256);
  };
}
