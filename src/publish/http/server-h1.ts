// The client's side of HTTP/1.1: one connection, requests one after the other, each handed to the handler as an Exchange.
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Socket } from 'node:net';
import { BodyReader } from '#wire/http1-body.ts';
import type { Fields } from '#wire/http1-fields.ts';
import { faultStatus, HeadReader, parseRequestHead, type Http1Fault, type RequestHead } from '#wire/http1-head.ts';
import { chunkBuffer, chunkHead, fieldLines, joinBuffer, statusLine, trailerText } from '#wire/http1-write.ts';
import { BODY_STALL_MS, COALESCE_BYTES, HEAD_MS, IDLE_MS, LINGER_MS, READ_AHEAD, WRITE_STALL_MS } from '../constants.ts';
import type { Deadlined, Deadlines } from './deadlines.ts';
import type { Answer, BodySink, Client, Exchange, ExchangeRequest } from './exchange.ts';

export interface H1Owner {
  readonly deadlines: Deadlines;
  /** Answers an exchange; must not throw. */
  handle(exchange: Exchange): void;
  /** A request that was refused by its grammar: for the access log. */
  refused(client: Client, fault: Http1Fault, status: number): void;
  closed(connection: H1Connection): void;
}

const continueText = 'HTTP/1.1 100 Continue\r\n\r\n';

/** Serves one TLS or plain connection until it closes. */
export class H1Connection implements Deadlined {
  deadline: number;
  readonly client: Client;
  readonly #socket: Socket | TLSSocket;
  readonly #owner: H1Owner;
  readonly #head = new HeadReader();
  #exchange: H1Exchange | undefined;
  /** Bytes that came while nobody could take them. */
  #held: Buffer | undefined;
  #draining = false;
  #closed = false;
  #lingering = false;
  #paused = false;

