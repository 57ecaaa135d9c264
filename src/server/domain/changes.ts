// The feed of changes: this process's own right after their transaction, other servers' as they are announced.
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { describeError } from '#lib/errors.ts';
import { SerialQueue } from '../store/serial-queue.ts';
import type { Store } from '../store/store.ts';
import type { Change, ChangeFeed } from './contract.ts';

export class Changes implements ChangeFeed, Closable {
  readonly #store: Store;
  readonly #serverId: string;
  readonly #log: Logger;
  readonly #listeners = new Set<(change: Change) => void>();
  readonly #writers = new SerialQueue();
  readonly #stop: () => void;
  #seen: number;
  #reading: Promise<void> | undefined;
  #again = false;

  /** `seen` is the number of the last change that was in the database before this process listened. */
  constructor(store: Store, serverId: string, seen: number, log: Logger) {
    this.#store = store;
    this.#serverId = serverId;
    this.#seen = seen;
    this.#log = log;
    this.#stop = store.onAnnounced(() => this.#wake());
  }

  subscribe(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Runs writers one after another, so that changes are told in the order in which they were committed. */
  async inOrder<T>(work: (publish: (change: Change) => void) => Promise<T>): Promise<T> {
    return await this.#writers.run(() => work((change) => this.#publish(change)));
  }

  async close(): Promise<void> {
    this.#stop();
    this.#listeners.clear();
    await this.#writers.idle();
    await this.#reading;
  }

  #publish(change: Change): void {
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        this.#log.error('a listener for changes failed', { kind: change.kind, error: describeError(error) });
      }
    }
  }

  #wake(): void {
    this.#again = true;
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined;
      if (this.#again) this.#wake();
    });
  }

  /** A failure here means the database is away: the notification connection is too, and wakes us when it is back. */
  async #readAll(): Promise<void> {
    try {
      while (this.#again) {
        this.#again = false;
        for (let page = await this.#store.tables.changes.after(this.#seen); page.length > 0;) {
          for (const change of page) {
            this.#seen = change.id;
            if (change.serverId !== this.#serverId) this.#publish(parseChange(change.body));
          }
          page = await this.#store.tables.changes.after(this.#seen);
        }
      }
    } catch (error) {
      this.#again = false;
      this.#log.warn('changes of other servers cannot be read', { error: describeError(error) });
    }
  }
}

/** JSON has no undefined: what was undefined is put back. */
function parseChange(body: string): Change {
  const change = JSON.parse(body) as Change;
  if (change.kind === 'network') return { ...change, peers: change.peers };
  return change.kind === 'revocation' ? { ...change, cluster: change.cluster } : change;
}
