// Handshakes without memory (RFC 4987 §3.6): when too many are half open, what a SYN said is put into the numbers of our SYN-ACK, and taken
// out of the ACK that answers it. The sequence number holds the time, one of eight segment sizes and a keyed hash; where the peer
// uses timestamps, ours holds its window scale and whether it knows SACK.
import { emptyTcpSegment } from '#wire/tcp.ts';
import type { TcpSegment } from '#wire/tcp.ts';
import { COOKIE_PERIOD_MS, COOKIE_PERIODS } from './constants.ts';
import type { Flow } from './flow.ts';
import type { KeyedHash } from './keyed-hash.ts';

/** Segment sizes that a cookie can say, the largest that is not above the offer is taken. */
const SIZES = [64, 536, 1024, 1220, 1240, 1360, 1380, 1440] as const;
const NO_SCALE = 15;

export class SynCookies {
  readonly #hash: KeyedHash;
  readonly #syn = emptyTcpSegment();
  #lastIssuedAt = -Infinity;

  constructor(hash: KeyedHash) {
    this.#hash = hash;
  }

  /** The sequence number of a SYN-ACK for `syn` that keeps nothing. */
  issue(flow: Flow, syn: TcpSegment, now: number): number {
    this.#lastIssuedAt = now;
    return this.#number(flow, syn.seq, period(now), sizeIndex(syn.mss));
  }

  /** Puts what the SYN offered into the low bits of our timestamp; it stays behind our clock. */
  stamp(clock: number, syn: TcpSegment): number {
    const bits = (syn.windowScale < 0 ? NO_SCALE : syn.windowScale) | (syn.sackPermitted ? 16 : 0);
    const stamped = (clock & ~31) | bits;
    return ((stamped - clock) | 0) > 0 ? (stamped - 32) | 0 : stamped;
  }

  /**
   * The SYN that an ACK to a cookie stands for, as one shared record, or undefined where it is none of ours or too old. The record is
   * complete but for data.
   */
  check(flow: Flow, ack: TcpSegment, now: number): TcpSegment | undefined {
    if (now - this.#lastIssuedAt > (COOKIE_PERIODS + 1) * COOKIE_PERIOD_MS) return undefined;
    const cookie = (ack.ack - 1) | 0;
    const peerSeq = (ack.seq - 1) | 0;
    const index = (cookie >>> 24) & 7;
    for (let age = 0; age < COOKIE_PERIODS; age++) {
      if (this.#number(flow, peerSeq, period(now) - age, index) !== cookie) continue;
      const syn = this.#syn;
      syn.sourcePort = ack.sourcePort;
      syn.destinationPort = ack.destinationPort;
      syn.seq = peerSeq;
      syn.mss = SIZES[index] ?? SIZES[0];
      syn.window = ack.window;
      syn.hasTimestamps = ack.hasTimestamps;
      syn.tsValue = ack.tsValue;
      const scale = ack.tsEcho & 15;
      syn.windowScale = ack.hasTimestamps && scale !== NO_SCALE ? Math.min(scale, 14) : -1;
      syn.sackPermitted = ack.hasTimestamps && (ack.tsEcho & 16) !== 0;
      return syn;
    }
    return undefined;
  }

  #number(flow: Flow, peerSeq: number, at: number, index: number): number {
    // Folded in before the flow's words, so that no two of period, size and peer's number give the same.
    const { ports, remote0, remote1, remote2, remote3, local0, local1, local2, local3 } = flow;
    const hash = this.#hash
      .begin()
      .add(peerSeq)
      .add((at << 3) | index)
      .add(ports)
      .add(remote0)
      .add(remote1)
      .add(remote2)
      .add(remote3);
    const mac = hash.add(local0).add(local1).add(local2).add(local3).end() & 0xffffff;
    return ((at & 31) << 27) | (index << 24) | mac;
  }
}

function period(now: number): number {
  return Math.floor(now / COOKIE_PERIOD_MS);
}

function sizeIndex(mss: number): number {
  for (let i = SIZES.length - 1; i > 0; i--) if ((SIZES[i] as number) <= mss) return i;
  return mss < 0 ? 1 : 0;
}
