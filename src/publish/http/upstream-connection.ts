// The upstream's side of HTTP/1.1: one connection, one request at a time, its answer given to a receiver as it comes.
import type { Duplex } from 'node:stream';
import { asBuffer } from '#lib/bytes.ts';
import type { Loan } from '#lib/lending.ts';
import { LendingSocket } from '#lib/lending-socket.ts';
import { BodyReader } from '#wire/http1-body.ts';
import type { Fields } from '#wire/http1-fields.ts';
import { HeadReader, parseResponseHead, type ResponseHead } from '#wire/http1-head.ts';
import { chunkBuffer, chunkHead, joinBuffer, trailerText } from '#wire/http1-write.ts';
import { COALESCE_BYTES, INTERIM_ANSWERS } from '../constants.ts';
import type { AnswerReceiver, UpstreamFailure, UpstreamLink } from './upstream-link.ts';

/** What the pool is told. */
export interface ConnectionOwner {
  /** The connection may serve another request. */
  idle(connection: UpstreamConnection): void;
  gone(connection: UpstreamConnection): void;
}

export class UpstreamConnection implements UpstreamLink {
  /** Monotonic milliseconds since when it is idle; the pool's to set. */
  idleSince = 0;
  readonly #stream: Duplex;
  readonly #owner: ConnectionOwner;
  readonly #head = new HeadReader();
  #receiver: AnswerReceiver | undefined;
  #body: BodyReader | undefined;
  #method = '';
  #upgrading = false;
  #keep = false;
  #requestDone = false;
  #chunked = false;
  #interim = 0;
  /** Requests served before the one in work. */
  #served = 0;
  #anyByte = false;
  #retired = false;
  #gone = false;
  /** Of a socket that lends what it reads. */
  #loan: Loan | undefined;
  /** Whether the receiver takes more of what is lent. */
  #room = true;
  /** A request head that waits for its first payload. */
  #pending = '';

