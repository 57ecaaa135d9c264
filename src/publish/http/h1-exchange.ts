// One request on an HTTP/1.1 connection, and the writing of its answer.
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { BodyReader } from '#wire/http1-body.ts';
import type { Fields } from '#wire/http1-fields.ts';
import type { RequestHead } from '#wire/http1-head.ts';
import { chunkBuffer, chunkHead, fieldLines, joinBuffer, statusLine, trailerText } from '#wire/http1-write.ts';
import { BODY_STALL_MS, COALESCE_BYTES, WRITE_STALL_MS } from '../constants.ts';
import { bodyDeadline } from './deadlines.ts';
import { writeLent } from './lent-pieces.ts';
import type { Answer, AnswerSource, BodySink, Client, Exchange, ExchangeOwner, ExchangeRequest } from './exchange.ts';

/** Done from the beginning, so that all can share it. */
const noBody = new BodyReader({ kind: 'none' });

const continueText = 'HTTP/1.1 100 Continue\r\n\r\n';

/** What an exchange needs of the connection that it is on. */
export interface H1Link {
  readonly client: Client;
  readonly draining: boolean;
  /** Monotonic milliseconds after which the connection is cut. */
  deadline: number;
  now(): number;
  /** Hands over bytes that were held back. */
  pump(): void;
  pauseInput(): void;
  resumeInput(): void;
  /** The exchange is over; `keep` says whether another may follow. */
  finished(keep: boolean): void;
  /** The request's body broke its grammar. */
  brokenBody(answered: boolean): void;
  /** Gives the bare stream away. */
  detach(): Duplex;
}

/** One request on an HTTP/1.1 connection. */
export class H1Exchange implements Exchange {
  readonly request: ExchangeRequest;
  readonly client: Client;
  owner: ExchangeOwner | undefined;
  source: AnswerSource | undefined;
  fault: string | undefined;
  readonly #connection: H1Link;
  readonly #socket: Socket | TLSSocket;
  readonly #head: RequestHead;
  readonly #body: BodyReader;
  #sink: BodySink | undefined;
  #onPayload: ((payload: Buffer) => void) | undefined;
  #bodyPaused = false;
  /** A head, or gathered payload, that waits for company. */
  #pending = '';
  #answered = false;
  #chunked = false;
  #hasBody = false;
  #left = Infinity;
  #keep: boolean;
  #over = false;
  #down = 0;
  #up = 0;

  constructor(connection: H1Link, socket: Socket | TLSSocket, head: RequestHead) {
    this.#connection = connection;
    this.client = connection.client;
    this.#socket = socket;
    this.#head = head;
    this.#body = head.framing.kind === 'none' ? noBody : new BodyReader(head.framing);
    // What follows a CONNECT may be meant for a tunnel that is not there, and is never read as a request (attack row S-15).
    this.#keep = head.keepAlive && head.method !== 'CONNECT';
    this.request = {
      version: head.minor === 1 ? '1.1' : '1.0',
      method: head.method,
      target: head.target,
      authority: head.host,
      fields: head.fields,
      length: head.framing.kind === 'none' ? 0 : head.framing.kind === 'length' ? head.framing.length : undefined,
      upgrade: head.upgrade,
    };
  }

  /** Whether body bytes can be taken now. */
  get wantsBody(): boolean {
    return this.#sink !== undefined && !this.#body.done && !this.#bodyPaused;
  }

  get bodyPending(): boolean {
    return !this.#body.done;
  }

