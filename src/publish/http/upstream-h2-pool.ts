// The HTTP/2 connections to one upstream: a request takes a place on one with room, or waits for the one that is being made.
import { UPSTREAM_IDLE_MS, UPSTREAM_SESSIONS } from '../constants.ts';
import { publishError } from '../errors.ts';
import type { SessionOwner, UpstreamSession } from './upstream-h2-session.ts';
import { UpstreamStream, type StreamOwner } from './upstream-h2-stream.ts';

export interface SessionPoolDeps {
  now(): number;
  /** Makes a connection; bounded in time by itself. */
  connect(owner: SessionOwner): Promise<UpstreamSession>;
}

export class SessionPool implements SessionOwner, StreamOwner {
  readonly #deps: SessionPoolDeps;
  readonly #sessions = new Set<UpstreamSession>();
  #connecting: Promise<unknown> | undefined;
  #closed = false;

  constructor(deps: SessionPoolDeps) {
    this.#deps = deps;
  }

  get empty(): boolean {
    return this.#sessions.size === 0 && this.#connecting === undefined;
  }

  now(): number {
    return this.#deps.now();
  }

  gone(session: UpstreamSession): void {
    this.#sessions.delete(session);
  }

  /** A place for a request at once, or undefined. `tunnel`: on a connection that takes WebSockets. */
  take(tunnel: boolean): UpstreamStream | undefined {
    const session = this.#withRoom(tunnel);
    return session === undefined ? undefined : new UpstreamStream(session.reserve(), this);
  }

  /** Whether the upstream has said that it takes no WebSockets over HTTP/2. */
  get refusesTunnels(): boolean {
    for (const session of this.#sessions) if (!session.tunnels) return true;
    return false;
  }

  /** A place for a request as soon as there is one; undefined for a tunnel that the upstream does not take. PUBLISH_UPSTREAM_BUSY and what `connect` rejects with. */
  async open(signal: AbortSignal, tunnel: boolean): Promise<UpstreamStream | undefined> {
    const session = await this.#reserve(signal, tunnel);
    return session === undefined ? undefined : new UpstreamStream(session, this);
  }

  async another(signal: AbortSignal): Promise<UpstreamSession> {
    const session = await this.#reserve(signal, false);
    if (session === undefined) throw publishError('PUBLISH_UPSTREAM_BUSY');
    return session;
  }

  sweep(): void {
    const now = this.now();
    for (const session of this.#sessions) {
      session.sweep(now);
      if (session.idle && now - session.idleSince > UPSTREAM_IDLE_MS) session.destroy();
    }
  }

  /** Ends idle connections now, and the others with their last request. */
  close(): void {
    this.#closed = true;
    for (const session of this.#sessions) session.close();
  }

  async #reserve(signal: AbortSignal, tunnel: boolean): Promise<UpstreamSession | undefined> {
    // Bounded, because an upstream may say goodbye on each connection at once.
    for (let tries = 0; tries <= UPSTREAM_SESSIONS; tries++) {
      signal.throwIfAborted();
      if (this.#closed) throw publishError('PUBLISH_UPSTREAM_CLOSED');
      const session = this.#withRoom(tunnel);
      if (session !== undefined) return session.reserve();
      if (tunnel && this.refusesTunnels) return undefined;
      if (this.#connecting === undefined && this.#staying() >= UPSTREAM_SESSIONS) break;
      // One at a time: what waits for it may all fit on it. It is nobody's alone, so no single client's leaving ends it.
      await this.#made();
    }
    throw publishError('PUBLISH_UPSTREAM_BUSY');
  }

  #made(): Promise<unknown> {
    this.#connecting ??= this.#deps
      .connect(this)
      .then((session) => {
        this.#sessions.add(session);
        if (this.#closed) session.close();
      })
      .finally(() => {
        this.#connecting = undefined;
      });
    return this.#connecting;
  }

  /** Connections that go as soon as their last request has ended are no reason to refuse others. */
  #staying(): number {
    let count = 0;
    for (const session of this.#sessions) if (!session.leaving) count++;
    return count;
  }

  #withRoom(tunnel: boolean): UpstreamSession | undefined {
    for (const session of this.#sessions) if (session.room && (!tunnel || session.tunnels)) return session;
    return undefined;
  }
}
