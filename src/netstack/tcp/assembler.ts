// Bytes that arrived before their turn: sorted ranges of the sequence space, each a list of copied pieces, bounded in bytes, pieces and
// gaps. It also knows which ranges to report as SACK blocks, the most recently touched first (RFC 2018 §4).
import { MAX_OUT_OF_ORDER_BYTES, MAX_OUT_OF_ORDER_PIECES, MAX_OUT_OF_ORDER_RANGES } from '../constants.ts';
import { seqLess, seqLessEqual } from './seq.ts';

const NOTHING = new Uint8Array(0);
/** Small segments share pieces of this size, so that each does not cost an object of its own. */
const PIECE_BYTES = 16_384;

interface Range {
  start: number;
  end: number;
  /** Contiguous, in order. */
  pieces: Uint8Array[];
  /** Memory behind the last piece, for what follows it. */
  spare: Uint8Array;
  touched: number;
}

export class Assembler {
  readonly #ranges: Range[] = [];
  #bytes = 0;
  #pieces = 0;
  #clock = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get pieces(): number {
    return this.#pieces;
  }

  get empty(): boolean {
    return this.#ranges.length === 0;
  }

  /**
   * Keeps a copy of what of `bytes` is new, starting at `seq`. What is held already wins over what comes later. Returns false when
   * a limit keeps something out; the sender will send it again.
   */
  insert(seq: number, bytes: Uint8Array): boolean {
    const end = (seq + bytes.length) | 0;
    const stamp = ++this.#clock;
    let at = seq;
    let index = this.#firstEndingAtOrAfter(seq);
    while (seqLess(at, end)) {
      const range = this.#ranges[index];
      if (range !== undefined && seqLessEqual(range.start, at)) {
        range.touched = stamp;
        if (seqLess(at, range.end)) at = range.end;
        const next = this.#ranges[index + 1];
        const until = next !== undefined && seqLess(next.start, end) ? next.start : end;
        if (seqLess(at, until)) {
          if (!this.#keep(range, at, bytes.subarray((at - seq) | 0, (until - seq) | 0))) return false;
          at = until;
        }
        if (next !== undefined && range.end === next.start) this.#join(index);
        else index++;
      } else {
        const until = range !== undefined && seqLess(range.start, end) ? range.start : end;
        if (this.#ranges.length >= MAX_OUT_OF_ORDER_RANGES) return false;
        const fresh: Range = { start: at, end: at, pieces: [], spare: NOTHING, touched: stamp };
        if (!this.#keep(fresh, at, bytes.subarray((at - seq) | 0, (until - seq) | 0))) return false;
        this.#ranges.splice(index, 0, fresh);
        at = until;
        if (range !== undefined && fresh.end === range.start) this.#join(index);
      }
    }
    return true;
  }

  /** Whether all of it is held already. */
  holds(start: number, end: number): boolean {
    return this.#ranges.some((range) => seqLessEqual(range.start, start) && seqLessEqual(end, range.end));
  }

  /** Takes out the next piece that starts at `next` or reaches beyond it, cut to begin there; undefined where there is a gap. */
  take(next: number): Uint8Array | undefined {
    for (;;) {
      const range = this.#ranges[0];
      if (range === undefined || seqLess(next, range.start)) return undefined;
      const piece = range.pieces.shift();
      if (piece === undefined) {
        this.#ranges.shift();
        continue;
      }
      this.#pieces--;
      this.#bytes -= piece.length;
      const skip = (next - range.start) | 0;
      range.start = (range.start + piece.length) | 0;
      if (range.pieces.length === 0) this.#ranges.shift();
      if (skip < piece.length) return skip === 0 ? piece : piece.subarray(skip);
    }
  }

  /** Writes up to `limit` blocks into `edges`, left and right by turns, the most recently touched first. Returns how many. */
  blocks(edges: Int32Array, limit: number): number {
    const count = Math.min(limit, this.#ranges.length);
    let below = Infinity;
    for (let i = 0; i < count; i++) {
      let best: Range | undefined;
      for (const range of this.#ranges) {
        if (range.touched < below && (best === undefined || range.touched > best.touched)) best = range;
      }
      if (best === undefined) return i;
      below = best.touched;
      edges[2 * i] = best.start;
      edges[2 * i + 1] = best.end;
    }
    return count;
  }

  clear(): void {
    this.#ranges.length = 0;
    this.#bytes = 0;
    this.#pieces = 0;
  }

  /** New data mostly belongs to the last range, so the search goes from there. */
  #firstEndingAtOrAfter(seq: number): number {
    let index = this.#ranges.length;
    while (index > 0 && seqLessEqual(seq, (this.#ranges[index - 1] as Range).end)) index--;
    return index;
  }

  #keep(range: Range, at: number, bytes: Uint8Array): boolean {
    const { length } = bytes;
    if (this.#bytes + length > MAX_OUT_OF_ORDER_BYTES) return false;
    const last = range.pieces.at(-1);
    if (last !== undefined && range.spare.length >= length) {
      range.spare.set(bytes);
      range.pieces[range.pieces.length - 1] = new Uint8Array(last.buffer, last.byteOffset, last.length + length);
      range.spare = range.spare.subarray(length);
    } else {
      if (this.#pieces >= MAX_OUT_OF_ORDER_PIECES) return false;
      // As much again as the range holds: one lone segment costs no more than it is.
      const memory = new Uint8Array(Math.max(length, Math.min(PIECE_BYTES, (at - range.start) | 0)));
      memory.set(bytes);
      range.pieces.push(memory.subarray(0, length));
      range.spare = memory.subarray(length);
      this.#pieces++;
    }
    range.end = (at + length) | 0;
    this.#bytes += length;
    return true;
  }

  /** Joins the range at `index` with the one behind it, which it touches. */
  #join(index: number): void {
    const range = this.#ranges[index] as Range;
    const next = this.#ranges[index + 1] as Range;
    range.end = next.end;
    range.touched = Math.max(range.touched, next.touched);
    range.pieces.push(...next.pieces);
    range.spare = next.spare;
    this.#ranges.splice(index + 1, 1);
  }
}