  bodyBytes(chunk: Buffer, start: number): number {
    const sink = this.#sink;
    if (sink === undefined) return chunk.length;
    // Made with the first piece of a body, as most requests have none.
    this.#onPayload ??= (payload) => this.#takePayload(payload);
    const next = this.#body.read(chunk, start, this.#onPayload);
    if (this.#over) return chunk.length;
    if (next < 0) {
      this.#sink = undefined;
      sink.fail();
      this.fault = this.#body.fault;
      this.#finish(false, true);
      this.#connection.brokenBody(this.#answered);
      return -1;
    }
    if (this.#body.done) {
      this.#sink = undefined;
      this.#setDeadline();
      sink.end(this.#body.trailers);
    } else {
      sink.flush();
    }
    return next;
  }

  #takePayload(payload: Buffer): void {
    this.#up += payload.length;
    const { deadline } = this.#connection;
    // Once there is an answer both sides stream, and only silence counts.
    this.#connection.deadline = bodyDeadline(this.#answered ? Infinity : deadline, this.#connection.now(), payload.length);
    if (this.#sink?.write(payload) === false) this.pauseBody();
  }

  readBody(sink: BodySink): void {
    if (this.#body.done) return sink.end(undefined);
    if (this.#head.expectContinue && !this.#answered) this.#socket.write(continueText, 'latin1');
    this.#sink = sink;
    this.#connection.deadline = this.#connection.now() + BODY_STALL_MS;
    this.#connection.pump();
  }

  pauseBody(): void {
    if (this.#body.done) return;
    this.#bodyPaused = true;
    this.#connection.pauseInput();
    this.#setDeadline();
  }

  resumeBody(): void {
    if (!this.#bodyPaused) return;
    this.#bodyPaused = false;
    this.#setDeadline();
    this.#connection.pump();
  }

  inform(status: number, fields: Fields): void {
    if (this.#answered || this.#over || this.#head.minor === 0) return;
    this.#socket.write(`${statusLine(status, '')}${fieldLines(fields)}\r\n`, 'latin1');
  }

  answer(answer: Answer): void {
    if (this.#answered || this.#over) return;
    this.#answered = true;
    if (!this.#body.done || this.#connection.draining) this.#keep = false;
    let text = statusLine(answer.status, answer.reason) + fieldLines(answer.fields);
    const bodyless = this.#head.method === 'HEAD' || answer.status === 204 || answer.status === 304;
    if (bodyless) {
      this.#left = 0;
      if (answer.statedLength !== undefined && answer.status !== 204) text += `Content-Length: ${answer.statedLength}\r\n`;
    } else if (answer.length !== undefined) {
      this.#left = answer.length;
      this.#hasBody = answer.length > 0;
      text += `Content-Length: ${answer.length}\r\n`;
    } else {
      this.#hasBody = true;
      this.#chunked = this.#head.minor === 1;
      if (this.#chunked) text += 'Transfer-Encoding: chunked\r\n';
      else this.#keep = false;
    }
    if (!this.#keep) text += 'Connection: close\r\n';
    else if (this.#head.minor === 0) text += 'Connection: keep-alive\r\n';
    this.#pending = `${text}\r\n`;
  }

  write(payload: Buffer, lent = false): boolean {
    if (this.#over || !this.#hasBody || payload.length === 0) return true;
    if (payload.length > this.#left) {
      this.abort();
      return true;
    }
    this.#left -= payload.length;
    this.#down += payload.length;
    const before = this.#pending;
    this.#pending = '';
    let more: boolean;
    if (payload.length <= COALESCE_BYTES) {
      const joined = this.#chunked
        ? chunkBuffer(payload, before)
        : before === ''
          ? lent
            ? Buffer.from(payload)
            : payload
          : joinBuffer(before, payload);
      more = this.#socket.write(joined);
    } else {
      this.#socket.cork();
      const head = this.#chunked ? before + chunkHead(payload.length) : before;
      if (head !== '') this.#socket.write(head, 'latin1');
      more = lent ? writeLent(this.#socket, payload) : this.#socket.write(payload);
      if (this.#chunked) more = this.#socket.write('\r\n', 'latin1');
      this.#socket.uncork();
    }
    if (!more) this.#connection.deadline = this.#connection.now() + WRITE_STALL_MS;
    return more;
  }

  flush(): void {
    if (this.#over || this.#pending === '') return;
    const text = this.#pending;
    this.#pending = '';
    this.#socket.write(text, 'latin1');
  }

  end(trailers: Fields | undefined): void {
    if (this.#over) return;
    if (!this.#chunked && this.#left !== 0 && this.#left !== Infinity) return this.abort();
    if (this.#chunked) this.#pending += trailerText(trailers);
    this.flush();
    this.#finish(this.#keep && this.#body.done, false);
  }

  abort(): void {
    if (this.#over) return;
    this.#finish(false, true);
    this.#socket.destroy();
  }

  upgrade(fields: Fields): Duplex | undefined {
    if (this.#over || this.#answered) return undefined;
    this.#answered = true;
    this.#over = true;
    this.#socket.write(`${statusLine(101, 'Switching Protocols')}${fieldLines(fields)}\r\n`, 'latin1');
    return this.#connection.detach();
  }

  drained(): void {
    this.#setDeadline();
    this.source?.clientDrained();
  }

  connectionClosed(): void {
    if (this.#over) return;
    this.#finish(false, true);
  }

  #setDeadline(): void {
    this.#connection.deadline =
      this.#sink !== undefined && !this.#bodyPaused
        ? this.#connection.now() + BODY_STALL_MS
        : this.#socket.writableNeedDrain
          ? this.#connection.now() + WRITE_STALL_MS
          : Infinity;
  }

  #finish(keep: boolean, aborted: boolean): void {
    this.#over = true;
    const sink = this.#sink;
    this.#sink = undefined;
    if (aborted) {
      sink?.fail();
      this.owner?.exchangeAborted();
      this.source?.clientGone();
    }
    this.owner?.exchangeDone(this.#down, this.#up);
    if (!aborted) this.#connection.finished(keep);
  }
}
