// The 32-bit indices by which the other side addresses our sessions and handshakes: random, unique, and forgotten with what they name.

export class IndexTable<T> {
  readonly #entries = new Map<number, T>();
  readonly #random: (target: Uint8Array) => void;
  readonly #bytes = new Uint8Array(4);

  /** Indices are random so that they tell nothing about how many sessions there are. */
  constructor(random: (target: Uint8Array) => void) {
    this.#random = random;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** A new index that names the entry. A device holds at most four for each peer, so a free one is found at once. */
  add(entry: T): number {
    for (;;) {
      this.#random(this.#bytes);
      const [a = 0, b = 0, c = 0, d = 0] = this.#bytes;
      const index = ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
      if (this.#entries.has(index)) continue;
      this.#entries.set(index, entry);
      return index;
    }
  }

  get(index: number): T | undefined {
    return this.#entries.get(index);
  }

  /** Lets an index name something else: a handshake becomes a session under the same one. */
  replace(index: number, entry: T): void {
    this.#entries.set(index, entry);
  }

  delete(index: number): void {
    this.#entries.delete(index);
  }
}
