// A TCP connection of the stack as a Node stream: `end()` sends FIN, `destroy()` resets, back-pressure both ways.
//
// Received segments are gathered until the loop has taken all datagrams that were waiting, and handed on in one piece: what reads the
// stream works once for each turn of the loop, not once for each packet. A reader that borrows gets large pieces where they stand.
import { Duplex } from 'node:stream';
import { inspect } from 'node:util';
import type { Clock } from '#lib/clock.ts';
import type { TcpConnection, TcpEnd, TcpHandler } from '#netstack/types.ts';
import type { Lender, Loan } from '#lib/lending.ts';
import { STREAM_HIGH_WATER_BYTES, STREAM_LEND_BYTES, STREAM_SLAB_BYTES, STREAM_WRITE_AHEAD_BYTES } from './constants.ts';
import { overlayError } from './errors.ts';

const firstSlabBytes = 4096;
/** A rest of a slab that is smaller is not worth keeping. */
const smallestRest = 1500;

/** What a stream needs of the loop that drives the stack. */
export interface StreamLoop {
  readonly clock: Clock;
  /** The stack was called: look at its timers at the end of this turn. */
  touch(): void;
  /** Call `flush` at the end of this turn. */
  gather(stream: OverlayStream): void;
}

export interface StreamEvents {
  /** The handshake is over: the stream is open, or never will be. Not called for accepted connections. */
  opened(reason: TcpEnd | undefined): void;
  /** The stream is destroyed. Exactly once. */
  gone(stream: OverlayStream): void;
}

type StreamState = 'opening' | 'open' | 'over';

export class OverlayStream extends Duplex implements Lender {
  readonly #loop: StreamLoop;
  readonly #events: StreamEvents;
  #connection: TcpConnection | undefined;
  #state: StreamState;
  #slab: Buffer | undefined;
  #slabBytes = firstSlabBytes;
  #pushedTo = 0;
  #filledTo = 0;
  #gathering = false;
  /** Bytes handed on that the reader has no room for: the window stays closed for them until it reads again. */
  #owed = 0;
  /** Bytes that a borrower took, and that have not been told to the stack yet. */
  #taken = 0;
  #take: ((bytes: Uint8Array) => boolean) | undefined;
  /** The borrower has no room. */
  #full = false;
  #remoteEnded = false;
  #localEnded = false;
  #waiting: { readonly chunk: Buffer; offset: number; readonly done: (error?: Error | null) => void } | undefined;

  constructor(loop: StreamLoop, accepted: boolean, events: StreamEvents) {
    super({ allowHalfOpen: true, readableHighWaterMark: STREAM_HIGH_WATER_BYTES, writableHighWaterMark: STREAM_WRITE_AHEAD_BYTES });
    this.#loop = loop;
    this.#events = events;
    this.#state = accepted ? 'open' : 'opening';
  }