  constructor(stream: Duplex, owner: ConnectionOwner) {
    this.#stream = stream;
    this.#owner = owner;
    // Only a socket of ours can be taken back for an upgrade once it has lent.
    if (stream instanceof LendingSocket) this.#loan = stream.lend(this.#takeLent);
    else stream.on('data', this.#onData);
    stream.on('end', this.#onEnd);
    stream.on('error', this.#onError);
    stream.on('close', this.#onClose);
    stream.on('drain', this.#onDrain);
  }

  /** Whether it can serve nobody any more. */
  get gone(): boolean {
    return this.#gone;
  }

  get used(): boolean {
    return this.#served > 0;
  }

  send(head: string, method: string, body: 'none' | 'length' | 'chunked', upgrading: boolean, receiver: AnswerReceiver): void {
    this.#receiver = receiver;
    this.#method = method;
    this.#upgrading = upgrading;
    this.#keep = true;
    this.#body = undefined;
    this.#interim = 0;
    this.#anyByte = false;
    this.#chunked = body === 'chunked';
    this.#requestDone = body === 'none';
    if (body === 'none') this.#stream.write(head, 'latin1');
    else this.#pending = head;
  }

  writeBody(payload: Buffer): boolean {
    const before = this.#pending;
    this.#pending = '';
    if (payload.length <= COALESCE_BYTES) {
      return this.#stream.write(this.#chunked ? chunkBuffer(payload, before) : before === '' ? payload : joinBuffer(before, payload));
    }
    this.#stream.cork();
    const head = this.#chunked ? before + chunkHead(payload.length) : before;
    if (head !== '') this.#stream.write(head, 'latin1');
    let more = this.#stream.write(payload);
    if (this.#chunked) more = this.#stream.write('\r\n', 'latin1');
    this.#stream.uncork();
    return more;
  }

  flushRequest(): void {
    if (this.#pending === '') return;
    const text = this.#pending;
    this.#pending = '';
    this.#stream.write(text, 'latin1');
  }

  endBody(trailers: Fields | undefined): void {
    if (this.#chunked) this.#pending += trailerText(trailers);
    this.flushRequest();
    this.#requestDone = true;
  }

  resumeAnswer(): void {
    this.#resume();
  }

  retire(): void {
    this.#retired = true;
  }

  destroy(): void {
    this.#receiver = undefined;
    this.#stream.destroy();
    this.#leave();
  }

  readonly #onData = (chunk: Buffer): void => {
    // An answer nobody asked for, or bytes after the end of one: this connection's framing cannot be trusted (response-queue poisoning).
    if (this.#receiver === undefined) return this.destroy();
    this.#anyByte = true;
    let at = 0;
    while (at < chunk.length) {
      const receiver = this.#receiver;
      if (receiver === undefined) return this.destroy();
      const body = this.#body;
      if (body === undefined) {
        const next = this.#head.read(chunk, at);
        if (next === HeadReader.more) return;
        if (next === HeadReader.bad) return this.#fail('bad_answer', this.#head.fault);
        at = next;
        const head = parseResponseHead(this.#head.text, this.#method);
        if (head.kind === 'fault') return this.#fail('bad_answer', head.fault);
        if (head.status === 101) return this.#switch(head, chunk, at, receiver);
        if (head.status < 200) {
          if (++this.#interim > INTERIM_ANSWERS) return this.#fail('bad_answer', 'too many interim answers');
          receiver.interim(head);
          continue;
        }
        this.#keep = head.keepAlive && !this.#retired;
        const reader = new BodyReader(head.framing);
        this.#body = reader;
        receiver.answerHead(head);
        if (reader.done) this.#complete(reader, chunk, at);
        if (reader.done) return;
      } else {
        at = body.read(chunk, at, this.#onPayload);
        if (at < 0) return this.#fail('bad_answer', body.fault);
        if (body.done) return this.#complete(body, chunk, at);
      }
    }
    this.#receiver?.answerFlush();
  };

  readonly #onPayload = (payload: Buffer): void => {
    if (this.#receiver?.answerData(payload, this.#loan !== undefined) !== false) return;
    this.#room = false;
    if (this.#loan === undefined) this.#stream.pause();
  };

  readonly #takeLent = (bytes: Uint8Array): boolean => {
    this.#room = true;
    this.#onData(asBuffer(bytes));
    return this.#room;
  };

  #resume(): void {
    this.#room = true;
    if (this.#loan === undefined) this.#stream.resume();
    else this.#loan.resume();
  }

  #complete(body: BodyReader, chunk: Buffer, at: number): void {
    const receiver = this.#receiver;
    this.#receiver = undefined;
    const clean = at === chunk.length && this.#keep && this.#requestDone;
    this.#served++;
    if (clean && !this.#gone) this.#resume();
    else this.destroy();
    receiver?.answerEnd(body.trailers);
    if (clean && !this.#gone) this.#owner.idle(this);
  }

  #switch(head: ResponseHead, chunk: Buffer, at: number, receiver: AnswerReceiver): void {
    if (!this.#upgrading) return this.#fail('bad_answer', '101 without an upgrade');
    const stream = this.#stream;
    this.#receiver = undefined;
    this.#leave();
    if (stream instanceof LendingSocket) stream.takeBack();
    else stream.off('data', this.#onData);
    stream.off('end', this.#onEnd);
    stream.off('drain', this.#onDrain);
    stream.pause();
    // Lent bytes stay only until this returns.
    if (at < chunk.length) stream.unshift(this.#loan === undefined ? chunk.subarray(at) : Buffer.from(chunk.subarray(at)));
    receiver.switched(head, stream);
  }

  #fail(failure: UpstreamFailure, detail: string): void {
    const receiver = this.#receiver;
    this.destroy();
    receiver?.answerFailed(failure, detail);
  }

  readonly #onEnd = (): void => {
    const body = this.#body;
    if (this.#receiver !== undefined && body?.endsAtClose === true && !body.done) {
      const receiver = this.#receiver;
      this.destroy();
      return receiver.answerEnd(undefined);
    }
    this.#ended('the connection ended');
  };

  readonly #onError = (error: Error): void => {
    this.#ended(error.message);
  };

  readonly #onClose = (): void => {
    this.#ended('the connection closed');
  };

  readonly #onDrain = (): void => {
    this.#receiver?.requestDrain();
  };

  #ended(detail: string): void {
    if (this.#gone) return;
    if (this.#receiver === undefined) return this.destroy();
    this.#fail(this.used && !this.#anyByte ? 'stale' : 'closed', detail);
  }

  #leave(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#owner.gone(this);
  }
}
