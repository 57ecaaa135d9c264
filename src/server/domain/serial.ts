// The number of the network's present state. It is asked for with every map, so where this process is the only writer it is remembered.
import type { Store } from '../store/store.ts';

export class MapSerial {
  readonly #store: Store;
  #value: number;

  /** `value` is what the database has now. */
  constructor(store: Store, value: number) {
    this.#store = store;
    this.#value = value;
  }

  /** As of now, over all servers. */
  async current(): Promise<number> {
    return this.#store.shared ? await this.#store.tables.account.counter('serial') : this.#value;
  }

  /** A transaction that moved it has committed. */
  moved(value: number): void {
    this.#value = Math.max(this.#value, value);
  }
}
