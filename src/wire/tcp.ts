// The TCP header and its options (RFC 9293 §3.1, RFC 7323, RFC 2018).
//
//  0: source port   2: destination port   4: sequence number   8: acknowledgment number
// 12: header length in words (high half)  13: flags   14: window   16: checksum   18: urgent pointer   20: options
import { finishChecksum, foldSum, sumWords } from './checksum.ts';

export const TCP_HEADER = 20;
/** NOP, NOP, timestamps: padded so that what follows stays aligned (RFC 7323 appendix A). */
export const TIMESTAMP_OPTION = 12;

export const FLAG = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;

const OPTION = { end: 0, nop: 1, mss: 2, windowScale: 3, sackPermitted: 4, sack: 5, timestamps: 8 } as const;
const MAX_SACK_BLOCKS = 4;
/** Larger shifts are treated as this (RFC 7323 §2.3). */
const MAX_WINDOW_SCALE = 14;

/** A checked segment; one record is reused for every packet. Sequence numbers are signed 32-bit integers. */
export interface TcpSegment {
  sourcePort: number;
  destinationPort: number;
  seq: number;
  ack: number;
  flags: number;
  /** As carried, not scaled. */
  window: number;
  dataStart: number;
  dataEnd: number;
  /** How many segments it stands for: more than 1 for a super-packet. */
  segments: number;
  /** -1 where the option is missing; so below. */
  mss: number;
  windowScale: number;
  sackPermitted: boolean;
  hasTimestamps: boolean;
  tsValue: number;
  tsEcho: number;
  /** How many blocks stand in `sackEdges`, left and right edge by turns. */
  sackBlocks: number;
  readonly sackEdges: Int32Array;
}

export function emptyTcpSegment(): TcpSegment {
  return {
    sourcePort: 0,
    destinationPort: 0,
    seq: 0,
    ack: 0,
    flags: 0,
    window: 0,
    dataStart: 0,
    dataEnd: 0,
    segments: 1,
    mss: -1,
    windowScale: -1,
    sackPermitted: false,
    hasTimestamps: false,
    tsValue: 0,
    tsEcho: 0,
    sackBlocks: 0,
    sackEdges: new Int32Array(2 * MAX_SACK_BLOCKS),
  };
}

export function readInt32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 24) | ((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
}

export function writeInt32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = (value >>> 16) & 0xff;
  bytes[at + 2] = (value >>> 8) & 0xff;
  bytes[at + 3] = value & 0xff;
}

/**
 * Reads `packet[start, end)`. `pseudo` is the pseudo header's sum without the length. False for a short header, a wrong checksum
 * or port 0. Options of unknown kind or wrong length are skipped; a broken option list ends the reading of options only.
 * `verified` says that the checksum has been looked at before, and may not be set.
 */
export function readTcp(packet: Uint8Array, start: number, end: number, pseudo: number, into: TcpSegment, verified = false): boolean {
  const length = end - start;
  if (length < TCP_HEADER) return false;
  const headerLength = ((packet[start + 12] as number) >> 4) * 4;
  if (headerLength < TCP_HEADER || headerLength > length) return false;
  if (!verified && foldSum(sumWords(packet, start, end, pseudo + length)) !== 0xffff) return false;
  into.sourcePort = ((packet[start] as number) << 8) | (packet[start + 1] as number);
  into.destinationPort = ((packet[start + 2] as number) << 8) | (packet[start + 3] as number);
  if (into.sourcePort === 0 || into.destinationPort === 0) return false;
  into.seq = readInt32(packet, start + 4);
  into.ack = readInt32(packet, start + 8);
  into.flags = packet[start + 13] as number;
  into.window = ((packet[start + 14] as number) << 8) | (packet[start + 15] as number);
  into.dataStart = start + headerLength;
  into.dataEnd = end;
  into.segments = 1;
  readOptions(packet, start + TCP_HEADER, start + headerLength, into);
  return true;
}

function readOptions(packet: Uint8Array, start: number, end: number, into: TcpSegment): void {
  into.mss = -1;
  into.windowScale = -1;
  into.sackPermitted = false;
  into.hasTimestamps = false;
  into.sackBlocks = 0;
  let at = start;
  while (at < end) {
    const kind = packet[at] as number;
    if (kind === OPTION.end) return;
    if (kind === OPTION.nop) {
      at++;
      continue;
    }
    if (at + 1 >= end) return;
    const length = packet[at + 1] as number;
    if (length < 2 || at + length > end) return;
    readOption(packet, at, kind, length, into);
    at += length;
  }
}

