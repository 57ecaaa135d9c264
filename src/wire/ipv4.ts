// The IPv4 header (RFC 791): checked reading into a reusable record, and writing.
//
//  0: version, header length in words   1: DSCP/ECN    2: total length   4: identification   6: flags, fragment offset
//  8: time to live                      9: protocol   10: checksum      12: source          16: destination   20: options
import { checksum } from './checksum.ts';

export const IPV4_HEADER = 20;
/** Every host takes a datagram of this size (RFC 791); nothing lowers a path's MTU below it here. */
export const IPV4_MIN_MTU = 576;

export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;

const FLAG_DONT_FRAGMENT = 0x4000;
const MORE_OR_OFFSET = 0x3fff;
const HOP_LIMIT = 64;

/** Where the parts of a checked IP packet of either family are. One record is reused for every packet. */
export interface IpHeader {
  family: 4 | 6;
  /** Protocol number of the payload, after any extension headers. */
  protocol: number;
  sourceAt: number;
  destinationAt: number;
  /** 4 or 16. */
  addressLength: number;
  payloadStart: number;
  payloadEnd: number;
  /** IPv6: where the number of the protocol stands, or of what a 'parameter' verdict complains, and the ICMPv6 code for it. */
  problemAt: number;
  problemCode: number;
}

export function emptyIpHeader(): IpHeader {
  return { family: 4, protocol: 0, sourceAt: 0, destinationAt: 0, addressLength: 4, payloadStart: 0, payloadEnd: 0, problemAt: 0, problemCode: 0 };
}

/** What reading a header found. 'parameter' is of IPv6 only. */
export type IpVerdict = 'ok' | 'malformed' | 'checksum' | 'fragment' | 'parameter';

/**
 * Reads an IPv4 header. Options are skipped unread; bytes after the total length are padding and ignored. `verified` says that the
 * checksum has been looked at before, and may not be set. `into` is valid only for 'ok'.
 */
export function readIpv4(packet: Uint8Array, into: IpHeader, verified = false): IpVerdict {
  if (packet.length < IPV4_HEADER) return 'malformed';
  const first = packet[0] as number;
  const headerLength = (first & 0x0f) * 4;
  const totalLength = ((packet[2] as number) << 8) | (packet[3] as number);
  if (first >> 4 !== 4 || headerLength < IPV4_HEADER || totalLength < headerLength || totalLength > packet.length) return 'malformed';
  if (!verified && checksum(packet, 0, headerLength) !== 0) return 'checksum';
  if (((((packet[6] as number) << 8) | (packet[7] as number)) & MORE_OR_OFFSET) !== 0) return 'fragment';
  into.family = 4;
  into.protocol = packet[9] as number;
  into.sourceAt = 12;
  into.destinationAt = 16;
  into.addressLength = 4;
  into.payloadStart = headerLength;
  into.payloadEnd = totalLength;
  return 'ok';
}

/**
 * Reads the header of a packet that an ICMP error quotes: it may be cut short, and routers may have changed its checksum, so only
 * the layout is checked. The payload may then be shorter than the header says.
 */
export function readQuotedIpv4(packet: Uint8Array, start: number, end: number, into: IpHeader): boolean {
  if (end - start < IPV4_HEADER) return false;
  const first = packet[start] as number;
  const headerLength = (first & 0x0f) * 4;
  if (first >> 4 !== 4 || headerLength < IPV4_HEADER || start + headerLength > end) return false;
  into.family = 4;
  into.protocol = packet[start + 9] as number;
  into.sourceAt = start + 12;
  into.destinationAt = start + 16;
  into.addressLength = 4;
  into.payloadStart = start + headerLength;
  into.payloadEnd = end;
  return true;
}

/**
 * Writes a header without options at offset 0. Don't-fragment is always set, so the identification means nothing and is 0
 * (RFC 6864 §4.1).
 */
export function writeIpv4(target: Uint8Array, totalLength: number, protocol: number, source: Uint8Array, destination: Uint8Array): void {
  target[0] = 0x45;
  target[1] = 0;
  target[2] = totalLength >> 8;
  target[3] = totalLength & 0xff;
  target[4] = 0;
  target[5] = 0;
  target[6] = FLAG_DONT_FRAGMENT >> 8;
  target[7] = 0;
  target[8] = HOP_LIMIT;
  target[9] = protocol;
  target[10] = 0;
  target[11] = 0;
  for (let i = 0; i < 4; i++) {
    target[12 + i] = source[i] as number;
    target[16 + i] = destination[i] as number;
  }
  const sum = checksum(target, 0, IPV4_HEADER);
  target[10] = sum >> 8;
  target[11] = sum & 0xff;
}
