// What an emulated link does to packets: delay, bandwidth, a queue, and seeded loss, reordering, duplication and corruption. It keeps no
// clock, so the same link serves stacks in virtual time and the kernel in real time.

/** A seeded generator (mulberry32), uniform in [0, 1). */
export function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const QUEUE_UNIT_BYTES = 1280;

export interface LinkConditions {
  readonly seed?: number;
  /** One way, milliseconds. */
  readonly delayMs?: number;
  /** 0 means no limit. */
  readonly bitsPerSecond?: number;
  /** How much waits for the link, in packets of QUEUE_UNIT_BYTES; more is dropped. */
  readonly queuePackets?: number;
  readonly loss?: number;
  /** Share of packets that arrive up to `reorderMs` later than their turn. */
  readonly reorder?: number;
  readonly reorderMs?: number;
  readonly duplicate?: number;
  readonly corrupt?: number;
}

export class LinkModel {
  dropped = 0;
  readonly #link: LinkConditions;
  readonly #random: () => number;
  readonly #freeAt = { a: 0, b: 0 };

  constructor(link: LinkConditions) {
    this.#link = link;
    this.#random = seeded(link.seed ?? 1);
  }

  /** Calls `arrive` for each copy of the packet that gets across, with its time. The copies are its owner's. */
  pass(packet: Uint8Array, from: 'a' | 'b', now: number, arrive: (at: number, copy: Uint8Array) => void): void {
    if (this.#random() < (this.#link.loss ?? 0)) {
      this.dropped++;
      return;
    }
    const copies = this.#random() < (this.#link.duplicate ?? 0) ? 2 : 1;
    for (let i = 0; i < copies; i++) this.#fly(packet, from, now, arrive);
  }

  #fly(packet: Uint8Array, from: 'a' | 'b', now: number, arrive: (at: number, copy: Uint8Array) => void): void {
    const link = this.#link;
    let leaves = now;
    if (link.bitsPerSecond !== undefined && link.bitsPerSecond > 0) {
      const takes = (packet.length * 8000) / link.bitsPerSecond;
      const start = Math.max(now, this.#freeAt[from]);
      if ((start - now) * link.bitsPerSecond > (link.queuePackets ?? 256) * QUEUE_UNIT_BYTES * 8000) {
        this.dropped++;
        return;
      }
      leaves = start + takes;
      this.#freeAt[from] = leaves;
    }
    const late = this.#random() < (link.reorder ?? 0) ? this.#random() * (link.reorderMs ?? 5) : 0;
    const copy = new Uint8Array(packet); // not slice(), which on a Buffer copies nothing
    if (this.#random() < (link.corrupt ?? 0)) {
      const at = Math.floor(this.#random() * copy.length);
      copy[at] = (copy[at] ?? 0) ^ (1 << Math.floor(this.#random() * 8));
    }
    arrive(leaves + (link.delayMs ?? 0) + late, copy);
  }
}
