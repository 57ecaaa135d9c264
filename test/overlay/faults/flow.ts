// Data through one TCP connection of the overlay, there and back, and what a test wants to know of it: how long nothing came, and whether
// every byte came back as it went.
import { createHash } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { inspect } from 'node:util';
import type { Test } from 'tap';
import { seededBytes } from '../../support/seeded.ts';
import { type Member, until } from '../pair.ts';

/** Makes a member answer every connection with what it says. */
export function echo(at: Member): void {
  at.overlay.accept(
    () => true,
    ({ stream }) => {
      stream.on('error', () => undefined);
      stream.pipe(stream);
    },
  );
}

const chunkBytes = 16 * 1024;

export class Flow {
  readonly #stream: Duplex;
  readonly #out = createHash('sha256');
  readonly #in = createHash('sha256');
  readonly #random = seededBytes(11);
  #timer: NodeJS.Timeout | undefined;
  sent = 0;
  received = 0;
  error: Error | undefined;
  #lastAt = performance.now();
  #silenceMs = 0;

  private constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on('error', (error) => (this.error = error));
    stream.on('data', (chunk: Buffer) => {
      this.#look();
      this.#lastAt = performance.now();
      this.received += chunk.length;
      this.#in.update(chunk);
    });
  }

  static async open(from: Member, to: Member, limitMs = 20_000): Promise<Flow> {
    return new Flow(await from.overlay.dial({ host: to.address, port: 7 }, { signal: AbortSignal.timeout(limitMs) }));
  }

  /** The longest time without data since it was last asked. */
  takeSilence(): number {
    this.#look();
    const silence = this.#silenceMs;
    this.#silenceMs = 0;
    this.#lastAt = performance.now();
    return silence;
  }

  /** Sends so much at once. */
  send(bytes: number): void {
    for (let left = bytes; left > 0; left -= chunkBytes) {
      const chunk = Buffer.alloc(Math.min(chunkBytes, left));
      this.#random(chunk.subarray(0, 32));
      this.#out.update(chunk);
      this.sent += chunk.length;
      this.#stream.write(chunk);
    }
  }

  /** Sends a little every few milliseconds from now on. */
  trickle(everyMs = 10): void {
    this.#timer = setInterval(() => {
      if (!this.#stream.writableNeedDrain) this.send(chunkBytes);
    }, everyMs);
  }

  /** Resolves when all that was sent has come back; returns how long that took. */
  async complete(limitMs: number): Promise<number> {
    clearInterval(this.#timer);
    return until(
      () => this.received === this.sent || this.error !== undefined,
      limitMs,
      () => {
        return `${this.sent} bytes sent, ${this.received} back: ${inspect(this.#stream)}`;
      },
    );
  }

  /** Stops, waits for the rest, and proves it. */
  async finish(t: Test, limitMs = 30_000): Promise<void> {
    await this.complete(limitMs);
    t.equal(this.error, undefined);
    t.equal(this.#in.digest('hex'), this.#out.digest('hex'), `${(this.sent / 1e6).toFixed(1)} MB came back with the same SHA-256`);
    this.#stream.destroy();
  }

  #look(): void {
    this.#silenceMs = Math.max(this.#silenceMs, performance.now() - this.#lastAt);
  }
}
