// HTTP/1.1 connections to one upstream: those that are kept, and those that are dialled for who waits. A connection that comes free goes to whoever
// has waited longest, whether the one that was dialled for him is there or not.
import type { Duplex } from 'node:stream';
import type { SecureContext } from 'node:tls';
import { SURPLUS_IDLE_MS, UPSTREAM_CONNECTIONS, UPSTREAM_DIALS_PER_TURN, UPSTREAM_IDLE_CONNECTIONS, UPSTREAM_IDLE_MS } from '../constants.ts';
import { publishError } from '../errors.ts';
import { UpstreamConnection, type ConnectionOwner } from './upstream-connection.ts';

export interface UpstreamPoolDeps {
  readonly key: string;
  now(): number;
  /** Makes a stream to the upstream; rejects when it is aborted, which happens in any case after the time that it may take. */
  dial(abort: AbortController): Promise<Duplex>;
}

interface Waiter {
  take(connection: UpstreamConnection): void;
  fail(error: unknown): void;
}

export class UpstreamPool implements ConnectionOwner {
  /** Made with the first connection that needs it. */
  context: SecureContext | undefined;
  readonly #deps: UpstreamPoolDeps;
  /** The one that was used last is the last, and taken first. */
  readonly #idle: UpstreamConnection[] = [];
  readonly #waiting: Waiter[] = [];
  /** Dials under way for those who wait; never more than were waiting. */
  readonly #dials = new Set<AbortController>();
  /** Connections in being, and dials for one request alone. */
  #made = 0;
  #dialsSoon = false;
  #closed = false;

  constructor(deps: UpstreamPoolDeps) {
    this.#deps = deps;
  }

  get empty(): boolean {
    return this.#made === 0 && this.#dials.size === 0 && this.#waiting.length === 0;
  }

  /** A kept connection, or undefined. */
  take(): UpstreamConnection | undefined {
    return this.#idle.pop();
  }

  /**
   * The next connection that comes free or is made; where nobody frees one first it is dialled. Rejects with what the dial came to, the signal's
   * reason, PUBLISH_UPSTREAM_BUSY or PUBLISH_UPSTREAM_CLOSED.
   */
  async wait(signal: AbortSignal): Promise<UpstreamConnection> {
    for (;;) {
      const connection = await this.#next(signal);
      if (!connection.gone) return connection;
    }
  }

  /** A connection of one's own, that nobody has used. Rejects as `wait` does. */
  async dial(signal: AbortSignal): Promise<UpstreamConnection> {
    signal.throwIfAborted();
    this.#admit();
    this.#made++;
    const abort = new AbortController();
    const aborted = (): void => abort.abort(signal.reason);
    signal.addEventListener('abort', aborted);
    try {
      return new UpstreamConnection(await this.#deps.dial(abort), this);
    } catch (error) {
      this.#made--;
      throw error;
    } finally {
      signal.removeEventListener('abort', aborted);
    }
  }

  idle(connection: UpstreamConnection): void {
    if (this.#closed) return connection.destroy();
    const waiter = this.#waiting.shift();
    if (waiter !== undefined) return waiter.take(connection);
    connection.idleSince = this.#deps.now();
    this.#idle.push(connection);
  }

  gone(connection: UpstreamConnection): void {
    this.#made--;
    const index = this.#idle.indexOf(connection);
    if (index >= 0) this.#idle.splice(index, 1);
  }

  /** Closes idle connections whose time is over: what a burst has left sooner than what is kept for the next request. */
  sweep(): void {
    const now = this.#deps.now();
    for (let oldest = this.#idle[0]; oldest !== undefined; oldest = this.#idle[0]) {
      const patience = this.#idle.length > UPSTREAM_IDLE_CONNECTIONS ? SURPLUS_IDLE_MS : UPSTREAM_IDLE_MS;
      if (oldest.idleSince >= now - patience) return;
      oldest.destroy();
    }
  }

  /** Ends idle connections and waiting now; what is in work ends with its exchange. */
  close(): void {
    this.#closed = true;
    for (const dial of this.#dials) dial.abort();
    for (const waiter of this.#waiting.splice(0)) waiter.fail(publishError('PUBLISH_UPSTREAM_CLOSED'));
    while (this.#idle[0] !== undefined) this.#idle[0].destroy();
  }

  #admit(): void {
    if (this.#closed) throw publishError('PUBLISH_UPSTREAM_CLOSED');
    if (this.#made + Math.max(this.#dials.size, this.#waiting.length) >= UPSTREAM_CONNECTIONS) {
      throw publishError('PUBLISH_UPSTREAM_BUSY', this.#deps.key);
    }
  }

  #next(signal: AbortSignal): Promise<UpstreamConnection> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      this.#admit();
      const aborted = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(signal.reason);
        // A dial that nobody waits for any more.
        if (this.#dials.size > this.#waiting.length) for (const dial of this.#dials) return dial.abort(signal.reason);
      };
      const waiter: Waiter = {
        take: (connection) => {
          signal.removeEventListener('abort', aborted);
          resolve(connection);
        },
        fail: (error) => {
          signal.removeEventListener('abort', aborted);
          reject(error);
        },
      };
      signal.addEventListener('abort', aborted);
      this.#waiting.push(waiter);
      this.#dialSoon();
    });
  }

  /**
   * Dials begin after what has come in has been looked at, a few at a time. When the process was held up, many requests and many answers come at
   * once; the answers free connections, and a dial costs several requests: to dial for each at once would hold it up again, for longer.
   */
  #dialSoon(): void {
    if (this.#dialsSoon || this.#waiting.length <= this.#dials.size) return;
    this.#dialsSoon = true;
    setImmediate(() => {
      this.#dialsSoon = false;
      for (let i = 0; i < UPSTREAM_DIALS_PER_TURN && this.#waiting.length > this.#dials.size; i++) this.#dialForWaiting();
      this.#dialSoon();
    });
  }

  #dialForWaiting(): void {
    const abort = new AbortController();
    this.#dials.add(abort);
    this.#deps.dial(abort).then(
      (stream) => {
        this.#dials.delete(abort);
        this.#made++;
        this.idle(new UpstreamConnection(stream, this));
      },
      (error: unknown) => {
        this.#dials.delete(abort);
        // Who has got another connection meanwhile does not care.
        if (this.#waiting.length > this.#dials.size) this.#waiting.shift()?.fail(error);
      },
    );
  }
}
