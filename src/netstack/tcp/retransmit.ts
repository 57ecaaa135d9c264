// What is lost and what to send again: the SACK scoreboard and loss recovery of RFC 6675, with NewReno (RFC 6582) as the same
// thing for a peer without SACK, and what follows a timeout. Sequence ranges, not segments, so the segment size may change.
import { DUPLICATE_ACKS, MAX_SACKED_RANGES } from '../constants.ts';
import { seqLess, seqLessEqual, seqMax, seqMin } from './seq.ts';

/** open: nothing known lost; recovery: loss found by ACKs; timeout: all that was outstanding counts as lost. */
export type RecoveryMode = 'open' | 'recovery' | 'timeout';

export class Scoreboard {
  mode: RecoveryMode = 'open';
  /** Recovery ends when this is acknowledged: what had been sent when it began. */
  recoveryPoint = 0;
  /** Everything unsacked below has been sent again in this recovery (HighRxt). */
  highRetransmit = 0;
  duplicateAcks = 0;
  /** The next retransmission goes out whatever the window says (fast retransmit, RFC 6675 §5 step 4.3). */
  forced = false;
  /** Set by `findHole`. */
  holeStart = 0;
  holeEnd = 0;
  #starts: number[] = [];
  #ends: number[] = [];
  #sacked = 0;
  #rescued = false;
  /** What is unsacked below counts as lost in this recovery, however little was SACKed above: it has been out for too long. */
  #lostBelow = 0;
  /** What had been sent when the first hole was sent again: SACKs beyond it without progress mean that the copy was lost too. */
  #headSentAt = 0;

  get sackedBytes(): number {
    return this.#sacked;
  }

  get ranges(): number {
    return this.#starts.length;
  }

  /** Records one SACK block; blocks outside what is outstanding (also D-SACK) are ignored. Returns the bytes that were news. */
  add(left: number, right: number, una: number, nxt: number): number {
    if (!seqLess(left, right) || seqLess(left, una) || seqLess(nxt, right)) return 0;
    const starts = this.#starts;
    const ends = this.#ends;
    let first = starts.length;
    while (first > 0 && seqLessEqual(left, ends[first - 1] as number)) first--;
    let last = first;
    let start = left;
    let end = right;
    let held = 0;
    while (last < starts.length && seqLessEqual(starts[last] as number, right)) {
      start = seqMin(start, starts[last] as number);
      end = seqMax(end, ends[last] as number);
      held += ((ends[last] as number) - (starts[last] as number)) | 0;
      last++;
    }
    const news = ((end - start) | 0) - held;
    if (news === 0) return 0;
    if (first === last && starts.length >= MAX_SACKED_RANGES) return 0;
    if (last === first + 1) {
      starts[first] = start;
      ends[first] = end;
    } else {
      starts.splice(first, last - first, start);
      ends.splice(first, last - first, end);
    }
    this.#sacked += news;
    return news;
  }

  /** `una` has moved: forgets what lies below. A range that begins at or below it means that the peer took SACKed data back. */
  advance(una: number): void {
    while (this.#starts.length > 0 && seqLessEqual(this.#ends[0] as number, una)) {
      this.#sacked -= ((this.#ends[0] as number) - (this.#starts[0] as number)) | 0;
      this.#starts.shift();
      this.#ends.shift();
    }
    if (this.#starts.length > 0 && seqLess(this.#starts[0] as number, una)) {
      this.#sacked -= (una - (this.#starts[0] as number)) | 0;
      this.#starts[0] = una;
    }
    if (seqLess(this.highRetransmit, una)) this.highRetransmit = una;
  }

  /** Forgets what was SACKed: the peer may have dropped it (RFC 2018 §8). */
  clear(): void {
    this.#starts = [];
    this.#ends = [];
    this.#sacked = 0;
  }

  /** `overdue`: what lies below the highest SACK was sent two round trips before it (a tail probe was answered). */
  enterRecovery(una: number, nxt: number, overdue: boolean): void {
    this.mode = 'recovery';
    this.#lostBelow = overdue ? (this.#ends.at(-1) ?? una) : una;
    this.recoveryPoint = nxt;
    this.highRetransmit = una;
    this.forced = true;
    this.#rescued = false;
    this.#headSentAt = nxt;
  }