  /** The connection's events, to be handed to the stack. */
  readonly handler: TcpHandler = {
    established: () => {
      if (this.#state !== 'opening') return;
      this.#state = 'open';
      this.#events.opened(undefined);
    },
    data: (bytes) => this.#received(bytes),
    remoteEnded: () => {
      this.#remoteEnded = true;
      this.flush();
      this.push(null);
    },
    writable: () => this.#writeMore(),
    closed: (reason) => this.#closed(reason),
  };

  /** Gives the stream its connection; once. */
  bind(connection: TcpConnection): this {
    this.#connection = connection;
    return this;
  }

  /** The remote address of the connection. */
  get remote(): TcpConnection['remote'] | undefined {
    return this.#connection?.remote;
  }

  /** For logs and errors: the stream and its connection in one line, not the whole object. */
  [inspect.custom](): string {
    const waiting = this.#waiting === undefined ? 0 : this.#waiting.chunk.length - this.#waiting.offset;
    return (
      `stream ${this.#state}${this.destroyed ? ', destroyed' : ''}, ended ${this.#localEnded}, by the peer ${this.#remoteEnded}, ` +
      `to be read ${this.readableLength}, owed ${this.#owed}, to be written ${this.writableLength}, of which begun ${waiting}; ` +
      `TCP ${this.#connection?.describe(this.#loop.clock.now()) ?? 'none'}`
    );
  }

  lend(take: (bytes: Uint8Array) => boolean): Loan {
    this.#take = take;
    // What came before stands in Node's own buffer; the end comes from there in any case.
    this.on('data', (early: Buffer) => {
      this.#full = !take(early);
      if (this.#full) this.pause();
    });
    return {
      resume: () => {
        this.#full = false;
        if (this.isPaused()) this.resume();
        else this._read();
      },
    };
  }

  /** Hands on what was gathered. */
  flush(): void {
    this.#gathering = false;
    this.#handOn();
    const taken = this.#taken;
    this.#taken = 0;
    if (taken > 0) this.#credit(taken);
  }

  #handOn(): void {
    const slab = this.#slab;
    const count = this.#filledTo - this.#pushedTo;
    if (slab === undefined || count === 0) return;
    const chunk = slab.subarray(this.#pushedTo, this.#filledTo);
    // The next slab fits what this stream brings in one turn; an idle stream keeps little.
    if (count > this.#slabBytes / 2) this.#slabBytes = Math.min(STREAM_SLAB_BYTES, this.#slabBytes * 2);
    else if (count < this.#slabBytes / 8) this.#slabBytes = Math.max(firstSlabBytes, this.#slabBytes / 2);
    if (this.#lending) {
      this.#filledTo = this.#pushedTo;
      if (slab.length !== this.#slabBytes) this.#slab = undefined;
      return this.#handOver(chunk);
    }
    this.#pushedTo = this.#filledTo;
    if (slab.length - this.#filledTo < smallestRest) this.#slab = undefined;
    if (this.push(chunk)) this.#taken += count;
    else this.#owed += count;
  }

  /** Whether bytes go to a borrower: not while earlier ones wait to be read. */
  get #lending(): boolean {
    return this.#take !== undefined && this.readableLength === 0;
  }

  #handOver(bytes: Uint8Array): void {
    this.#full = this.#take?.(bytes) !== true;
    if (this.#full) this.#owed += bytes.length;
    else this.#taken += bytes.length;
  }

  override _read(): void {
    if (this.#full) return;
    const owed = this.#owed;
    this.#owed = 0;
    if (owed > 0) this.#credit(owed);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const connection = this.#connection;
    if (this.#state === 'over' || connection === undefined) return done(overlayError('EPIPE'));
    const taken = connection.write(chunk, this.#loop.clock.now());
    this.#loop.touch();
    if (taken === chunk.length) done();
    else this.#waiting = { chunk, offset: taken, done };
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#localEnded = true;
    if (this.#state !== 'over') this.#connection?.end(this.#loop.clock.now());
    this.#loop.touch();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // Where both sides have ended, what was written is still on its way and the stack sees to it alone.
    const complete = error === null && this.#remoteEnded && this.#localEnded;
    if (this.#state !== 'over' && !complete) this.#connection?.abort(this.#loop.clock.now());
    const opening = this.#state === 'opening';
    this.#state = 'over';
    this.#slab = undefined;
    this.#waiting = undefined;
    this.#loop.touch();
    this.#events.gone(this);
    // Nobody has it yet, and nobody listens for its errors: who waits for it is told.
    if (opening) this.#events.opened('EHOSTUNREACH');
    done(opening ? null : error);
  }

  #received(bytes: Uint8Array): void {
    if (this.#state === 'over') return;
    if (bytes.length >= STREAM_LEND_BYTES && this.#lending) {
      this.#handOn();
      this.#handOver(bytes);
      return this.#gather();
    }
    let at = 0;
    while (at < bytes.length) {
      if (this.#filledTo === this.#slab?.length) this.#handOn();
      let slab = this.#slab;
      if (slab === undefined || this.#filledTo === slab.length) {
        slab = Buffer.allocUnsafeSlow(this.#slabBytes);
        this.#slab = slab;
        this.#pushedTo = 0;
        this.#filledTo = 0;
      }
      const part = bytes.subarray(at, at + slab.length - this.#filledTo);
      slab.set(part, this.#filledTo);
      this.#filledTo += part.length;
      at += part.length;
    }
    this.#gather();
  }

  #gather(): void {
    if (this.#gathering) return;
    this.#gathering = true;
    this.#loop.gather(this);
  }

  /** The way to the peer is open again: what waits for a late repetition goes out now. */
  hurry(): void {
    if (this.#state !== 'over') this.#connection?.hurry(this.#loop.clock.now());
  }

  #credit(count: number): void {
    if (this.#state === 'over') return;
    this.#connection?.consumed(count, this.#loop.clock.now());
    this.#loop.touch();
  }

  #writeMore(): void {
    const waiting = this.#waiting;
    const connection = this.#connection;
    if (waiting === undefined || connection === undefined) return;
    waiting.offset += connection.write(waiting.chunk.subarray(waiting.offset), this.#loop.clock.now());
    if (waiting.offset < waiting.chunk.length) return;
    this.#waiting = undefined;
    waiting.done();
  }

  #closed(reason: TcpEnd): void {
    const before = this.#state;
    if (before === 'over') return;
    this.flush();
    this.#state = 'over';
    if (before === 'opening') {
      this.#events.opened(reason === 'finished' ? 'ECONNRESET' : reason);
      this.destroy();
    } else if (reason !== 'finished') {
      this.destroy(overlayError(reason));
    }
  }
}
