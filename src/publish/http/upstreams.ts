// Connections to upstreams, kept and used again: one pool for each target and way of speaking to it.
import type { Duplex } from 'node:stream';
import type { SecureContext } from 'node:tls';
import type { Dial } from '#lib/net.ts';
import { CONNECT_MS, UPSTREAM_CONNECTIONS, UPSTREAM_IDLE_CONNECTIONS, UPSTREAM_IDLE_MS } from '../constants.ts';
import { publishError } from '../errors.ts';
import type { Deadlines } from './deadlines.ts';
import { UpstreamConnection, type ConnectionOwner } from './upstream-connection.ts';
import { SessionPool } from './upstream-h2-pool.ts';
import { UpstreamSession } from './upstream-h2-session.ts';
import type { UpstreamLink } from './upstream-link.ts';
import type { TlsTerms, UpstreamTarget } from './upstream-target.ts';
import { secureUpstream, upstreamContext } from './upstream-tls.ts';

export interface UpstreamDials {
  readonly dial: Dial;
  readonly directDial: Dial;
  /** Whether there is a path to a host of the overlay now. Packets to a peer that is gone get no answer, so TCP alone would wait for minutes. */
  readonly reachable?: ((host: string) => boolean) | undefined;
  /** More roots to trust for upstreams, as PEM; the system's stay trusted. */
  readonly upstreamCa?: string | undefined;
}

/**
 * What a place is for: a request like any other; one that may sign its whole connection in, or switch it to another protocol, and so needs an
 * HTTP/1.1 connection of its own; or a WebSocket, which HTTP/2 carries where the upstream takes it.
 */
export type UpstreamUse = 'request' | 'own-connection' | 'websocket';

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
  readonly #sessionPools = new Map<string, SessionPool>();
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

  /** A place for a request on a connection that is there, or undefined. */
  take(upstream: UpstreamTarget, use: UpstreamUse): UpstreamLink | undefined {
    if (upstream.version === 'h2' && use !== 'own-connection') {
      const pool = this.#sessionPools.get(upstream.key);
      const stream = pool?.take(use === 'websocket');
      if (stream !== undefined || pool === undefined || use === 'request' || !pool.refusesTunnels) return stream;
    }
    return this.#pools.get(upstream.key)?.idleConnections.pop();
  }

  /** Whether waiting for this upstream makes sense: false where the overlay has lost its path. */
  reachable({ direct, target }: UpstreamTarget): boolean {
    return direct || this.#dials.reachable?.(target.host) !== false;
  }

  /**
   * A place for a request on a connection that is made for it, or for it and others. Rejects with Node's and OpenSSL's codes, the
   * PUBLISH_UPSTREAM_* errors or, from `signal`, ABORT_ERR.
   */
  async connect(upstream: UpstreamTarget, use: UpstreamUse, signal: AbortSignal): Promise<UpstreamLink> {
    if (upstream.version === 'h2' && use !== 'own-connection') {
      const stream = await this.#sessionPool(upstream).open(signal, use === 'websocket');
      if (stream !== undefined) return stream;
    }
    const pool = this.#pool(upstream.key);
    if (pool.open >= UPSTREAM_CONNECTIONS) throw publishError('PUBLISH_UPSTREAM_BUSY', upstream.key);
    pool.open++;
    try {
      return await this.#within(upstream, signal, async (limit) => new UpstreamConnection(await this.#dial(upstream, 'http/1.1', limit), pool));
    } catch (error) {
      pool.open--;
      throw error;
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
    for (const [key, pool] of this.#sessionPools) {
      pool.sweep();
      if (pool.empty) this.#sessionPools.delete(key);
    }
  }

  /** Ends idle connections now; those in work end with their exchange. */
  close(): void {
    this.#abort.abort();
    for (const pool of this.#pools.values()) {
      while (pool.idleConnections[0] !== undefined) pool.idleConnections[0].destroy();
    }
    for (const pool of this.#sessionPools.values()) pool.close();
  }

  #pool(key: string): Pool {
    let pool = this.#pools.get(key);
    if (pool === undefined) this.#pools.set(key, (pool = new Pool(this)));
    return pool;
  }

  #sessionPool(upstream: UpstreamTarget): SessionPool {
    let pool = this.#sessionPools.get(upstream.key);
    if (pool === undefined) {
      pool = new SessionPool({
        now: () => this.now(),
        connect: (owner) =>
          this.#within(upstream, undefined, async (limit) =>
            UpstreamSession.open(await this.#dial(upstream, 'h2', limit), upstream.tls === undefined ? 'http' : 'https', owner, limit),
          ),
      });
      this.#sessionPools.set(upstream.key, pool);
    }
    return pool;
  }

  /** Dials, and does TLS where the target wants it. */
  async #dial(upstream: UpstreamTarget, protocol: 'http/1.1' | 'h2', signal: AbortSignal): Promise<Duplex> {
    const context = upstream.tls === undefined ? undefined : this.#context(upstream.key, upstream.tls);
    const dial = upstream.direct ? this.#dials.directDial : this.#dials.dial;
    const stream = await dial(upstream.target, { signal });
    if (upstream.preface !== undefined) stream.write(upstream.preface);
    return context === undefined ? stream : secureUpstream(stream, upstream, protocol, context, signal);
  }

  /** Does what makes a connection within the time that it may take. */
  async #within<T>(upstream: UpstreamTarget, signal: AbortSignal | undefined, make: (limit: AbortSignal) => Promise<T>): Promise<T> {
    if (this.closed) throw publishError('PUBLISH_UPSTREAM_CLOSED');
    const limit = AbortSignal.timeout(CONNECT_MS);
    try {
      return await make(AbortSignal.any(signal === undefined ? [limit, this.#abort.signal] : [signal, limit, this.#abort.signal]));
    } catch (error) {
      throw limit.aborted && signal?.aborted !== true ? publishError('PUBLISH_UPSTREAM_TIMEOUT', upstream.key, error) : error;
    }
  }

  #context(key: string, terms: TlsTerms): SecureContext {
    const pool = this.#pool(key);
    pool.context ??= upstreamContext(terms, this.#dials.upstreamCa);
    return pool.context;
  }
}
