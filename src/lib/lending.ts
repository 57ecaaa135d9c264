// Reading without a copy: a stream that lends its bytes hands them over where they stand, and has them back when the call returns. A reader
// that keeps nothing, or puts the bytes where it wants them, spares memory that would have to be made and collected for each piece.
import type { Duplex } from 'node:stream';

export interface Loan {
  /** There is room again, after the reader said that there was none. */
  resume(): void;
}

export interface Lender {
  /**
   * From now on bytes come to `take` and not as `data`; they are valid only during the call. It returns whether there is room for more:
   * after false the sender is held back until `resume`, but what is under way still comes, at most the stream's window. Once only,
   * before anything was read otherwise. `end`, `error` and `close` come as ever.
   */
  lend(take: (bytes: Uint8Array) => boolean): Loan;
}

export function canLend(stream: Duplex): stream is Duplex & Lender {
  return 'lend' in stream && typeof stream.lend === 'function';
}
