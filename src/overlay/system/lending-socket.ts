// A kernel socket that lends: it reads into one buffer that all such sockets share, as each has it only while it hands the bytes over.
// Whoever reads it in the usual way gets copies of the right size.
import { Socket } from 'node:net';
import type { Lender, Loan } from '#lib/lending.ts';
import { SYSTEM_READ_BYTES } from '../constants.ts';

const shared = Buffer.allocUnsafeSlow(SYSTEM_READ_BYTES);

export class LendingSocket extends Socket implements Lender {
  #take: ((bytes: Uint8Array) => boolean) | undefined;

  constructor() {
    // The callback comes later than the constructor.
    super({ allowHalfOpen: true, onread: { buffer: shared, callback: (count, bytes) => this.#received(bytes.subarray(0, count)) } });
  }

  lend(take: (bytes: Uint8Array) => boolean): Loan {
    this.#take = take;
    // What came before stands in Node's own buffer; the end comes from there in any case.
    this.on('data', (early: Buffer) => {
      if (!take(early)) this.pause();
    });
    return { resume: () => void this.resume() };
  }

  /** False stops the reading until `resume`, or until Node's buffer has been read. */
  #received(bytes: Uint8Array): boolean {
    if (this.#take === undefined || this.readableLength > 0) return this.push(Buffer.from(bytes));
    const room = this.#take(bytes);
    if (!room) this.pause();
    return room;
  }
}
