// Joins two streams until both directions are done: half-close passes through, an error on one side resets the other.
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { canLend, type Loan } from './lending.ts';
import { lendAccepted } from './lending-socket.ts';
import { sendAtOnce } from './socket-send.ts';

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
      const lender = canLend(from) ? from : from instanceof Socket ? lendAccepted(from) : undefined;
      if (lender === undefined) {
        from.on('data', (chunk: Buffer) => {
          quiet = false;
          count(chunk.length);
          if (!to.write(chunk)) from.pause();
        });
        to.on('drain', () => from.resume());
      } else {
        const writer = to instanceof Socket ? new SocketWriter(to) : new CopyingWriter(to);
        writer.loan = lender.lend((bytes) => {
          quiet = false;
          count(bytes.length);
          return writer.write(bytes);
        });
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

/** Writes borrowed bytes to a stream that may hand on what it is given: each piece has memory of its own. */
class CopyingWriter {
  readonly #to: Duplex;
  loan: Loan | undefined;

  constructor(to: Duplex) {
    this.#to = to;
    to.on('drain', () => this.loan?.resume());
  }

  /** Whether there is room for more. */
  write(bytes: Uint8Array): boolean {
    return this.#to.write(Buffer.from(bytes));
  }
}

const pieceBytes = 64 * 1024;
/** Pieces that all sockets together keep for the next one that is full; more are left to the collector. */
const keptPieces = 64;
const freePieces: Buffer[] = [];

/**
 * Writes borrowed bytes to a socket. What the kernel takes at once is not copied; what it does not take waits in pieces of memory that are used
 * again, and until those are gone nothing more is asked for. So a slow receiver costs one read at most.
 */
class SocketWriter {
  readonly #to: Socket;
  #waiting = 0;
  loan: Loan | undefined;

  constructor(to: Socket) {
    this.#to = to;
  }

  /** Whether there is room for more. */
  write(bytes: Uint8Array): boolean {
    const at = sendAtOnce(this.#to, bytes);
    for (let from = at; from < bytes.length; from += pieceBytes) this.#wait(bytes.subarray(from, from + pieceBytes));
    // Where the kernel has taken the pieces meanwhile, nothing is waited for.
    return at === bytes.length || this.#to.writableLength === 0;
  }

  #wait(bytes: Uint8Array): void {
    // Small ones come out of Node's own memory for such.
    const pooled = bytes.length > pieceBytes / 16;
    const piece = pooled ? (freePieces.pop() ?? Buffer.allocUnsafeSlow(pieceBytes)) : Buffer.from(bytes);
    if (pooled) piece.set(bytes);
    this.#waiting++;
    this.#to.write(pooled ? piece.subarray(0, bytes.length) : piece, (error) => {
      this.#waiting--;
      // After an error the stream may still hold what it did not send.
      if (error !== null && error !== undefined) return;
      if (pooled && freePieces.length < keptPieces) freePieces.push(piece);
      if (this.#waiting === 0) this.loan?.resume();
    });
  }
}

/** Ends a stream so that the other end cannot take it for complete: a kernel socket's `destroy` alone would send FIN. */
function reset(stream: Duplex): void {
  if (stream instanceof Socket) stream.resetAndDestroy();
  else stream.destroy();
}
