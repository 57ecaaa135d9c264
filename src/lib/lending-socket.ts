// A kernel socket that lends: it reads into one buffer that all such sockets share, as each has it only while it hands the bytes over.
// Whoever reads it in the usual way gets copies of the right size.
import { Socket } from 'node:net';
import type { Lender, Loan } from './lending.ts';

/** Bytes of one read: with 64 KiB, what Node reads by itself, a large transfer spends its time between system calls. */
const readBytes = 256 * 1024;
/** What every lending socket reads into; its bytes are lent from here. */
export const sharedReadBuffer: Buffer = Buffer.allocUnsafeSlow(readBytes);

export class LendingSocket extends Socket implements Lender {
  readonly #borrower: Borrower;

  /** Of a socket that has to be connected still. */
  constructor() {
    // The callback comes later than the constructor.
    super({ allowHalfOpen: true, onread: { buffer: sharedReadBuffer, callback: (count) => this.#borrower.received(count) } });
    this.#borrower = new Borrower(this);
  }

  lend(take: (bytes: Uint8Array) => boolean): Loan {
    return this.#borrower.lend(take);
  }

  /** Ends the loan, for another reader in either way; what comes until then has to be paused for. */
  takeBack(): void {
    this.#borrower.takeBack();
  }
}

/**
 * Lets an accepted socket lend, too, from now on; what it has read already is lent first. Node has that for sockets that connect only, so this
 * uses what it keeps to itself: where that has changed, as for sockets of other kinds, the answer is undefined, and the socket as it was.
 */
export function lendAccepted(socket: Socket): Lender | undefined {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly useUserBuffer?: (buffer: Uint8Array) => void } | null };
  if (Object.getPrototypeOf(socket) !== Socket.prototype || socket.destroyed || handle?.constructor.name !== 'TCP') return undefined;
  if (internals === undefined || handle.useUserBuffer === undefined) return undefined;
  const borrower = new Borrower(socket);
  const fields = socket as unknown as Record<symbol, unknown>;
  handle.useUserBuffer(sharedReadBuffer);
  fields[internals.callback] = (count: number) => borrower.received(count);
  fields[internals.generator] = null;
  fields[internals.buffer] = sharedReadBuffer;
  return borrower;
}

/** Where Node keeps what `onread` was given. */
const internals = findInternals();

function findInternals(): { readonly buffer: symbol; readonly callback: symbol; readonly generator: symbol } | undefined {
  const callback = (): boolean => true;
  const sample = new Socket({ onread: { buffer: sharedReadBuffer, callback } }) as unknown as Record<symbol, unknown>;
  const named = (name: string): symbol | undefined => Object.getOwnPropertySymbols(sample).find(({ description }) => description === name);
  const found = { buffer: named('kBuffer'), callback: named('kBufferCb'), generator: named('kBufferGen') };
  const { buffer, callback: call, generator } = found;
  if (buffer === undefined || call === undefined || generator === undefined) return undefined;
  // They have to hold what they are believed to.
  if (sample[buffer] !== sharedReadBuffer || sample[call] !== callback || sample[generator] !== null) return undefined;
  return { buffer, callback: call, generator };
}

/** Where a socket finds its borrower, so that all have one listener. */
const borrowerOf = Symbol('borrower');

function readEarly(this: Socket & { [borrowerOf]?: Borrower }, bytes: Buffer): void {
  if (this[borrowerOf]?.take?.(bytes) === false) this.pause();
}

/** Who has the bytes of one socket. */
class Borrower implements Lender {
  readonly #socket: Socket;
  take: ((bytes: Uint8Array) => boolean) | undefined;

  constructor(socket: Socket & { [borrowerOf]?: Borrower }) {
    this.#socket = socket;
    socket[borrowerOf] = this;
  }

  lend(take: (bytes: Uint8Array) => boolean): Loan {
    this.take = take;
    // What came before stands in Node's own buffer; the end comes from there in any case.
    this.#socket.on('data', readEarly);
    return this;
  }

  resume(): void {
    this.#socket.resume();
  }

  takeBack(): void {
    this.take = undefined;
    this.#socket.off('data', readEarly);
  }

  /** False stops the reading until `resume`, or until Node's buffer has been read. */
  received(count: number): boolean {
    const bytes = sharedReadBuffer.subarray(0, count);
    if (this.take === undefined || this.#socket.readableLength > 0) return this.#socket.push(Buffer.from(bytes));
    const room = this.take(bytes);
    if (!room) this.#socket.pause();
    return room;
  }
}
