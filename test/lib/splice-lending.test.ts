// A stream that lends its bytes, joined to one that keeps them for a while: every byte arrives, whatever is done with the memory.
import { createHash } from 'node:crypto';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { Duplex, PassThrough } from 'node:stream';
import t, { type Test } from 'tap';
import type { Lender, Loan } from '#lib/lending.ts';
import { splice } from '#lib/splice.ts';
import { seeded, seededBytes } from '../support/seeded.ts';

const total = 6_000_000;

/** Lends pieces of any size out of one buffer that it overwrites at once, and waits when it is told to. */
class LendingSource extends Duplex implements Lender {
  readonly hash = createHash('sha256');
  waits = 0;
  #left = total;
  readonly #random = seeded(1);
  readonly #bytes = seededBytes(2);
  readonly #memory = Buffer.alloc(200_000);

  override _read(): void {
    // Everything is lent.
  }

  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done();
  }

  lend(take: (bytes: Uint8Array) => boolean): Loan {
    this.resume();
    const more = (): void => {
      while (this.#left > 0) {
        const length = Math.min(this.#left, 1 + Math.floor(this.#random() ** 3 * this.#memory.length));
        const piece = this.#memory.subarray(0, length);
        this.#bytes(piece);
        this.hash.update(piece);
        this.#left -= length;
        const room = take(piece);
        this.#memory.fill(0xee);
        if (!room) {
          this.waits++;
          return;
        }
      }
      if (this.#left === 0) {
        this.#left = -1;
        this.push(null);
      }
    };
    setImmediate(more);
    return { resume: more };
  }
}

async function socketPair(t: Test): Promise<readonly [Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const accepted = new Promise<Socket>((resolve) => void server.once('connection', resolve));
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const ends = [client, await accepted] as const;
  server.close();
  t.teardown(() => ends.forEach((end) => end.destroy()));
  return ends;
}

/** Reads slowly, so that writes have to wait. */
async function digest(from: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash('sha256');
  let turns = 0;
  for await (const chunk of from) {
    hash.update(chunk);
    if (++turns % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return hash.digest('hex');
}

t.test('to a socket that is full now and then', async (t) => {
  const source = new LendingSource();
  const [to, far] = await socketPair(t);
  const joined = splice(source, to, { idleMs: Infinity });
  const arrived = digest(far as AsyncIterable<Buffer>);
  far.end();
  const got = await arrived;
  t.equal(got, source.hash.digest('hex'));
  t.ok(source.waits > 0, `${source.waits} times it had to wait`);
  t.match(await joined, { forward: total, error: undefined });
});

t.test('to a stream that hands on what it was given', async (t) => {
  const source = new LendingSource();
  const through = new PassThrough({ highWaterMark: 1_000_000 });
  const arrived = digest(through as AsyncIterable<Buffer>);
  void splice(source, through, { idleMs: Infinity });
  const got = await arrived;
  t.equal(got, source.hash.digest('hex'));
});
