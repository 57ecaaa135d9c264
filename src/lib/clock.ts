// Time comes in from outside: engines take `now` as an argument, and whatever schedules takes a Clock.

export interface Timer {
  /** Stops the timer; safe to call more than once and after it fired. */
  cancel(): void;
}

/** Monotonic milliseconds for intervals, wall-clock milliseconds for what is written down. */
export interface Clock {
  /** Milliseconds from an arbitrary origin; never goes back. May have a fraction. */
  now(): number;
  /** Milliseconds since 1970-01-01 UTC. */
  wall(): number;
  /** Runs `fire` once after `delayMs`; the timer does not keep the process alive. */
  after(delayMs: number, fire: () => void): Timer;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(delayMs, fire) {
    const timer = setTimeout(fire, Math.max(0, delayMs));
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Resolves after the delay, or at once where the signal aborts; never rejects. */
export function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = (): void => {
      timer.cancel();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.after(delayMs, done);
    signal.addEventListener('abort', done, { once: true });
  });
}
