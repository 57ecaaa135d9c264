// The database with its time taken: what everybody waits for, the queue before it included.
import { Durations } from '#lib/durations.ts';
import type { Database, Row, Sql, SqlValue } from './database.ts';

/** How long statements outside transactions, transactions that write, and readings of several tables took. */
export interface StoreTimes {
  readonly statement: Durations;
  readonly write: Durations;
  readonly read: Durations;
  /** Of all these, those that failed. */
  failures: number;
}

export class TimedDatabase implements Database {
  readonly engine: Database['engine'];
  readonly times: StoreTimes = { statement: new Durations(), write: new Durations(), read: new Durations(), failures: 0 };
  readonly #inner: Database;
  readonly #now: () => number;

  /** `now` is monotonic milliseconds. */
  constructor(inner: Database, now: () => number) {
    this.engine = inner.engine;
    this.#inner = inner;
    this.#now = now;
  }

  query(text: string, params?: readonly SqlValue[]): Promise<readonly Row[]> {
    return this.#timed(this.times.statement, this.#inner.query(text, params));
  }

  execute(text: string, params?: readonly SqlValue[]): Promise<number> {
    return this.#timed(this.times.statement, this.#inner.execute(text, params));
  }

  transaction<T>(work: (tx: Sql) => Promise<T>): Promise<T> {
    return this.#timed(this.times.write, this.#inner.transaction(work));
  }

  snapshot<T>(work: (tx: Sql) => Promise<T>): Promise<T> {
    return this.#timed(this.times.read, this.#inner.snapshot(work));
  }

  announce(tx: Sql): Promise<void> {
    return this.#inner.announce(tx);
  }

  onAnnounced(wake: () => void): () => void {
    return this.#inner.onAnnounced(wake);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #timed<T>(durations: Durations, work: Promise<T>): Promise<T> {
    const begun = this.#now();
    try {
      return await work;
    } catch (error) {
      this.times.failures++;
      throw error;
    } finally {
      durations.observe(this.#now() - begun);
    }
  }
}
