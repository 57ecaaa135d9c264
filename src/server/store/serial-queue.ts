// One at a time, in order of arrival, with a bound on who waits: the single writer of a database.
import { writersWaiting } from './constants.ts';
import { storeError } from './errors.ts';

export class SerialQueue {
  readonly #limit: number;
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(limit = writersWaiting) {
    this.#limit = limit;
  }

  /** Runs `work` after everything that came before it. Throws STORE_BUSY where too many wait. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= this.#limit) throw storeError('STORE_BUSY');
    this.#waiting++;
    const turn = this.#tail.then(work).finally(() => this.#waiting--);
    this.#tail = turn.catch(() => undefined);
    return await turn;
  }

  /** Resolves when everything that has been asked for is done. */
  async idle(): Promise<void> {
    await this.#tail;
  }
}
