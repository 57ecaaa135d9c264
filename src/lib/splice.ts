// Joins two streams until both directions are done: half-close passes through, an error on one side resets the other.
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { canLend, type Loan } from './lending.ts';
import { lendAccepted } from './lending-socket.ts';
import { sendAtOnce } from './ffi-socket.ts';
import { type Slotted, Slots } from './slots.ts';

export interface SpliceResult {
  /** Bytes that came from `a` and went to `b`. */
  readonly forward: number;
  readonly backward: number;
  /** The failure that ended it, or undefined where both sides finished. */
  readonly error: unknown;
}

export interface SpliceOptions {
  /** Both directions silent for this long, or up to twice as long, ends the splice; Infinity, or more than a timer holds (24 days), never does. */
  readonly idleMs: number;
}

/** Joins `a` and `b`; never rejects. Both are destroyed when it resolves. */
export function splice(a: Duplex, b: Duplex, { idleMs }: SpliceOptions): Promise<SpliceResult> {
  return new Promise((resolve) => void new Splice(a, b, idleMs, resolve));
}

/** Where an end finds its splice: listeners that are the same for all ends cost nothing for each. */
const spliceOf = Symbol('splice');
type Joined = Duplex & { [spliceOf]?: Splice };

function ended(this: Joined): void {
  this[spliceOf]?.other(this).end();
}

function finished(this: Joined): void {
  this[spliceOf]?.oneEnded();
}

/** A stream that closes without its end is a reset: the other side must not take it for a complete transfer. */
function closed(this: Joined): void {
  if (!this.readableEnded) this[spliceOf]?.finish(this.errored ?? 'closed before its end');
}

function failed(this: Joined, error: unknown): void {
  this[spliceOf]?.finish(error);
}

class Splice implements Slotted {
  slot = -1;
  /** Nothing has come since the idle watch looked last. */
  quiet = false;
  readonly #ends: readonly [Duplex, Duplex];
  readonly #idle: IdleWatch | undefined;
  readonly #resolve: (result: SpliceResult) => void;
  #forward = 0;
  #backward = 0;
  #open = 2;

  constructor(a: Duplex, b: Duplex, idleMs: number, resolve: (result: SpliceResult) => void) {
    this.#ends = [a, b];
    this.#resolve = resolve;
    this.#idle = idleMs <= longestTimerMs ? IdleWatch.of(idleMs) : undefined;
    this.#idle?.add(this);
    for (const end of [a, b] as Joined[]) end[spliceOf] = this;
    this.#pump(a, b, true);
    this.#pump(b, a, false);
    // One that went before it was joined has told nobody.
    if (a.destroyed || b.destroyed) this.finish('closed before it was joined');
  }

  finish(error: unknown): void {
    if (this.#open < 0) return;
    this.#open = -1;
    this.#idle?.delete(this);
    for (const stream of this.#ends) {
      if (error === undefined) stream.destroy();
      else resetStream(stream);
    }
    this.#resolve({ forward: this.#forward, backward: this.#backward, error });
  }

  oneEnded(): void {
    if (--this.#open === 0) this.finish(undefined);
  }

  other(end: Duplex): Duplex {
    return this.#ends[0] === end ? this.#ends[1] : this.#ends[0];
  }

  #pump(from: Duplex, to: Duplex, forward: boolean): void {
    const lender = canLend(from) ? from : from instanceof Socket ? lendAccepted(from) : undefined;
    if (lender === undefined) {
      from.on('data', (chunk: Buffer) => {
        this.#count(chunk.length, forward);
        if (!to.write(chunk)) from.pause();
      });
      to.on('drain', () => from.resume());
    } else {
      const writer = to instanceof Socket ? new SocketWriter(to) : new CopyingWriter(to);
      writer.loan = lender.lend((bytes) => {
        this.#count(bytes.length, forward);
        return writer.write(bytes);
      });
    }
    from.on('end', ended);
    to.on('finish', finished);
    from.on('close', closed);
    from.on('error', failed);
  }

  #count(bytes: number, forward: boolean): void {
    this.quiet = false;
    if (forward) this.#forward += bytes;
    else this.#backward += bytes;
  }
}

/** Ends splices that stay silent, with one timer for all that have the same time; each has it at least once, and less than twice. */
class IdleWatch {
  static readonly #watches = new Map<number, IdleWatch>();
  readonly #idleMs: number;
  readonly #members = new Slots<Splice>();
  readonly #timer: NodeJS.Timeout;

  static of(idleMs: number): IdleWatch {
    return IdleWatch.#watches.getOrInsertComputed(idleMs, () => new IdleWatch(idleMs));
  }

  constructor(idleMs: number) {
    this.#idleMs = idleMs;
    this.#timer = setInterval(() => this.#look(), idleMs).unref();
  }

  add(member: Splice): void {
    this.#members.add(member);
  }

  delete(member: Splice): void {
    this.#members.delete(member);
    if (this.#members.size > 0) return;
    clearInterval(this.#timer);
    IdleWatch.#watches.delete(this.#idleMs);
  }

  #look(): void {
    this.#members.forEach((member) => {
      if (member.quiet) member.finish(undefined);
      else member.quiet = true;
    });
  }
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
export function resetStream(stream: Duplex): void {
  // Of TLS the socket below would have to be reset, and Node does not do that; without TLS's own end it is not complete either (RFC 8446 §6.1).
  if (stream instanceof Socket && !('encrypted' in stream)) stream.resetAndDestroy();
  else stream.destroy();
}
