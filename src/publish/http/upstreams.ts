// Connections to upstreams, kept and used again: one pool for each target and way of speaking to it.
import type { Duplex } from 'node:stream';
import type { SecureContext } from 'node:tls';
import type { Dial } from '#lib/net.ts';
import { CONNECT_MS } from '../constants.ts';
import { publishError } from '../errors.ts';
import type { Deadlined, Deadlines } from './deadlines.ts';
import { SessionPool } from './upstream-h2-pool.ts';
import { UpstreamSession } from './upstream-h2-session.ts';
import type { UpstreamLink } from './upstream-link.ts';
import { UpstreamPool } from './upstream-pool.ts';
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

/** The making of one connection, cut off by the sweep: a timer and signals that follow it would cost more than the connection. */
class Attempt implements Deadlined {
  slot = -1;
  readonly deadline: number;
  readonly abort: AbortController;
  expired = false;

  constructor(deadline: number, abort: AbortController) {
    this.deadline = deadline;
    this.abort = abort;
  }

  expire(): void {
    this.expired = true;
    this.abort.abort(new DOMException('the connection took too long', 'TimeoutError'));
  }
}

export class Upstreams {
  readonly #dials: UpstreamDials;
  readonly #deadlines: Deadlines;
  readonly #pools = new Map<string, UpstreamPool>();
  readonly #sessionPools = new Map<string, SessionPool>();
  readonly #attempts = new Set<Attempt>();
  closed = false;

  constructor(dials: UpstreamDials, deadlines: Deadlines) {
    this.#dials = dials;
    this.#deadlines = deadlines;
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
    return this.#pools.get(upstream.key)?.take();
  }

  /** Whether waiting for this upstream makes sense: false where the overlay has lost its path. */
  reachable({ direct, target }: UpstreamTarget): boolean {
    return direct || this.#dials.reachable?.(target.host) !== false;
  }

  /**
   * A place for a request on a connection that is made for it, or for it and others, or that comes free meanwhile; with `unused` on one that nobody
   * has used yet. Rejects with Node's and OpenSSL's codes, the PUBLISH_UPSTREAM_* errors or, from `signal`, ABORT_ERR.
   */
  async connect(upstream: UpstreamTarget, use: UpstreamUse, signal: AbortSignal, unused: boolean): Promise<UpstreamLink> {
    if (upstream.version === 'h2' && use !== 'own-connection') {
      const stream = await this.#sessionPool(upstream).open(signal, use === 'websocket');
      if (stream !== undefined) return stream;
    }
    if (this.closed) throw publishError('PUBLISH_UPSTREAM_CLOSED');
    const pool = this.#pool(upstream);
    return unused ? pool.dial(signal) : pool.wait(signal);
  }

  /** Closes idle connections whose time is over, and forgets empty pools; for the sweep. */
  sweep(): void {
    for (const [key, pool] of this.#pools) {
      pool.sweep();
      if (pool.empty) this.#pools.delete(key);
    }
    for (const [key, pool] of this.#sessionPools) {
      pool.sweep();
      if (pool.empty) this.#sessionPools.delete(key);
    }
  }

  /** Ends idle connections now; those in work end with their exchange. */
  close(): void {
    this.closed = true;
    for (const attempt of this.#attempts) attempt.abort.abort();
    for (const pool of this.#pools.values()) pool.close();
    for (const pool of this.#sessionPools.values()) pool.close();
  }

  #pool(upstream: UpstreamTarget): UpstreamPool {
    let pool = this.#pools.get(upstream.key);
    if (pool === undefined) {
      pool = new UpstreamPool({
        key: upstream.key,
        now: () => this.now(),
        dial: (abort) => this.#within(upstream, abort, (signal) => this.#dial(upstream, 'http/1.1', signal)),
      });
      this.#pools.set(upstream.key, pool);
    }
    return pool;
  }

  #sessionPool(upstream: UpstreamTarget): SessionPool {
    let pool = this.#sessionPools.get(upstream.key);
    if (pool === undefined) {
      pool = new SessionPool({
        now: () => this.now(),
        connect: (owner) =>
          this.#within(upstream, new AbortController(), async (limit) =>
            UpstreamSession.open(await this.#dial(upstream, 'h2', limit), upstream.tls === undefined ? 'http' : 'https', owner, limit),
          ),
      });
      this.#sessionPools.set(upstream.key, pool);
    }
    return pool;
  }

  /** Dials, and does TLS where the target wants it. */
  async #dial(upstream: UpstreamTarget, protocol: 'http/1.1' | 'h2', signal: AbortSignal): Promise<Duplex> {
    const context = upstream.tls === undefined ? undefined : this.#context(upstream, upstream.tls);
    const dial = upstream.direct ? this.#dials.directDial : this.#dials.dial;
    const stream = await dial(upstream.target, { signal });
    if (upstream.preface !== undefined) stream.write(upstream.preface);
    return context === undefined ? stream : secureUpstream(stream, upstream, protocol, context, signal);
  }

  /** Does what makes a connection within the time that it may take, or until it is aborted. */
  async #within<T>(upstream: UpstreamTarget, abort: AbortController, make: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.closed) throw publishError('PUBLISH_UPSTREAM_CLOSED');
    const attempt = new Attempt(this.now() + CONNECT_MS, abort);
    this.#attempts.add(attempt);
    this.#deadlines.add(attempt);
    try {
      return await make(abort.signal);
    } catch (error) {
      throw attempt.expired ? publishError('PUBLISH_UPSTREAM_TIMEOUT', upstream.key, error) : error;
    } finally {
      this.#deadlines.remove(attempt);
      this.#attempts.delete(attempt);
    }
  }

  #context(upstream: UpstreamTarget, terms: TlsTerms): SecureContext {
    const pool = this.#pool(upstream);
    pool.context ??= upstreamContext(terms, this.#dials.upstreamCa);
    return pool.context;
  }
}
