// A kernel socket that lends: it reads into one buffer that all such sockets share, as each has it only while it hands the bytes over.
// Whoever reads it in the usual way gets copies of the right size.
import { Socket } from 'node:net';
import type { Lender, Loan } from './lending.ts';

/** Bytes of one read: with 64 KiB, what Node reads by itself, a large transfer spends its time between system calls. */
const readBytes = 256 * 1024;
const shared = Buffer.allocUnsafeSlow(readBytes);

export class LendingSocket extends Socket implements Lender {
  #take: ((bytes: Uint8Array) => boolean) | undefined;

  /** Of a socket that has to be connected still. */
  constructor() {
    // The callback comes later than the constructor.
    super({ allowHalfOpen: true, onread: { buffer: shared, callback: (count, bytes) => this.#received(bytes.subarray(0, count)) } });
  }

  lend(take: (bytes: Uint8Array) => boolean): Loan {
    this.#take = take;
    // What came before stands in Node's own buffer; the end comes from there in any case.
    this.on('data', this.#early);
    return { resume: () => void this.resume() };
  }

  /** Ends the loan, for another reader in either way; what comes until then has to be paused for. */
  takeBack(): void {
    this.#take = undefined;
    this.off('data', this.#early);
  }

  readonly #early = (bytes: Buffer): void => {
    if (this.#take?.(bytes) === false) this.pause();
  };

  /** False stops the reading until `resume`, or until Node's buffer has been read. */
  #received(bytes: Uint8Array): boolean {
    if (this.#take === undefined || this.readableLength > 0) return this.push(Buffer.from(bytes));
    const room = this.#take(bytes);
    if (!room) this.pause();
    return room;
  }
}