  constructor(socket: Socket | TLSSocket, client: Client, owner: H1Owner) {
    this.#socket = socket;
    this.client = client;
    this.#owner = owner;
    this.deadline = owner.deadlines.now() + HEAD_MS;
    owner.deadlines.add(this);
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('drain', this.#onDrain);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
  }

  /** No further request: an idle connection closes now, a busy one after its answer. */
  drain(): void {
    this.#draining = true;
    if (this.#exchange === undefined && !this.#head.started) this.#socket.end();
  }

  get draining(): boolean {
    return this.#draining;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  expire(now: number): void {
    this.deadline = now + LINGER_MS;
    if (this.#head.started && !this.#lingering) this.#refuse(undefined, 408);
    else this.#socket.destroy();
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#lingering) return;
    if (this.#held !== undefined) chunk = Buffer.concat([this.#held, chunk]);
    this.#held = undefined;
    this.#take(chunk);
  };

  readonly #onEnd = (): void => {
    // A client that leaves says FIN, and so would one that half-closes; over TLS nobody half-closes, and a departed one must not hold an upstream.
    if (this.#exchange === undefined || this.#lingering) this.#socket.end();
    else this.#exchange.abort();
  };

  readonly #onDrain = (): void => {
    this.#exchange?.drained();
  };

  readonly #onError = (): void => {
    this.#socket.destroy();
  };

  readonly #onClose = (): void => {
    if (this.#closed) return;
    this.#closed = true;
    this.#owner.deadlines.remove(this);
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.connectionClosed();
    this.#owner.closed(this);
  };

  /** Works through bytes: heads begin exchanges, bodies go to them, what is early is held. */
  #take(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#closed && !this.#lingering) {
      const exchange = this.#exchange;
      if (exchange === undefined) {
        if (!this.#head.started) this.deadline = this.#owner.deadlines.now() + HEAD_MS;
        const next = this.#head.read(chunk, at);
        if (next === HeadReader.more) return;
        if (next === HeadReader.bad) return this.#refuse(this.#head.fault, faultStatus(this.#head.fault));
        const head = parseRequestHead(this.#head.text);
        if (head.kind === 'fault') return this.#refuse(head.fault, faultStatus(head.fault));
        at = next;
        this.deadline = Infinity;
        const begun = new H1Exchange(this, this.#socket, head);
        this.#exchange = begun;
        // What follows in this chunk must be in place before the handler asks for the body.
        if (at < chunk.length) {
          this.#held = at === 0 ? chunk : chunk.subarray(at);
          at = chunk.length;
          this.#pause();
        }
        this.#owner.handle(begun);
        return;
      }
      if (!exchange.wantsBody) {
        this.#held = at === 0 ? chunk : chunk.subarray(at);
        if (this.#held.length > READ_AHEAD || exchange.bodyPending) this.#pause();
        return;
      }
      at = exchange.bodyBytes(chunk, at);
      if (at < 0) return;
    }
  }

  /** Hands held bytes on after somebody can take them. */
  pump(): void {
    const held = this.#held;
    this.#held = undefined;
    this.#resume();
    if (held !== undefined) this.#take(held);
  }

  pauseInput(): void {
    this.#pause();
  }

  resumeInput(): void {
    this.#resume();
  }

  #pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#socket.pause();
  }

  #resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket.resume();
  }

  now(): number {
    return this.#owner.deadlines.now();
  }

  /** The exchange is over; `keep` says whether another may follow. */
  finished(keep: boolean): void {
    this.#exchange = undefined;
    if (this.#closed) return;
    if (!keep) return this.#linger();
    this.deadline = this.now() + IDLE_MS;
    // Not from within the handler's own call, so that many pipelined requests cannot deepen the stack.
    if (this.#held !== undefined || this.#paused) queueMicrotask(() => this.pump());
  }

  /** A body that breaks its grammar: what was forwarded of it is aborted, nothing more is read. */
  brokenBody(answered: boolean): void {
    if (answered) this.#socket.destroy();
    else this.#refuse(undefined, 400);
  }

  /** Sends FIN and throws away what still comes, so that the answer is not lost to a reset. */
  #linger(): void {
    this.#lingering = true;
    this.#held = undefined;
    this.deadline = this.now() + LINGER_MS;
    this.#socket.end();
    this.#resume();
  }

  #refuse(fault: Http1Fault | undefined, status: number): void {
    if (fault !== undefined) this.#owner.refused(this.client, fault, status);
    const text = fault ?? (status === 408 ? 'request_timeout' : 'malformed');
    const body = JSON.stringify({ type: 'about:blank', title: 'The request was not understood', status, reason: text });
    this.#socket.write(
      `${statusLine(status, 'Refused')}Content-Type: application/problem+json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
      'latin1',
    );
    this.#linger();
  }

  /** Gives the socket away after 101; the bytes already read come first. */
  detach(): Duplex {
    const socket = this.#socket;
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('drain', this.#onDrain);
    this.#owner.deadlines.remove(this);
    this.#exchange = undefined;
    socket.pause();
    if (this.#held !== undefined) socket.unshift(this.#held);
    this.#held = undefined;
    return socket;
  }
}

/** One request on an HTTP/1.1 connection. */
class H1Exchange implements Exchange {
  readonly request: ExchangeRequest;
  readonly client: Client;
  onAbort: (() => void) | undefined;
  onDrain: (() => void) | undefined;
  onDone: ((bytesDown: number, bytesUp: number) => void) | undefined;
  fault: string | undefined;
  readonly #connection: H1Connection;
  readonly #socket: Socket | TLSSocket;
  readonly #head: RequestHead;
  readonly #body: BodyReader;
  #sink: BodySink | undefined;
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

  constructor(connection: H1Connection, socket: Socket | TLSSocket, head: RequestHead) {
    this.#connection = connection;
    this.client = connection.client;
    this.#socket = socket;
    this.#head = head;
    this.#body = new BodyReader(head.framing);
    this.#keep = head.keepAlive;
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

  readonly #onPayload = (payload: Buffer): void => {
    this.#up += payload.length;
    this.#connection.deadline = this.#connection.now() + BODY_STALL_MS;
    if (this.#sink?.write(payload) === false) this.pauseBody();
  };

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

  write(payload: Buffer): boolean {
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
      more = this.#socket.write(this.#chunked ? chunkBuffer(payload, before) : before === '' ? payload : joinBuffer(before, payload));
    } else {
      this.#socket.cork();
      const head = this.#chunked ? before + chunkHead(payload.length) : before;
      if (head !== '') this.#socket.write(head, 'latin1');
      more = this.#socket.write(payload);
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
    this.onDrain?.();
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
      this.onAbort?.();
    }
    this.onDone?.(this.#down, this.#up);
    if (!aborted) this.#connection.finished(keep);
  }
}
