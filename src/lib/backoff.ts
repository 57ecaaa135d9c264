// Exponential backoff with jitter, as a pure sequence: the caller sleeps, randomness comes in from outside.

export interface BackoffOptions {
  readonly firstMs: number;
  readonly factor: number;
  readonly maxMs: number;
  /** Share of the delay that is random, 0 to 1. */
  readonly jitter: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  #attempt = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** The next delay in milliseconds. */
  next(): number {
    const { firstMs, factor, maxMs, jitter, random } = this.#options;
    const base = Math.min(maxMs, firstMs * factor ** this.#attempt++);
    return base * (1 - jitter + 2 * jitter * random());
  }

  /** Back to the first delay, after a success. */
  reset(): void {
    this.#attempt = 0;
  }
}

/** Resolves after `delayMs`, or at once where the signal aborts; never rejects. */
export function sleep(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal.addEventListener('abort', done, { once: true });
  });
}
