// What has been sent and not acknowledged: the sequence space from SND.UNA to SND.NXT cut into ranges, each with the time at which it was
// last sent and whether it was SACKed, counts as lost, or has been sent again. Ranges, not segments, so the segment size may change
// and a super-packet is one entry; neighbours that are alike are one range.
import { MAX_SACKED_RANGES, MAX_SENT_RANGES } from '../constants.ts';
import { seqLess, seqLessEqual, seqMax, seqMin } from './seq.ts';

interface SentRange {
  start: number;
  end: number;
  sentAt: number;
  sacked: boolean;
  lost: boolean;
  /** Sent more than once. */
  again: boolean;
}

export class SentRanges {
  /** Bytes that the peer has reported out of order. */
  sackedBytes = 0;
  /** Bytes that count as lost and have not been sent again since. */
  lostBytes = 0;
  /** Set by `findLost`. */
  lostStart = 0;
  lostEnd = 0;

  // What one acknowledgment brought; `begin` starts anew.
  /** Bytes that the peer is now known to have, and was not before. */
  delivered = 0;
  /** Of those: when the last one was sent, where it ends, and whether that was not the first time. */
  newestAt = -Infinity;
  newestEnd = 0;
  newestAgain = false;
  /**
   * When the first and the last of them were sent, where all were sent only once. With copies among them the time tells nothing of the
   * path: the others may have arrived long before, and their ACKs been lost.
   */
  onceFirstAt = Infinity;
  onceLastAt = -Infinity;
  #copies = false;
  /** Something that was sent once came after what was sent later. */
  reordered = false;

  readonly #ranges: SentRange[] = [];
  #sackedRanges = 0;
  /** The highest sequence number that the peer is known to have, and the same before the acknowledgment that is being processed. */
  #top = 0;
  #topBefore = 0;

  /** Before anything is sent: the first sequence number. */
  reset(una: number): void {
    this.clear();
    this.#top = una;
  }

  clear(): void {
    this.#ranges.length = 0;
    this.#sackedRanges = 0;
    this.sackedBytes = 0;
    this.lostBytes = 0;
  }

  /** How many ranges are held, and how many of them are SACKed; both are bounded. */
  get ranges(): number {
    return this.#ranges.length;
  }

  get sackedRanges(): number {
    return this.#sackedRanges;
  }

  /** Whether the peer has SACKed what it did not acknowledge although nothing is missing before it: it took data back (RFC 2018 §8). */
  get headSacked(): boolean {
    return this.#ranges[0]?.sacked ?? false;
  }

