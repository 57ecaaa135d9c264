// A bounded queue between a producer that never waits and one consumer that does.

export class Outbox<T> {
  readonly #limit: number;
  readonly #items: T[] = [];
  #overflowed = false;
  #wake: () => void = () => undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Queues, or marks the box as overflowed for good. */
  put(item: T): void {
    if (this.#items.length >= this.#limit) this.#overflowed = true;
    else this.#items.push(item);
    this.#wake();
  }

  /** The next item; `overflow` once something was lost, `ended` where the signal aborts. */
  async take(signal: AbortSignal): Promise<{ readonly item: T } | 'overflow' | 'ended'> {
    for (;;) {
      if (signal.aborted) return 'ended';
      if (this.#overflowed) return 'overflow';
      const item = this.#items.shift();
      if (item !== undefined) return { item };
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake);
          resolve();
        };
        this.#wake = wake;
        signal.addEventListener('abort', wake, { once: true });
      });
    }
  }
}