  enterTimeout(una: number, nxt: number): void {
    this.mode = 'timeout';
    this.recoveryPoint = nxt;
    this.highRetransmit = una;
    this.duplicateAcks = 0;
    this.forced = true;
  }

  finish(): void {
    this.mode = 'open';
    this.duplicateAcks = 0;
    this.forced = false;
  }

  /** Progress within a recovery: the hole that is first now was sent again at some time until now. */
  partialAck(nxt: number): void {
    this.#headSentAt = nxt;
  }

  /** Starts over at the first hole where SACKs show that its copy was lost as well; returns whether it did. */
  retransmissionLost(una: number, nxt: number, mss: number): boolean {
    const top = this.#ends.at(-1);
    if (this.mode !== 'recovery' || top === undefined || this.highRetransmit === una) return false;
    if (((top - this.#headSentAt) | 0) < DUPLICATE_ACKS * mss) return false;
    this.highRetransmit = una;
    this.forced = true;
    this.#headSentAt = nxt;
    return true;
  }

  /** Below this, what is not SACKed counts as lost (IsLost of RFC 6675 §4). */
  lossEdge(una: number, mss: number, sack: boolean): number {
    if (this.mode === 'timeout') return this.recoveryPoint;
    if (!sack) return this.mode === 'recovery' ? seqMin((una + mss) | 0, this.recoveryPoint) : una;
    const floor = this.mode === 'recovery' ? seqMax(una, this.#lostBelow) : una;
    let bytes = 0;
    for (let i = this.#starts.length - 1, count = 1; i >= 0; i--, count++) {
      bytes += ((this.#ends[i] as number) - (this.#starts[i] as number)) | 0;
      if (count >= DUPLICATE_ACKS || bytes > (DUPLICATE_ACKS - 1) * mss) return seqMax(floor, this.#starts[i] as number);
    }
    return floor;
  }

  /** Bytes believed to be in the network (SetPipe of RFC 6675 §4). Without SACK each duplicate ACK stands for a segment that left. */
  pipe(una: number, nxt: number, edge: number, mss: number, sack: boolean): number {
    let bytes = (nxt - edge) | 0;
    for (let i = this.#starts.length - 1; i >= 0 && seqLess(edge, this.#ends[i] as number); i--) {
      bytes -= ((this.#ends[i] as number) - seqMax(edge, this.#starts[i] as number)) | 0;
    }
    if (this.mode !== 'open' && seqLess(una, this.highRetransmit)) {
      bytes += (this.highRetransmit - una) | 0;
      for (let i = 0; i < this.#starts.length && seqLess(this.#starts[i] as number, this.highRetransmit); i++) {
        bytes -= (seqMin(this.#ends[i] as number, this.highRetransmit) - (this.#starts[i] as number)) | 0;
      }
    }
    return sack ? bytes : Math.max(0, bytes - this.duplicateAcks * mss);
  }

  /** Finds the first bytes at or after HighRxt and below `limit` that are not SACKed. */
  findHole(una: number, limit: number): boolean {
    let at = seqMax(una, this.highRetransmit);
    for (let i = 0; i < this.#starts.length; i++) {
      const start = this.#starts[i] as number;
      if (seqLess(at, start)) {
        this.holeStart = at;
        this.holeEnd = seqMin(start, limit);
        return seqLess(at, limit);
      }
      at = seqMax(at, this.#ends[i] as number);
    }
    this.holeStart = at;
    this.holeEnd = limit;
    return seqLess(at, limit);
  }

  /** With nothing else to send: a hole below the highest SACKed byte that is not yet believed lost (NextSeg rule 3). */
  findDoubtfulHole(una: number): boolean {
    const top = this.#ends.at(-1);
    return this.mode === 'recovery' && top !== undefined && this.findHole(una, top);
  }

  /** Once a recovery: the last bytes that were sent, so that loss at the tail shows without a timeout (NextSeg rule 4). */
  findRescue(una: number, nxt: number, mss: number): boolean {
    if (this.mode !== 'recovery' || this.#rescued || this.#starts.length === 0) return false;
    const floor = seqMax(this.#ends.at(-1) ?? una, this.highRetransmit);
    if (!seqLess(floor, nxt)) return false;
    this.#rescued = true;
    this.holeStart = seqMax((nxt - mss) | 0, floor);
    this.holeEnd = nxt;
    return true;
  }
}
