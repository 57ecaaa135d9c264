// The number of the network's present state. It is asked for with every map, so where this process is the only writer it is remembered.
import type { Store } from '../store/store.ts';

export class MapSerial {
  readonly #store: Store;
  #value: number;
  /** A question that has not been put yet: whoever asks until then shares its answer, which is as new as any of them wants. */
  #question: Promise<number> | undefined;

  /** `value` is what the database has now. */
  constructor(store: Store, value: number) {
    this.#store = store;
    this.#value = value;
  }

  /** As of now, over all servers. */
  async current(): Promise<number> {
    if (!this.#store.shared) return this.#value;
    this.#question ??= Promise.resolve().then(() => {
      this.#question = undefined;
      return this.#store.tables.account.counter('serial');
    });
    return await this.#question;
  }

  /** A transaction that moved it has committed. */
  moved(value: number): void {
    this.#value = Math.max(this.#value, value);
  }
}
