// Putting fragments together again (RFC 791 §3.2, RFC 8200 §4.5), under bounds: packets at a time, for one sender, and bytes of all;
// each for a time. Fragments that overlap end their packet (RFC 5722), for IPv4 too: nobody honest sends them.
import { emptyFragment, readFragment, writeWholeHead } from '#wire/fragment.ts';
import type { Fragment } from '#wire/fragment.ts';
import {
  MAX_FRAGMENTS_OF_PACKET,
  MAX_REASSEMBLY_BYTES,
  MAX_REASSEMBLY_PACKETS,
  MAX_REASSEMBLY_PACKETS_PER_SENDER,
  REASSEMBLY_MS,
} from './constants.ts';

interface Piece {
  readonly start: number;
  readonly end: number;
  readonly bytes: Uint8Array;
}

interface Partial {
  readonly sender: string;
  readonly expiresAt: number;
  /** Sorted, without overlap. */
  readonly pieces: Piece[];
  /** What stood before the data of the first fragment. */
  head: Uint8Array | undefined;
  first: Fragment;
  /** Length of the whole data, once the last fragment has come. */
  total: number | undefined;
  bytes: number;
  /** A fragment overlapped: what follows of this packet is thrown away until its time is over. */
  refused: boolean;
}

export class Reassembler {
  /** By sender, receiver, identification and protocol; in order of beginning. */
  readonly #partials = new Map<string, Partial>();
  readonly #bySender = new Map<string, number>();
  readonly #fragment = emptyFragment();
  #bytes = 0;

  get packets(): number {
    return this.#partials.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** When the oldest is given up; Infinity for none. */
  nextDue(): number {
    if (this.#partials.size === 0) return Infinity;
    for (const { expiresAt } of this.#partials.values()) return expiresAt;
    return Infinity;
  }

  /** Gives up what has waited too long. */
  expire(now: number): void {
    if (this.#partials.size === 0) return;
    for (const [key, partial] of this.#partials) {
      if (partial.expiresAt > now) return;
      this.#forget(key, partial);
    }
  }

  /** Takes a packet that is a fragment; returns the whole packet when it was the last piece that was missing. */
  add(packet: Uint8Array, now: number): Uint8Array | undefined {
    const fragment = this.#fragment;
    this.expire(now);
    if (!readFragment(packet, fragment)) return undefined;
    const addresses = fragment.family === 4 ? packet.subarray(12, 20) : packet.subarray(8, 40);
    const text = Buffer.from(addresses.buffer, addresses.byteOffset, addresses.length).toString('latin1');
    // IPv6 fragments belong together whatever they name as next header; only the first one's counts (RFC 8200 §4.5).
    const key = `${fragment.id} ${fragment.family === 4 ? fragment.protocol : ''} ${text}`;
    const partial = this.#partials.get(key) ?? this.#begin(key, text.slice(0, text.length / 2), now);
    if (partial === undefined || partial.refused) return undefined;
    if (!this.#keep(partial, packet, fragment)) {
      this.#refuse(partial);
      return undefined;
    }
    return this.#complete(key, partial);
  }

  #begin(key: string, sender: string, now: number): Partial | undefined {
    const ofSender = this.#bySender.get(sender) ?? 0;
    if (ofSender >= MAX_REASSEMBLY_PACKETS_PER_SENDER) return undefined;
    if (this.#partials.size >= MAX_REASSEMBLY_PACKETS) this.#forgetOldest();
    const partial: Partial = {
      sender,
      expiresAt: now + REASSEMBLY_MS,
      pieces: [],
      head: undefined,
      first: emptyFragment(),
      total: undefined,
      bytes: 0,
      refused: false,
    };
    this.#partials.set(key, partial);
    this.#bySender.set(sender, ofSender + 1);
    return partial;
  }

  /** False where the fragment contradicts what has come before. An exact repetition is no contradiction. */
  #keep(partial: Partial, packet: Uint8Array, { offset, more, dataStart, dataEnd, headLength }: Fragment): boolean {
    const start = offset;
    const end = offset + dataEnd - dataStart;
    if (!more) {
      if (partial.total !== undefined && partial.total !== end) return false;
      partial.total = end;
    }
    if (partial.total !== undefined && (end > partial.total || (more && end === partial.total))) return false;
    let index = partial.pieces.length;
    while (index > 0 && (partial.pieces[index - 1] as Piece).start >= start) index--;
    const same = partial.pieces[index];
    if (same?.start === start && same.end === end) return true;
    const before = partial.pieces[index - 1];
    if ((before !== undefined && before.end > start) || (same !== undefined && same.start < end)) return false;
    if (partial.total !== undefined && (partial.pieces.at(-1)?.end ?? 0) > partial.total) return false;
    if (partial.pieces.length >= MAX_FRAGMENTS_OF_PACKET) return false;
    const bytes = new Uint8Array(packet.subarray(dataStart, dataEnd));
    if (this.#bytes + bytes.length > MAX_REASSEMBLY_BYTES) this.#forgetOldest(partial);
    if (this.#bytes + bytes.length > MAX_REASSEMBLY_BYTES) return false;
    partial.pieces.splice(index, 0, { start, end, bytes });
    partial.bytes += bytes.length;
    this.#bytes += bytes.length;
    if (start === 0) {
      partial.head = new Uint8Array(packet.subarray(0, headLength));
      partial.first = { ...this.#fragment };
    }
    return true;
  }

  #complete(key: string, partial: Partial): Uint8Array | undefined {
    const { head, total, pieces, first } = partial;
    if (head === undefined || total === undefined) return undefined;
    let end = 0;
    for (const piece of pieces) {
      if (piece.start !== end) return undefined;
      ({ end } = piece);
    }
    if (end !== total) return undefined;
    this.#forget(key, partial);
    // The head of the first fragment may be longer than the one that the lengths were checked with.
    if (head.length + total > 65_535) return undefined;
    const whole = new Uint8Array(head.length + total);
    whole.set(head);
    for (const piece of pieces) whole.set(piece.bytes, head.length + piece.start);
    writeWholeHead(whole, whole.length, first);
    return whole;
  }

  #refuse(partial: Partial): void {
    partial.refused = true;
    partial.pieces.length = 0;
    this.#bytes -= partial.bytes;
    partial.bytes = 0;
  }

  #forgetOldest(except?: Partial): void {
    for (const [key, partial] of this.#partials) {
      if (partial === except || (except !== undefined && partial.bytes === 0)) continue;
      this.#forget(key, partial);
      return;
    }
  }

  #forget(key: string, partial: Partial): void {
    if (!this.#partials.delete(key)) return;
    this.#bytes -= partial.bytes;
    partial.bytes = 0;
    const left = (this.#bySender.get(partial.sender) ?? 1) - 1;
    if (left > 0) this.#bySender.set(partial.sender, left);
    else this.#bySender.delete(partial.sender);
  }
}
