// Connections to upstreams, kept and used again: one pool for each target and way of speaking to it.
import type { SecureContext } from 'node:tls';
import type { Dial } from '#lib/net.ts';
import { CONNECT_MS, UPSTREAM_CONNECTIONS, UPSTREAM_IDLE_CONNECTIONS, UPSTREAM_IDLE_MS } from '../constants.ts';
import { publishError } from '../errors.ts';
import type { Deadlines } from './deadlines.ts';
import { UpstreamConnection, type ConnectionOwner } from './upstream-connection.ts';
import type { UpstreamTarget } from './upstream-target.ts';
import { secureUpstream, upstreamContext } from './upstream-tls.ts';

export interface UpstreamDials {
  readonly dial: Dial;
  readonly directDial: Dial;
  /** Whether there is a path to a host of the overlay now. Packets to a peer that is gone get no answer, so TCP alone would wait for minutes. */
  readonly reachable?: ((host: string) => boolean) | undefined;
  /** More roots to trust for upstreams, as PEM; the system's stay trusted. */
  readonly upstreamCa?: string | undefined;
}

class Pool implements ConnectionOwner {
  readonly idleConnections: UpstreamConnection[] = [];
  readonly #upstreams: Upstreams;
  /** Connections in being or being made. */
  open = 0;
  /** Made with the first connection that needs it. */
  context: SecureContext | undefined;

  constructor(upstreams: Upstreams) {
    this.#upstreams = upstreams;
  }

  idle(connection: UpstreamConnection): void {
    if (this.#upstreams.closed || this.idleConnections.length >= UPSTREAM_IDLE_CONNECTIONS) return connection.destroy();
    connection.idleSince = this.#upstreams.now();
    this.idleConnections.push(connection);
  }

  gone(connection: UpstreamConnection): void {
    this.open--;
    const index = this.idleConnections.indexOf(connection);
    if (index >= 0) this.idleConnections.splice(index, 1);
  }
}

export class Upstreams {
  readonly #dials: UpstreamDials;
  readonly #deadlines: Deadlines;
  readonly #pools = new Map<string, Pool>();
  readonly #abort = new AbortController();

  constructor(dials: UpstreamDials, deadlines: Deadlines) {
    this.#dials = dials;
    this.#deadlines = deadlines;
  }

  get closed(): boolean {
    return this.#abort.signal.aborted;
  }

  now(): number {
    return this.#deadlines.now();
  }

  /** An idle connection, the one used last, or undefined. */
  take(upstream: UpstreamTarget): UpstreamConnection | undefined {
    return this.#pools.get(upstream.key)?.idleConnections.pop();
  }

  /** Whether waiting for this upstream makes sense: false where the overlay has lost its path. */
  reachable({ direct, target }: UpstreamTarget): boolean {
    return direct || this.#dials.reachable?.(target.host) !== false;
  }

  /** A new connection. Rejects with Node's codes, PUBLISH_UPSTREAM_TIMEOUT, PUBLISH_UPSTREAM_BUSY or, from `signal`, ABORT_ERR. */
  async connect(upstream: UpstreamTarget, signal: AbortSignal): Promise<UpstreamConnection> {
    if (this.closed) throw publishError('PUBLISH_UPSTREAM_CLOSED');
    const pool = this.#pool(upstream.key);
    if (pool.open >= UPSTREAM_CONNECTIONS) throw publishError('PUBLISH_UPSTREAM_BUSY', upstream.key);
    pool.open++;
    const limit = AbortSignal.timeout(CONNECT_MS);
    const either = AbortSignal.any([signal, limit, this.#abort.signal]);
    try {
      if (upstream.tls !== undefined) pool.context ??= upstreamContext(upstream.tls, this.#dials.upstreamCa);
      const dial = upstream.direct ? this.#dials.directDial : this.#dials.dial;
      const stream = await dial(upstream.target, { signal: either });
      return new UpstreamConnection(
        pool.context === undefined ? stream : await secureUpstream(stream, upstream, 'http/1.1', pool.context, either),
        pool,
      );
    } catch (error) {
      pool.open--;
      throw limit.aborted && !signal.aborted ? publishError('PUBLISH_UPSTREAM_TIMEOUT', upstream.key, error) : error;
    }
  }

  /** Closes idle connections whose time is over, and forgets empty pools; for the sweep. */
  sweep(): void {
    const oldest = this.now() - UPSTREAM_IDLE_MS;
    for (const [key, pool] of this.#pools) {
      const idle = pool.idleConnections;
      while (idle[0] !== undefined && idle[0].idleSince < oldest) idle[0].destroy();
      if (pool.open === 0) this.#pools.delete(key);
    }
  }

  /** Ends idle connections now; those in work end with their exchange. */
  close(): void {
    this.#abort.abort();
    for (const pool of this.#pools.values()) {
      while (pool.idleConnections[0] !== undefined) pool.idleConnections[0].destroy();
    }
  }

  #pool(key: string): Pool {
    let pool = this.#pools.get(key);
    if (pool === undefined) this.#pools.set(key, (pool = new Pool(this)));
    return pool;
  }
}
