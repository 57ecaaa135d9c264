// The connection that hears what other servers announce. It comes back by itself, and wakes its listeners then: they may have missed some.
import { Client } from 'pg';
import { Backoff, sleep } from '#lib/backoff.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { connectMs } from './constants.ts';
import { storeError } from './errors.ts';

export const channel = 'meshgate_changes';

export class PostgresListener implements Closable {
  readonly #url: string;
  readonly #log: Logger;
  readonly #wakes = new Set<() => void>();
  readonly #stop = new AbortController();
  #client: Client | undefined;
  #returning: Promise<void> = Promise.resolve();

  constructor(url: string, log: Logger) {
    this.#url = url;
    this.#log = log;
  }

  /** Listens; STORE_UNAVAILABLE where it cannot at first. */
  async start(): Promise<void> {
    try {
      await this.#connect();
    } catch (error) {
      throw storeError('STORE_UNAVAILABLE', error instanceof Error ? error.message : '', error);
    }
  }

  subscribe(wake: () => void): () => void {
    this.#wakes.add(wake);
    return () => this.#wakes.delete(wake);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#returning;
    const client = this.#client;
    this.#client = undefined;
    await client?.end();
  }

  async #connect(): Promise<void> {
    const client = new Client({ connectionString: this.#url, connectionTimeoutMillis: connectMs, keepAlive: true, application_name: 'meshgate' });
    client.on('error', (error) => this.#log.warn('database notification connection failed', { error: error.message }));
    try {
      await client.connect();
      client.on('notification', () => this.#wake());
      await client.query(`LISTEN ${channel}`);
    } catch (error) {
      await client.end().catch(() => undefined);
      throw error;
    }
    client.once('end', () => {
      if (!this.#stop.signal.aborted) this.#returning = this.#reconnect();
    });
    this.#client = client;
  }

  async #reconnect(): Promise<void> {
    const backoff = new Backoff({ firstMs: 200, factor: 2, maxMs: 10_000, jitter: 0.3, random: Math.random });
    while (!this.#stop.signal.aborted) {
      await sleep(backoff.next(), this.#stop.signal);
      if (this.#stop.signal.aborted) return;
      try {
        await this.#connect();
        this.#wake();
        return;
      } catch (error) {
        this.#log.warn('database notifications are away', { error: error instanceof Error ? error.message : String(error) });
      }
    }
  }

  #wake(): void {
    for (const wake of this.#wakes) wake();
  }
}
