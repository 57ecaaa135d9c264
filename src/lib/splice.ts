// Joins two streams until both directions are done: half-close passes through, an error on one side resets the other.
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

export interface SpliceResult {
  /** Bytes that came from `a` and went to `b`. */
  readonly forward: number;
  readonly backward: number;
  /** The failure that ended it, or undefined where both sides finished. */
  readonly error: unknown;
}

export interface SpliceOptions {
  /** Both directions silent for this long ends the splice; Infinity never does. */
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
    const idle = Number.isFinite(options.idleMs)
      ? setInterval(() => (quiet ? finish(undefined) : (quiet = true)), options.idleMs).unref()
      : undefined;

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
      from.on('data', (chunk: Buffer) => {
        quiet = false;
        count(chunk.length);
        if (!to.write(chunk)) from.pause();
      });
      to.on('drain', () => from.resume());
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

/** Ends a stream so that the other end cannot take it for complete: a kernel socket's `destroy` alone would send FIN. */
function reset(stream: Duplex): void {
  if (stream instanceof Socket) stream.resetAndDestroy();
  else stream.destroy();
}
