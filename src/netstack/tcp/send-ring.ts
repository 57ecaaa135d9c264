// The send buffer: a ring that holds bytes from the first unacknowledged one on. It starts small, doubles up to its limit, and is given
// back when the connection has been quiet, so ten thousand idle connections hold no buffers.
import { SEND_BUFFER, SEND_RING_FIRST } from '../constants.ts';

const NOTHING = new Uint8Array(0);

export class SendRing {
  /** Bytes that it takes. */
  limit = SEND_BUFFER;
  #bytes: Uint8Array = NOTHING;
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get free(): number {
    return this.limit - this.#length;
  }

  /** A writer that was held back is told when so much is free, so that it is not woken for every acknowledgment. */
  get lowWater(): number {
    return this.limit / 4;
  }

  get capacity(): number {
    return this.#bytes.length;
  }

  /** Copies in as much as fits and returns how much that was. */
  push(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, this.free);
    if (count === 0) return 0;
    if (this.#length + count > this.#bytes.length) this.#grow(this.#length + count);
    const tail = this.#at(this.#length);
    const first = Math.min(count, this.#bytes.length - tail);
    this.#bytes.set(first === bytes.length ? bytes : bytes.subarray(0, first), tail);
    if (first < count) this.#bytes.set(bytes.subarray(first, count), 0);
    this.#length += count;
    return count;
  }

  /** Copies `count` bytes that start `offset` bytes after the first unacknowledged one. The caller stays within `length`. */
  copyTo(target: Uint8Array, at: number, offset: number, count: number): void {
    const size = this.#bytes.length;
    const start = this.#at(offset);
    const first = Math.min(count, size - start);
    target.set(this.#bytes.subarray(start, start + first), at);
    if (first < count) target.set(this.#bytes.subarray(0, count - first), at + first);
  }

  /** The first `count` bytes have been acknowledged. */
  drop(count: number): void {
    this.#length -= count;
    this.#head = this.#length === 0 ? 0 : this.#at(count);
  }

  /** Gives the memory back; what was buffered is gone. */
  clear(): void {
    this.#bytes = NOTHING;
    this.#head = 0;
    this.#length = 0;
  }

  /** Where the byte `offset` behind the first one stands. */
  #at(offset: number): number {
    const at = this.#head + offset;
    return at < this.#bytes.length ? at : at - this.#bytes.length;
  }

  #grow(needed: number): void {
    let size = Math.max(SEND_RING_FIRST, this.#bytes.length);
    while (size < needed) size *= 2;
    size = Math.min(size, this.limit);
    const grown = new Uint8Array(size);
    if (this.#length > 0) this.copyTo(grown, 0, 0, this.#length);
    this.#bytes = grown;
    this.#head = 0;
  }
}
