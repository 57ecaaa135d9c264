// Datagrams that come one by one from one sender, gathered into a run: back to back, all of one size but the last, which may be shorter. A
// run goes through the kernel for the price of one.

/** What every kernel with segmentation offload takes at once (UDP_MAX_SEGMENTS), and a part of what fits one IPv4 packet. */
const maxRunDatagrams = 64;
const maxRunBytes = 65_507;

export class DatagramRun {
  readonly #memory = new Uint8Array(maxRunBytes);
  readonly #full: (run: Uint8Array, size: number) => void;
  #size = 0;
  #length = 0;
  #count = 0;

  /** `flushed` gets each run; the bytes are valid only during the call. */
  constructor(flushed: (run: Uint8Array, size: number) => void) {
    this.#full = flushed;
  }

  /** Adds one, or what is a run already. What cannot be of the same run is flushed before. */
  add(bytes: Uint8Array, size: number): void {
    const more = Math.max(1, Math.ceil(bytes.length / Math.max(1, size)));
    const fits =
      this.#length % Math.max(1, this.#size) === 0 &&
      (size === this.#size || (more === 1 && bytes.length < this.#size)) &&
      bytes.length > 0 &&
      this.#length + bytes.length <= maxRunBytes &&
      this.#count + more <= maxRunDatagrams;
    if (!fits) this.flush();
    if (bytes.length > maxRunBytes || bytes.length === 0) return this.#full(bytes, size);
    if (this.#length === 0) this.#size = size;
    this.#memory.set(bytes, this.#length);
    this.#length += bytes.length;
    this.#count += more;
  }

  flush(): void {
    if (this.#length === 0) return;
    const run = this.#memory.subarray(0, this.#length);
    this.#length = 0;
    this.#count = 0;
    this.#full(run, this.#size);
  }
}