function readOption(packet: Uint8Array, at: number, kind: number, length: number, into: TcpSegment): void {
  if (kind === OPTION.timestamps && length === 10) {
    into.hasTimestamps = true;
    into.tsValue = readInt32(packet, at + 2);
    into.tsEcho = readInt32(packet, at + 6);
  } else if (kind === OPTION.sack && length > 2 && (length - 2) % 8 === 0) {
    const blocks = Math.min(MAX_SACK_BLOCKS, (length - 2) / 8);
    for (let i = 0; i < 2 * blocks; i++) into.sackEdges[i] = readInt32(packet, at + 2 + 4 * i);
    into.sackBlocks = blocks;
  } else if (kind === OPTION.mss && length === 4) {
    into.mss = ((packet[at + 2] as number) << 8) | (packet[at + 3] as number);
  } else if (kind === OPTION.windowScale && length === 3) {
    into.windowScale = Math.min(MAX_WINDOW_SCALE, packet[at + 2] as number);
  } else if (kind === OPTION.sackPermitted && length === 2) {
    into.sackPermitted = true;
  }
}

/** Writes the fixed header at `start`, without checksum; options and data follow at `start + 20` and `start + headerLength`. */
export function writeTcp(
  target: Uint8Array,
  start: number,
  headerLength: number,
  sourcePort: number,
  destinationPort: number,
  seq: number,
  ack: number,
  flags: number,
  window: number,
): void {
  target[start] = sourcePort >> 8;
  target[start + 1] = sourcePort & 0xff;
  target[start + 2] = destinationPort >> 8;
  target[start + 3] = destinationPort & 0xff;
  writeInt32(target, start + 4, seq);
  writeInt32(target, start + 8, ack);
  target[start + 12] = (headerLength >> 2) << 4;
  target[start + 13] = flags;
  target[start + 14] = window >> 8;
  target[start + 15] = window & 0xff;
  target[start + 16] = 0;
  target[start + 17] = 0;
  target[start + 18] = 0;
  target[start + 19] = 0;
}

/** Computes and writes the checksum of the finished segment `target[start, end)`, whose checksum field is still 0, as `writeTcp` leaves it. */
export function sealTcp(target: Uint8Array, start: number, end: number, pseudo: number): void {
  const sum = finishChecksum(sumWords(target, start, end, pseudo + end - start));
  target[start + 16] = sum >> 8;
  target[start + 17] = sum & 0xff;
}

/** Writes the timestamps option with its padding; returns the offset behind it. */
export function writeTimestamps(target: Uint8Array, at: number, value: number, echo: number): number {
  target[at] = OPTION.nop;
  target[at + 1] = OPTION.nop;
  target[at + 2] = OPTION.timestamps;
  target[at + 3] = 10;
  writeInt32(target, at + 4, value);
  writeInt32(target, at + 8, echo);
  return at + TIMESTAMP_OPTION;
}

/** Bytes that `blocks` SACK blocks take with their padding. */
export function sackOptionLength(blocks: number): number {
  return blocks === 0 ? 0 : 4 + 8 * blocks;
}

/** Writes a SACK option from `edges` with its padding; returns the offset behind it. */
export function writeSack(target: Uint8Array, at: number, edges: Int32Array, blocks: number): number {
  target[at] = OPTION.nop;
  target[at + 1] = OPTION.nop;
  target[at + 2] = OPTION.sack;
  target[at + 3] = 2 + 8 * blocks;
  for (let i = 0; i < 2 * blocks; i++) writeInt32(target, at + 4 + 4 * i, edges[i] as number);
  return at + 4 + 8 * blocks;
}

/**
 * Writes the options of a SYN: MSS always; window scale where it is not negative; SACK-permitted and timestamps where asked.
 * Returns the offset behind them, a multiple of four from `at`.
 */
export function writeSynOptions(
  target: Uint8Array,
  at: number,
  mss: number,
  windowScale: number,
  sack: boolean,
  timestamps: boolean,
  tsValue: number,
  tsEcho: number,
): number {
  let end = at;
  target[end] = OPTION.mss;
  target[end + 1] = 4;
  target[end + 2] = mss >> 8;
  target[end + 3] = mss & 0xff;
  end += 4;
  if (windowScale >= 0) {
    target[end] = OPTION.nop;
    target[end + 1] = OPTION.windowScale;
    target[end + 2] = 3;
    target[end + 3] = windowScale;
    end += 4;
  }
  if (sack) {
    target[end] = OPTION.nop;
    target[end + 1] = OPTION.nop;
    target[end + 2] = OPTION.sackPermitted;
    target[end + 3] = 2;
    end += 4;
  }
  return timestamps ? writeTimestamps(target, end, tsValue, tsEcho) : end;
}
