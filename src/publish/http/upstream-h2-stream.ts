// One request on an HTTP/2 connection to an upstream. What the upstream refused unprocessed is sent again as long as all of it is still at hand.
import { constants, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import { addField, type Fields } from '#wire/http1-fields.ts';
import { INTERIM_ANSWERS, REPLAY_BYTES, REPLAYS } from '../constants.ts';
import { cutStream } from './h2-cut.ts';
import { answerHead, headerObject, requestHeaders, trailerFields } from './h2-fields.ts';
import type { UpstreamSession } from './upstream-h2-session.ts';
import type { AnswerReceiver, UpstreamFailure, UpstreamLink } from './upstream-link.ts';
import { acceptKey } from './websocket-key.ts';

export interface StreamOwner {
  now(): number;
  /** A place on a connection that takes requests, for one that was refused. */
  another(signal: AbortSignal): Promise<UpstreamSession>;
}

export class UpstreamStream implements UpstreamLink {
  readonly #owner: StreamOwner;
  #session: UpstreamSession | undefined;
  #stream: ClientHttp2Stream | undefined;
  #receiver: AnswerReceiver | undefined;
  #head = '';
  #method = '';
  #body: 'none' | 'length' | 'chunked' = 'none';
  #upgrading = false;
  #sentAt = 0;
  #interim = 0;
  #answered = false;
  /** The upstream has said that its answer is whole. */
  #ended = false;
  #trailers: Fields | undefined;
  #requestEnded = false;
  #requestTrailers: Fields | undefined;
  /** What was written of the body, while all of it may have to be written again. */
  #held: Buffer[] | undefined = [];
  #heldBytes = 0;
  #replays = REPLAYS;
  #waiting: AbortController | undefined;

  /** `session` has a place reserved. */
  constructor(session: UpstreamSession, owner: StreamOwner) {
    this.#session = session;
    this.#owner = owner;
  }

  send(head: string, method: string, body: 'none' | 'length' | 'chunked', upgrading: boolean, receiver: AnswerReceiver): void {
    this.#receiver = receiver;
    this.#head = head;
    this.#method = method;
    this.#body = body;
    this.#upgrading = upgrading;
    this.#requestEnded = body === 'none';
    this.#begin();
  }

  writeBody(payload: Buffer): boolean {
    this.#hold(payload);
    if (this.#stream === undefined) return this.#heldBytes < REPLAY_BYTES;
    return this.#stream.write(payload);
  }

  flushRequest(): void {
    // node:http2 writes at once.
  }

  endBody(trailers: Fields | undefined): void {
    this.#requestEnded = true;
    this.#requestTrailers = trailers;
    this.#stream?.end();
  }

  resumeAnswer(): void {
    this.#stream?.resume();
  }

  retire(): void {
    // Streams share their connection; requests that sign a connection in never come here.
  }

  destroy(): void {
    this.#receiver = undefined;
    this.#held = undefined;
    this.#waiting?.abort();
    const stream = this.#stream;
    if (stream === undefined) return this.#release();
    if (!this.#answered) this.#session?.suspect(this.#sentAt);
    // Its place is given back when it has closed.
    cutStream(stream);
  }

  #begin(): void {
    const session = this.#session;
    if (session === undefined) return;
    this.#sentAt = this.#owner.now();
    let stream: ClientHttp2Stream;
    try {
      const headers = requestHeaders(this.#head, session.scheme, this.#upgrading ? 'websocket' : undefined);
      stream = session.request(headers, this.#body === 'none' && !this.#upgrading, this.#body === 'chunked');
    } catch (error) {
      // The connection closed between its choice and now; all else would meet the same on the next one.
      const { leaving } = session;
      this.#release();
      return leaving ? this.#refused(String(error)) : this.#fail('closed', String(error));
    }
    this.#stream = stream;
    this.#watchEnd(stream);
    stream.on('headers', (_headers: IncomingHttpHeaders, _flags: number, raw: string[]) => this.#onInterim(raw));
    stream.on('response', (_headers: IncomingHttpHeaders, flags: number, raw: string[]) => this.#onResponse(stream, flags, raw));
    stream.on('trailers', (_headers: IncomingHttpHeaders, _flags: number, raw: string[]) => (this.#trailers = trailerFields(raw)));
    stream.on('wantTrailers', () => this.#sendTrailers(stream));
    stream.on('drain', () => this.#receiver?.requestDrain());
    stream.on('end', () => this.#onEnd(stream));
    stream.on('error', () => undefined);
    stream.on('close', () => this.#onClose(stream, session));
    for (const payload of this.#held ?? []) stream.write(payload);
    if (this.#requestEnded && this.#body !== 'none') stream.end();
    else if (!stream.writableNeedDrain && this.#heldBytes > 0) this.#receiver?.requestDrain();
  }

  /**
   * A body's end and a reset without an error, by which servers that shut down break off, look the same in node:http2. The end is read while the
   * stream is open, the reset closes it first.
   */
  #watchEnd(stream: ClientHttp2Stream): void {
    this.#ended = false;
    const push = stream.push.bind(stream);
    stream.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
      if (chunk === null && !stream.closed) this.#ended = true;
      return push(chunk, encoding);
    };
  }

  #onInterim(raw: readonly string[]): void {
    this.#session?.heard();
    const head = answerHead(raw, this.#method, false);
    if (typeof head === 'string' || head.status === 101) return this.#fail('bad_answer', 'interim answer malformed');
    if (++this.#interim > INTERIM_ANSWERS) return this.#fail('bad_answer', 'too many interim answers');
    this.#receiver?.interim(head);
  }

  #onResponse(stream: ClientHttp2Stream, flags: number, raw: readonly string[]): void {
    const receiver = this.#receiver;
    this.#session?.heard();
    this.#session?.served();
    this.#held = undefined;
    if (receiver === undefined) return;
    const ended = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    const head = answerHead(raw, this.#method, ended);
    if (typeof head === 'string' || head.status < 200) return this.#fail('bad_answer', typeof head === 'string' ? head : 'interim answer as final');
    if (this.#upgrading && head.status < 300) return this.#switch(stream, head, receiver);
    this.#answered = true;
    receiver.answerHead(head);
    stream.on('data', (payload: Buffer) => {
      this.#session?.heard();
      if (this.#receiver?.answerData(payload) === false) stream.pause();
      this.#receiver?.answerFlush();
    });
    if (!ended) this.#receiver?.answerFlush();
  }

  /** The tunnel of an extended CONNECT, as the 101 that an HTTP/1.1 client waits for. */
  #switch(stream: ClientHttp2Stream, head: ReturnType<typeof answerHead> & object, receiver: AnswerReceiver): void {
    this.#answered = true;
    this.#receiver = undefined;
    const key = /\r\nsec-websocket-key: *([^\r]*)\r\n/i.exec(this.#head)?.[1] ?? '';
    const { fields } = head;
    addField(fields, 'Sec-WebSocket-Accept', acceptKey(key));
    receiver.switched({ ...head, status: 101, upgrade: 'websocket' }, stream);
  }

  #onEnd(stream: ClientHttp2Stream): void {
    const receiver = this.#receiver;
    if (receiver === undefined || !this.#answered || !this.#ended) return;
    this.#receiver = undefined;
    // Of a request body nothing more is wanted (RFC 9113 §8.1).
    if (!this.#requestEnded) cutStream(stream);
    receiver.answerEnd(this.#trailers);
  }

  #onClose(stream: ClientHttp2Stream, session: UpstreamSession): void {
    const unprocessed = session.unprocessed(stream);
    const detail = `stream closed with code ${stream.rstCode}`;
    // A connection that had served before and went without a word: its upstream's usual goodbye, most likely.
    const stale = session.used && session.leaving && !this.#answered && this.#interim === 0;
    this.#stream = undefined;
    this.#release();
    if (this.#receiver === undefined) return;
    if (unprocessed && !this.#answered) this.#refused(detail);
    else this.#fail(stale ? 'stale' : 'closed', detail);
  }

  /** Not looked at by the upstream: again on another connection, or told as such. */
  #refused(detail: string): void {
    if (this.#held === undefined || this.#interim > 0 || this.#replays === 0) return this.#fail('unprocessed', detail);
    this.#replays--;
    const waiting = new AbortController();
    this.#waiting = waiting;
    this.#owner.another(waiting.signal).then(
      (session) => {
        this.#session = session;
        if (waiting.signal.aborted) this.#release();
        else this.#begin();
      },
      (error: unknown) => this.#fail('unprocessed', `${detail}; ${String(error)}`),
    );
  }

  #fail(failure: UpstreamFailure, detail: string): void {
    const receiver = this.#receiver;
    this.destroy();
    receiver?.answerFailed(failure, detail);
  }

  #hold(payload: Buffer): void {
    if (this.#held === undefined) return;
    this.#heldBytes += payload.length;
    // While there is no stream, what is held is all that there is.
    if (this.#heldBytes <= REPLAY_BYTES || this.#stream === undefined) this.#held.push(payload);
    else this.#held = undefined;
  }

  #sendTrailers(stream: ClientHttp2Stream): void {
    try {
      stream.sendTrailers(this.#requestTrailers === undefined ? {} : headerObject(this.#requestTrailers));
    } catch {
      this.#fail('closed', 'trailers that cannot be sent');
    }
  }

  #release(): void {
    const session = this.#session;
    this.#session = undefined;
    session?.release();
  }
}
