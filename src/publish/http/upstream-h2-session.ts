// One HTTP/2 connection to an upstream: many requests at a time, until it says that it goes away, or proves to be dead.
import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import { HEAD_FIELDS } from '#wire/http1-limits.ts';
import {
  H2_HEADER_LIST,
  PING_ANSWER_MS,
  PING_SILENCE_MS,
  PING_SUSPECT_MS,
  UPSTREAM_SESSION_MEGABYTES,
  UPSTREAM_SESSION_WINDOW,
  UPSTREAM_STREAMS,
  UPSTREAM_STREAM_WINDOW,
} from '../constants.ts';
import { publishError } from '../errors.ts';
import { cutSession, cutStream } from './h2-cut.ts';

const sessionOptions = {
  maxHeaderListPairs: HEAD_FIELDS + 8,
  maxSendHeaderBlockLength: H2_HEADER_LIST * 4,
  maxSessionMemory: UPSTREAM_SESSION_MEGABYTES,
  maxSettings: 32,
  // Clients repeat fields that should stand once; HTTP/1.1 upstreams get them as they are, and so do these. (Its types know it of servers only.)
  strictSingleValueFields: false,
  settings: { enablePush: false, initialWindowSize: UPSTREAM_STREAM_WINDOW, maxHeaderListSize: H2_HEADER_LIST },
};

export interface SessionOwner {
  now(): number;
  /** The connection is over. Told once, and only after it was ready. */
  gone(session: UpstreamSession): void;
}

export class UpstreamSession {
  readonly scheme: 'http' | 'https';
  /** Monotonic milliseconds since when no request is open. */
  idleSince: number;
  readonly #session: ClientHttp2Session;
  readonly #owner: SessionOwner;
  readonly #streams = new Set<ClientHttp2Stream>();
  #open = 0;
  #served = 0;
  #leaving = false;
  /** Streams above it have not been looked at by the upstream, which has said so. */
  #lastStream = Infinity;
  #heard: number;
  #pinged = Infinity;

  /**
   * Speaks HTTP/2 on the stream and resolves with the upstream's settings known: it does speak it then. Rejects with PUBLISH_UPSTREAM_PROTOCOL
   * or the signal's reason; the stream is destroyed then.
   */
  static open(stream: Duplex, scheme: 'http' | 'https', owner: SessionOwner, signal: AbortSignal): Promise<UpstreamSession> {
    return new Promise((resolve, reject) => {
      const session = connect(`${scheme}://upstream`, { ...sessionOptions, createConnection: () => stream });
      session.once('connect', () => session.setLocalWindowSize(UPSTREAM_SESSION_WINDOW));
      const settle = (): void => {
        signal.removeEventListener('abort', aborted);
        session.off('remoteSettings', ready);
        session.off('error', failed);
        session.off('close', failed);
      };
      const aborted = (): void => failed(signal.reason);
      const failed = (error?: unknown): void => {
        settle();
        session.on('error', () => undefined);
        session.destroy();
        stream.destroy();
        reject(signal.aborted && error instanceof Error ? error : publishError('PUBLISH_UPSTREAM_PROTOCOL', undefined, error));
      };
      const ready = (): void => {
        settle();
        resolve(new UpstreamSession(session, stream, scheme, owner));
      };
      session.once('remoteSettings', ready);
      session.once('error', failed);
      session.once('close', failed);
      signal.addEventListener('abort', aborted, { once: true });
      if (signal.aborted) aborted();
    });
  }

  private constructor(session: ClientHttp2Session, stream: Duplex, scheme: 'http' | 'https', owner: SessionOwner) {
    this.#session = session;
    this.scheme = scheme;
    this.#owner = owner;
    this.#heard = this.idleSince = owner.now();
    session.on('goaway', (_code: number, lastStream: number) => {
      this.#leaving = true;
      this.#lastStream = Math.min(this.#lastStream, lastStream);
      if (this.#open === 0) this.destroy();
    });
    session.on('error', () => {
      this.#leaving = true;
    });
    stream.on('end', () => this.#onEnd());
    session.on('close', () => {
      this.#leaving = true;
      owner.gone(this);
    });
  }

  /** Whether it takes another request now. */
  get room(): boolean {
    return (
      !this.#leaving &&
      !this.#session.closed &&
      this.#open < Math.min(UPSTREAM_STREAMS, this.#session.remoteSettings.maxConcurrentStreams ?? Infinity)
    );
  }

  /** Whether it takes WebSockets (RFC 8441 §3). */
  get tunnels(): boolean {
    return this.#session.remoteSettings.enableConnectProtocol === true;
  }

  get idle(): boolean {
    return this.#open === 0;
  }

  /** Whether it has served a request: one that fails now may have met its upstream's usual goodbye. */
  get used(): boolean {
    return this.#served > 0;
  }

  /** Whether the upstream has gone, or is about to. */
  get leaving(): boolean {
    return this.#leaving;
  }

  /** Takes a place for a request; `release` gives it back. */
  reserve(): this {
    this.#open++;
    return this;
  }

  release(): void {
    this.#open--;
    this.idleSince = this.#owner.now();
    if (this.#leaving && this.#open === 0) this.destroy();
  }

  /** Opens the stream of a reserved place. Throws where the connection has just gone. */
  request(headers: readonly string[], endStream: boolean, waitForTrailers: boolean): ClientHttp2Stream {
    const stream = this.#session.request(headers, { endStream, waitForTrailers });
    this.#streams.add(stream);
    stream.once('close', () => this.#streams.delete(stream));
    return stream;
  }

  /** Whether the upstream has said that it did not look at a stream that ended with this code. */
  unprocessed(stream: ClientHttp2Stream): boolean {
    const { id } = stream;
    return id === undefined || id > this.#lastStream || stream.rstCode === constants.NGHTTP2_REFUSED_STREAM;
  }

  /** The upstream has said something. */
  heard(): void {
    this.#heard = this.#owner.now();
  }

  served(): void {
    this.#served++;
  }

  /** A request was given up that had waited without an answer since `since`: where nothing else was heard, the connection may be dead. */
  suspect(since: number): void {
    if (this.#owner.now() - Math.max(since, this.#heard) >= PING_SUSPECT_MS) this.#ping();
  }

  /** For the sweep. */
  sweep(now: number): void {
    if (now - this.#pinged >= PING_ANSWER_MS) this.destroy();
    else if (this.#open > 0 && now - this.#heard >= PING_SILENCE_MS) this.#ping();
  }

  /** No further request; what is open goes on. */
  close(): void {
    this.#leaving = true;
    if (this.#open === 0) this.destroy();
  }

  destroy(): void {
    cutSession(this.#session);
  }

  /** The upstream has sent its last byte, of which a half-open connection tells nobody. What has come whole may still be read. */
  #onEnd(): void {
    this.#leaving = true;
    for (const stream of this.#streams) if (!stream.closed) cutStream(stream);
    this.#session.close();
  }

  #ping(): void {
    if (this.#pinged !== Infinity || this.#session.destroyed) return;
    this.#pinged = this.#owner.now();
    this.#session.ping((error) => {
      this.#pinged = Infinity;
      if (error === null) this.heard();
    });
  }
}
