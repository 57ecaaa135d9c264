// The client's side of HTTP/2: node:http2 speaks the protocol, each stream becomes an Exchange.
import {
  constants,
  performServerHandshake,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { errorCode } from '#lib/errors.ts';
import { addField, emptyFields, fieldValue, isFieldValue, isToken, type Fields } from '#wire/http1-fields.ts';
import { HEAD_FIELDS, TARGET_BYTES } from '#wire/http1-limits.ts';
import {
  BODY_STALL_MS,
  H2_HEADER_LIST,
  H2_RESET_WINDOW_MS,
  H2_RESETS,
  H2_STREAMS,
  HEAD_MS,
  IDLE_MS,
  LINGER_MS,
  WRITE_STALL_MS,
} from '../constants.ts';
import { cutSession, cutStream } from './h2-cut.ts';
import { headerObject, isConnectionField, trailerFields } from './h2-fields.ts';
import { canonicalHost } from './host.ts';
import { bodyDeadline, type Deadlined, type Deadlines } from './deadlines.ts';
import type { Answer, AnswerSource, BodySink, Client, Exchange, ExchangeOwner, ExchangeRequest } from './exchange.ts';
import { acceptKey, newKey } from './websocket-key.ts';

export interface H2Owner {
  readonly deadlines: Deadlines;
  handle(exchange: Exchange): void;
  refused(client: Client, fault: string, status: number): void;
  closed(connection: H2Connection): void;
}

/** Serves one TLS connection that agreed on h2. */
export class H2Connection implements Deadlined {
  slot = -1;
  deadline: number;
  readonly client: Client;
  readonly owner: H2Owner;
  readonly #session: ServerHttp2Session;
  readonly #exchanges = new Set<H2Exchange>();
  #resets = 0;
  #windowStart: number;
  #draining = false;

  constructor(socket: TLSSocket, client: Client, owner: H2Owner) {
    this.client = client;
    this.owner = owner;
    this.#windowStart = owner.deadlines.now();
    // As over HTTP/1.1: a request has to begin soon, and one whose header block only drips in has not begun (attack row D-1).
    this.deadline = owner.deadlines.now() + HEAD_MS;
    this.#session = performServerHandshake(socket, {
      maxSendHeaderBlockLength: H2_HEADER_LIST * 2,
      // Refuses header lists beyond this before they are collected.
      maxHeaderListPairs: HEAD_FIELDS + 8,
      maxSessionMemory: 8,
      maxSettings: 32,
      // Upstreams repeat fields that should stand once; HTTP/1.1 clients get them as they are, and so do these.
      strictSingleValueFields: false,
      streamResetBurst: H2_RESETS,
      streamResetRate: Math.ceil((H2_RESETS * 1_000) / H2_RESET_WINDOW_MS),
      settings: { maxConcurrentStreams: H2_STREAMS, maxHeaderListSize: H2_HEADER_LIST, enablePush: false, enableConnectProtocol: true },
    });
    owner.deadlines.add(this);
    this.#session.on('stream', (stream, _headers: IncomingHttpHeaders, _flags, rawHeaders: string[]) => this.#onStream(stream, rawHeaders));
    this.#session.on('error', (error) => {
      // A connection that was reset breaks no rule.
      if (errorCode(error)?.startsWith('ERR_HTTP2_') === true) owner.refused(client, 'http2_protocol', 0);
      this.#session.destroy();
    });
    // As over HTTP/1.1: over TLS nobody half-closes, and a client that has left must not hold an upstream.
    socket.once('end', () => this.#session.destroy());
    this.#session.on('close', () => {
      owner.deadlines.remove(this);
      owner.closed(this);
    });
  }

  drain(): void {
    this.#draining = true;
    this.#session.close();
  }

  destroy(): void {
    cutSession(this.#session);
  }

  expire(now: number): void {
    // A client that does not even take the goodbye is cut off.
    if (this.#session.closed) cutSession(this.#session);
    else this.#session.close();
    this.deadline = now + LINGER_MS;
  }

  now(): number {
    return this.owner.deadlines.now();
  }

  /** The stream is closed. Until then its deadline counts, also after the end of the answer: a client may not take it. */
  ended(exchange: H2Exchange): void {
    this.#exchanges.delete(exchange);
    this.owner.deadlines.remove(exchange);
    if (this.#exchanges.size === 0) this.deadline = this.now() + IDLE_MS;
  }

  /** A client that opens streams and resets them makes us work for nothing; beyond a number the connection ends. */
  countReset(): void {
    const now = this.now();
    if (now - this.#windowStart > H2_RESET_WINDOW_MS) {
      this.#windowStart = now;
      this.#resets = 0;
    }
    if (++this.#resets <= H2_RESETS || this.#session.destroyed) return;
    this.owner.refused(this.client, 'rapid_reset', 0);
    this.#session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    this.#session.destroy();
  }

  #onStream(stream: ServerHttp2Stream, rawHeaders: readonly string[]): void {
    stream.on('error', () => undefined);
    const request = readRequest(rawHeaders, stream.readableEnded || stream.endAfterHeaders);
    if (this.#draining || typeof request === 'string') {
      if (typeof request === 'string') {
        this.owner.refused(this.client, request, 400);
        this.countReset();
        if (this.#session.destroyed) return;
      }
      stream.close(typeof request === 'string' ? constants.NGHTTP2_PROTOCOL_ERROR : constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    const exchange = new H2Exchange(this, stream, request);
    this.#exchanges.add(exchange);
    this.owner.deadlines.add(exchange);
    this.deadline = Infinity;
    this.owner.handle(exchange);
  }
}

/** The request of a stream, or why it is refused. nghttp2 has checked much of it; what HTTP/1.1 upstreams could misread is checked again here. */
function readRequest(raw: readonly string[], ended: boolean): ExchangeRequest | string {
  const fields = emptyFields();
  const pseudo = new Map<string, string>();
  const cookies: string[] = [];
  let host: string | undefined;
  let length: string | undefined;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    const value = raw[i + 1] ?? '';
    if (!isFieldValue(value)) return 'control_character';
    if (name.startsWith(':')) {
      if (pseudo.has(name)) return 'pseudo_repeated';
      pseudo.set(name, value);
      continue;
    }
    if (!isToken(name) || name !== name.toLowerCase()) return 'field_malformed';
    if (isConnectionField(name) || (name === 'te' && value !== 'trailers')) return 'connection_field';
    if (name === 'host') {
      if (host !== undefined) return 'host_repeated';
      host = value;
    } else if (name === 'content-length') {
      if (length !== undefined || !/^[0-9]{1,15}$/.test(value)) return 'length_malformed';
      length = value;
    } else if (name === 'cookie') {
      // Crumbs of one field (RFC 9113 §8.2.3).
      cookies.push(value);
    } else if (name === 'authorization' && fields.keys.includes(name)) {
      return 'authorization_repeated';
    } else {
      addField(fields, name, value.trim());
    }
  }
  if (fields.keys.length > HEAD_FIELDS) return 'too_many_fields';
  if (cookies.length > 0) addField(fields, 'cookie', cookies.join('; '));
  const method = pseudo.get(':method') ?? '';
  const path = pseudo.get(':path') ?? '';
  const authority = pseudo.get(':authority') ?? host;
  if (!/^[A-Z][A-Z-]{0,31}$/.test(method)) return 'method_malformed';
  const protocol = pseudo.get(':protocol');
  if (protocol !== undefined && method !== 'CONNECT') return 'protocol_without_connect';
  if (method === 'CONNECT' && protocol?.toLowerCase() !== 'websocket') {
    // A tunnel to anywhere, or of a kind that we do not know: refused by its method, like over HTTP/1.1.
    return authority === undefined ? 'host_missing' : { version: '2', method, target: '*', authority, fields, length: 0, upgrade: undefined };
  }
  if (path.length > TARGET_BYTES) return 'target_too_long';
  if (!/^[\x21\x22\x24-\x7e]+$/.test(path) || !(path.startsWith('/') || path === '*')) return 'target_malformed';
  if (authority === undefined) return 'host_missing';
  if (host !== undefined && canonicalHost(host) !== canonicalHost(authority)) return 'host_mismatch';
  const request = { version: '2', target: path, authority, fields } as const;
  if (protocol !== undefined) {
    if (length !== undefined || ended) return 'upgrade_with_body';
    // A WebSocket's beginning (RFC 8441 §5) means what an upgrade means over HTTP/1.1, and is judged and forwarded as one. The key is ours.
    for (let i = fields.keys.length - 1; i >= 0; i--) {
      if (fields.keys[i] === 'sec-websocket-key') for (const list of [fields.names, fields.keys, fields.values]) list.splice(i, 1);
    }
    addField(fields, 'Sec-WebSocket-Key', newKey());
    return { ...request, method: 'GET', length: 0, upgrade: 'websocket' };
  }
  return { ...request, method, length: length !== undefined ? Number(length) : ended ? 0 : undefined, upgrade: undefined };
}

/** One stream. */
class H2Exchange implements Exchange, Deadlined {
  slot = -1;
  deadline = Infinity;
  readonly request: ExchangeRequest;
  readonly client: Client;
  owner: ExchangeOwner | undefined;
  source: AnswerSource | undefined;
  readonly fault: string | undefined = undefined;
  readonly #connection: H2Connection;
  readonly #stream: ServerHttp2Stream;
  #sink: BodySink | undefined;
  #trailers: Fields | undefined;
  #reading = false;
  #left = Infinity;
  #hasBody = false;
  #over = false;
  #upgraded = false;
  #down = 0;
  #up = 0;

  constructor(connection: H2Connection, stream: ServerHttp2Stream, request: ExchangeRequest) {
    this.#connection = connection;
    this.client = connection.client;
    this.#stream = stream;
    this.request = request;
    stream.on('drain', () => {
      if (this.#upgraded) return;
      this.deadline = this.#over ? this.#connection.now() + WRITE_STALL_MS : Infinity;
      this.source?.clientDrained();
    });
    stream.on('close', () => {
      this.#finish(true);
      this.#connection.ended(this);
    });
    stream.on('trailers', (_headers: IncomingHttpHeaders, _flags: number, raw: string[]) => {
      this.#trailers = trailerFields(raw);
    });
  }

  expire(): void {
    // After the answer's end only a client that does not take it is still here.
    if (this.#over) cutStream(this.#stream);
    else this.abort();
  }

  readBody(sink: BodySink): void {
    if (this.request.length === 0) return sink.end(undefined);
    this.#sink = sink;
    this.#reading = true;
    this.deadline = this.#connection.now() + BODY_STALL_MS;
    const stream = this.#stream;
    if (this.request.fields.keys.includes('expect')) this.inform(100, emptyFields());
    stream.on('data', (payload: Buffer) => {
      if (this.#over) return;
      this.#up += payload.length;
      this.deadline = bodyDeadline(stream.headersSent ? Infinity : this.deadline, this.#connection.now(), payload.length);
      // nghttp2 holds content-length against DATA; this holds it against what was promised upstream.
      if (this.request.length !== undefined && this.#up > this.request.length) return this.abort();
      if (this.#sink?.write(payload) === false) this.pauseBody();
      else this.#sink?.flush();
    });
    // Clients made with node:http2 end the body before they reset a stream that they give up; a look later both have come.
    stream.on('end', () => (this.request.length === undefined ? setImmediate(() => this.#bodyEnded()) : this.#bodyEnded()));
    // One that ended without a byte has not waited for its listener.
    if (stream.readableEnded) setImmediate(() => this.#bodyEnded());
  }

  #bodyEnded(): void {
    if (this.#over) return;
    this.deadline = Infinity;
    const ending = this.#sink;
    if (this.#stream.aborted || this.#stream.destroyed) return this.abort();
    if (this.request.length !== undefined && this.#up < this.request.length) return this.abort();
    this.#sink = undefined;
    ending?.end(this.#trailers);
  }

  pauseBody(): void {
    if (!this.#reading) return;
    this.deadline = Infinity;
    this.#stream.pause();
  }

  resumeBody(): void {
    if (!this.#reading) return;
    if (this.#sink !== undefined) this.deadline = this.#connection.now() + BODY_STALL_MS;
    this.#stream.resume();
  }

  inform(status: number, fields: Fields): void {
    if (this.#over || this.#stream.closed || this.#stream.headersSent) return;
    try {
      this.#stream.additionalHeaders({ ':status': status, ...headerObject(fields) });
    } catch {
      // An interim answer that HTTP/2 has no form for is left out.
    }
  }

  answer(answer: Answer): void {
    if (this.#over || this.#stream.headersSent || this.#stream.destroyed) return;
    const headers = headerObject(answer.fields);
    headers[':status'] = answer.status;
    // node:http2 ends a stream with 205 as with 204 (RFC 9110 §15.3.6: it has no content).
    const empty = answer.status === 204 || answer.status === 205;
    const bodyless = this.request.method === 'HEAD' || empty || answer.status === 304;
    const stated = bodyless ? (empty ? undefined : answer.statedLength) : answer.length;
    if (stated !== undefined) headers['content-length'] = stated;
    this.#hasBody = !bodyless && answer.length !== 0;
    this.#left = bodyless ? 0 : (answer.length ?? Infinity);
    try {
      this.#stream.respond(headers, { waitForTrailers: this.#hasBody && answer.length === undefined, endStream: !this.#hasBody });
    } catch {
      // What HTTP/2 has no form for must end this exchange, not the process.
      this.abort();
    }
  }

  write(payload: Buffer, lent = false): boolean {
    if (this.#over || !this.#hasBody || payload.length === 0) return true;
    if (payload.length > this.#left) {
      this.abort();
      return true;
    }
    this.#left -= payload.length;
    this.#down += payload.length;
    const more = this.#stream.write(lent ? Buffer.from(payload) : payload);
    if (!more) this.deadline = this.#connection.now() + WRITE_STALL_MS;
    return more;
  }

  flush(): void {
    // node:http2 writes at once.
  }

  end(trailers: Fields | undefined): void {
    if (this.#over) return;
    if (this.#left !== 0 && this.#left !== Infinity) return this.abort();
    if (this.#hasBody) {
      // None are sent as an empty frame that ends the stream; close() would wait for that end.
      this.#stream.once('wantTrailers', () => this.#sendTrailers(trailers ?? emptyFields()));
      this.#stream.end();
    }
    // A request body that nobody wants any more: RFC 9113 §8.1.
    const open = this.request.length !== 0 || this.request.upgrade !== undefined || this.request.method === 'CONNECT';
    if (!this.#stream.readableEnded && open) this.#stream.once('finish', () => this.#stream.close(constants.NGHTTP2_NO_ERROR));
    this.#finish(false);
  }

  abort(): void {
    if (this.#over) return;
    cutStream(this.#stream);
    this.#finish(true, false);
  }

  /** Answers 200 (RFC 8441 §5), if the upstream's answer was made for our key. */
  upgrade(fields: Fields): Duplex | undefined {
    const key = fieldValue(this.request.fields, 'sec-websocket-key');
    const stream = this.#stream;
    if (this.request.upgrade === undefined || key === undefined || fieldValue(fields, 'sec-websocket-accept') !== acceptKey(key)) return undefined;
    if (this.#over || stream.headersSent || stream.destroyed) return undefined;
    const headers: OutgoingHttpHeaders = { ':status': 200 };
    for (const [name, value] of Object.entries(headerObject(fields))) {
      if (!isConnectionField(name) && name !== 'sec-websocket-accept') headers[name] = value;
    }
    try {
      stream.respond(headers);
    } catch {
      return undefined;
    }
    this.#over = true;
    this.#upgraded = true;
    this.deadline = Infinity;
    return stream;
  }

  #sendTrailers(trailers: Fields): void {
    try {
      this.#stream.sendTrailers(headerObject(trailers));
    } catch {
      cutStream(this.#stream);
    }
  }

  #finish(aborted: boolean, byClient = aborted): void {
    if (this.#over) return;
    this.#over = true;
    this.deadline = this.#connection.now() + WRITE_STALL_MS;
    const sink = this.#sink;
    this.#sink = undefined;
    if (aborted) {
      sink?.fail();
      this.owner?.exchangeAborted();
      this.source?.clientGone();
    }
    this.owner?.exchangeDone(this.#down, this.#up);
    if (byClient) this.#connection.countReset();
  }
}
