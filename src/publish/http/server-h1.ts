// The client's side of HTTP/1.1: one connection, requests one after the other, each handed to the handler as an Exchange.
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Socket } from 'node:net';
import { faultStatus, HeadReader, parseRequestHead, type Http1Fault } from '#wire/http1-head.ts';
import { statusLine } from '#wire/http1-write.ts';
import { HEAD_MS, IDLE_MS, LINGER_MS, READ_AHEAD, WRITE_STALL_MS } from '../constants.ts';
import type { Deadlined, Deadlines } from './deadlines.ts';
import type { Client, Exchange } from './exchange.ts';
import { H1Exchange, type H1Link } from './h1-exchange.ts';

export interface H1Owner {
  readonly deadlines: Deadlines;
  /** Answers an exchange; must not throw. */
  handle(exchange: Exchange): void;
  /** A request that was refused by its grammar: for the access log. */
  refused(client: Client, fault: Http1Fault, status: number): void;
  closed(connection: H1Connection): void;
}

/** Serves one TLS or plain connection until it closes. */
export class H1Connection implements Deadlined, H1Link {
  slot = -1;
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
    // Node's handle keeps the closed socket alive up to the next full collection: what hangs on it must not stay as long.
    this.#socket.removeAllListeners();
    this.#socket.on('error', () => undefined);
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
    // A slow client gets what is still on its way; lingering begins after that.
    this.deadline = this.now() + WRITE_STALL_MS;
    this.#socket.end(() => {
      this.deadline = this.now() + LINGER_MS;
    });
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
