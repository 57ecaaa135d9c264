// Joins two streams until both directions are done: half-close passes through, an error on one side resets the other.
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { canLend } from './lending.ts';

export interface SpliceResult {
  /** Bytes that came from `a` and went to `b`. */
  readonly forward: number;
  readonly backward: number;
  /** The failure that ended it, or undefined where both sides finished. */
  readonly error: unknown;
}

export interface SpliceOptions {
  /** Both directions silent for this long ends the splice; Infinity, or more than a timer holds (24 days), never does. */
  readonly idleMs: number;
}

/** Joins `a` and `b`; never rejects. Both are destroyed when it resolves. */
export function splice(a: Duplex, b: Duplex, options: SpliceOptions): Promise<SpliceResult> {
  return new Promise((resolve) => {
    let forward = 0;
    let backward = 0;
    let open = 2;
    let done = false;
    let quiet = true;
    const idle =
      options.idleMs <= longestTimerMs ? setInterval(() => (quiet ? finish(undefined) : (quiet = true)), options.idleMs).unref() : undefined;

    const finish = (error: unknown): void => {
      if (done) return;
      done = true;
      clearInterval(idle);
      for (const stream of [a, b]) {
        if (error === undefined) stream.destroy();
        else reset(stream);
      }
      resolve({ forward, backward, error });
    };
    const oneEnded = (): void => {
      if (--open === 0) finish(undefined);
    };
    const pump = (from: Duplex, to: Duplex, count: (bytes: number) => void): void => {
      if (canLend(from)) {
        const pieces = new Pieces(to);
        const loan = from.lend((bytes) => {
          quiet = false;
          count(bytes.length);
          return pieces.write(bytes);
        });
        to.on('drain', () => loan.resume());
      } else {
        from.on('data', (chunk: Buffer) => {
          quiet = false;
          count(chunk.length);
          if (!to.write(chunk)) from.pause();
        });
        to.on('drain', () => from.resume());
      }
      from.on('end', () => to.end());
      to.on('finish', oneEnded);
      // A stream that closes without its end is a reset: the other side must not take it for a complete transfer.
      from.on('close', () => {
        if (!from.readableEnded) finish(from.errored ?? 'closed before its end');
      });
      from.on('error', finish);
    };
    pump(a, b, (bytes) => (forward += bytes));
    pump(b, a, (bytes) => (backward += bytes));
    // One that went before it was joined has told nobody.
    if (a.destroyed || b.destroyed) finish('closed before it was joined');
  });
}

/** Node takes a longer one for a millisecond. */
const longestTimerMs = 2_147_483_647;

/** Below this, Node's own small buffers do. */
const pieceFromBytes = 4096;
const pieceBytes = 64 * 1024;
/** Pieces kept for the next write: more are under way only where the receiver is slow, and then they are left to the collector. */
const keptPieces = 8;

/**
 * Writes borrowed bytes through a few pieces of memory that are used again once they have been sent. Only a socket is known to have no use
 * for them then; other streams may have handed them on, so they get pieces of their own.
 */
class Pieces {
  readonly #to: Duplex;
  readonly #free: Buffer[] = [];

  constructor(to: Duplex) {
    this.#to = to;
  }

  /** Whether there is room for more. */
  write(bytes: Uint8Array): boolean {
    if (bytes.length < pieceFromBytes || !(this.#to instanceof Socket)) return this.#to.write(Buffer.from(bytes));
    let room = true;
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const part = bytes.length <= pieceBytes ? bytes : bytes.subarray(at, at + pieceBytes);
      const piece = this.#free.pop() ?? Buffer.allocUnsafeSlow(pieceBytes);
      piece.set(part);
      room = this.#to.write(piece.subarray(0, part.length), (error) => {
        // After an error the stream may still hold what it did not send.
        if (error === null || error === undefined) this.#keep(piece);
      });
    }
    return room;
  }

  #keep(piece: Buffer): void {
    if (this.#free.length < keptPieces) this.#free.push(piece);
  }
}

/** Ends a stream so that the other end cannot take it for complete: a kernel socket's `destroy` alone would send FIN. */
function reset(stream: Duplex): void {
  if (stream instanceof Socket) stream.resetAndDestroy();
  else stream.destroy();
}