  /** New bytes went out, behind all that were sent before. */
  append(start: number, end: number, now: number): void {
    const last = this.#ranges.at(-1);
    if (last !== undefined && !last.sacked && !last.lost && !last.again && (last.sentAt === now || this.#ranges.length >= MAX_SENT_RANGES)) {
      last.end = end;
      last.sentAt = now;
    } else {
      this.#ranges.push({ start, end, sentAt: now, sacked: false, lost: false, again: false });
    }
  }

  /** Bytes from `start` to `end` went out again. */
  sentAgain(start: number, end: number, now: number): void {
    let index = this.#find(start);
    if (index < this.#ranges.length) index = this.#cut(index, start);
    for (let range = this.#ranges[index]; range !== undefined && seqLess(range.start, end); range = this.#ranges[++index]) {
      if (seqLess(end, range.end)) this.#cut(index, end);
      if (range.sacked) continue;
      if (range.lost) this.lostBytes -= (range.end - range.start) | 0;
      range.lost = false;
      range.again = true;
      range.sentAt = now;
      if (this.#joinWithPrevious(index)) index--;
    }
  }

  /** An acknowledgment is about to be processed. */
  begin(): void {
    this.delivered = 0;
    this.newestAt = -Infinity;
    this.newestAgain = false;
    this.onceFirstAt = Infinity;
    this.onceLastAt = -Infinity;
    this.#copies = false;
    this.reordered = false;
    this.#topBefore = this.#top;
  }

  /** `una` has moved: everything below has arrived. */
  advance(una: number): void {
    const ranges = this.#ranges;
    let gone = 0;
    for (let range = ranges[0]; range !== undefined && seqLess(range.start, una); range = ranges[gone]) {
      const end = seqMin(range.end, una);
      const length = (end - range.start) | 0;
      if (range.sacked) this.sackedBytes -= length;
      else {
        if (range.lost) this.lostBytes -= length;
        this.#deliver(range, end, length);
      }
      if (seqLess(una, range.end)) {
        range.start = una;
        break;
      }
      if (range.sacked) this.#sackedRanges--;
      gone++;
    }
    if (gone === 1) ranges.shift();
    else if (gone > 0) ranges.splice(0, gone);
  }

  /** One SACK block. What lies outside of what is outstanding is ignored, as are blocks beyond the bound on ranges. */
  sack(left: number, right: number, una: number, nxt: number): void {
    if (!seqLess(left, right) || seqLess(left, una) || seqLess(nxt, right)) return;
    let index = this.#find(left);
    for (let range = this.#ranges[index]; range !== undefined && seqLess(range.start, right); range = this.#ranges[++index]) {
      if (range.sacked) continue;
      if (this.#sackedRanges >= MAX_SACKED_RANGES) return;
      if (seqLess(range.start, left)) {
        index = this.#cut(index, left);
        range = this.#ranges[index] as SentRange;
      }
      if (seqLess(right, range.end)) this.#cut(index, right);
      const length = (range.end - range.start) | 0;
      if (range.lost) this.lostBytes -= length;
      range.lost = false;
      range.sacked = true;
      this.sackedBytes += length;
      this.#sackedRanges++;
      this.#deliver(range, range.end, length);
      if (this.#joinWithPrevious(index)) index--;
      this.#joinWithPrevious(index + 1);
    }
  }

  /**
   * What was sent before the newest bytes that arrived (`at`, `end`) and longer ago than `patience` is lost (RFC 8985 §6.2 step 5).
   * Returns when the rest of it will be, or Infinity.
   */
  markOverdue(at: number, end: number, patience: number, now: number): number {
    let next = -Infinity;
    for (const range of this.#ranges) {
      if (range.sacked || range.lost || range.sentAt > at) continue;
      // At one time copies go out first, then the sequence in order. A copy that went out just now is not judged yet.
      if (range.sentAt === at && (range.again ? at === now : !seqLess(range.end, end))) continue;
      const due = range.sentAt + patience;
      if (due > now) next = Math.max(next, due);
      else this.#lose(range);
    }
    return next === -Infinity ? Infinity : next;
  }

  /** The first `bytes` outstanding ones are lost: what a peer without SACK can tell us. */
  markHead(bytes: number): void {
    const range = this.#ranges[0];
    if (range === undefined || range.sacked || range.lost) return;
    const end = (range.start + bytes) | 0;
    if (seqLess(end, range.end)) this.#cut(0, end);
    this.#lose(range);
  }

  /** Everything that was not SACKed is lost; with `doubtful`, also what was, as the peer may have dropped it. */
  markAll(doubtful: boolean): void {
    for (const range of this.#ranges) {
      if (range.sacked) {
        if (!doubtful) continue;
        range.sacked = false;
        this.sackedBytes -= (range.end - range.start) | 0;
        this.#sackedRanges--;
      }
      if (!range.lost) this.#lose(range);
    }
  }

  /** What was taken for lost was not (RFC 3522): nothing more of it is sent again. */
  unmark(): void {
    for (const range of this.#ranges) range.lost = false;
    this.lostBytes = 0;
  }

  /** Finds the first lost bytes, up to about `limit` of them where they follow each other. */
  findLost(limit: number): boolean {
    if (this.lostBytes === 0) return false;
    const ranges = this.#ranges;
    for (let i = 0; i < ranges.length; i++) {
      const range = ranges[i] as SentRange;
      if (!range.lost) continue;
      this.lostStart = range.start;
      this.lostEnd = range.end;
      for (let next = ranges[++i]; next?.lost === true && ((this.lostEnd - this.lostStart) | 0) < limit; next = ranges[++i]) this.lostEnd = next.end;
      return true;
    }
    return false;
  }

  #lose(range: SentRange): void {
    range.lost = true;
    this.lostBytes += (range.end - range.start) | 0;
  }

  #deliver(range: SentRange, end: number, length: number): void {
    this.delivered += length;
    if (range.sentAt > this.newestAt || (range.sentAt === this.newestAt && seqLess(this.newestEnd, end))) {
      this.newestAt = range.sentAt;
      this.newestEnd = end;
      this.newestAgain = range.again;
    }
    this.#top = seqMax(this.#top, end);
    if (range.again) {
      this.#copies = true;
      this.onceFirstAt = Infinity;
      this.onceLastAt = -Infinity;
      return;
    }
    if (seqLess(end, this.#topBefore)) this.reordered = true;
    if (this.#copies) return;
    this.onceFirstAt = Math.min(this.onceFirstAt, range.sentAt);
    this.onceLastAt = Math.max(this.onceLastAt, range.sentAt);
  }

  /** The first range that ends after `seq`. */
  #find(seq: number): number {
    const ranges = this.#ranges;
    let low = 0;
    let high = ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (seqLessEqual((ranges[middle] as SentRange).end, seq)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Cuts the range at `index` where `seq` is inside of it; returns the index of the range that begins at or after `seq`. */
  #cut(index: number, seq: number): number {
    const range = this.#ranges[index] as SentRange;
    if (seqLessEqual(seq, range.start)) return index;
    this.#ranges.splice(index + 1, 0, { ...range, start: seq });
    range.end = seq;
    return index + 1;
  }

  /** Makes one of the range at `index` and the one before where they are alike; returns whether it did. */
  #joinWithPrevious(index: number): boolean {
    const range = this.#ranges[index];
    const before = this.#ranges[index - 1];
    if (range === undefined || before === undefined || range.sacked !== before.sacked) return false;
    if (range.sacked) this.#sackedRanges--;
    else if (range.lost !== before.lost || range.again !== before.again || range.sentAt !== before.sentAt) return false;
    before.end = range.end;
    this.#ranges.splice(index, 1);
    return true;
  }
}
