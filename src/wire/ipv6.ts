// The IPv6 header (RFC 8200): checked reading with its extension headers skipped under a bound, and writing.
//
//  0: version, traffic class, flow label   4: payload length   6: next header   7: hop limit   8: source   24: destination   40: …
import type { IpHeader, IpVerdict } from './ipv4.ts';

export const IPV6_HEADER = 40;
/** No IPv6 link has a smaller MTU (RFC 8200 §5). */
export const IPV6_MIN_MTU = 1280;

const HOP_LIMIT = 64;
/** A packet with a longer chain is dropped: real ones carry one or two, and each costs work before anything is known about it. */
const MAX_EXTENSION_HEADERS = 8;

const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const DESTINATION = 60;

/**
 * Reads an IPv6 header and walks over its extension headers. A fragment header with nothing cut off (an atomic fragment, RFC 6946)
 * is skipped; a routing header that has segments left is refused, as we do not forward. Authentication and ESP end the walk, as
 * protocols that nobody here takes.
 */
export function readIpv6(packet: Uint8Array, into: IpHeader): IpVerdict {
  if (packet.length < IPV6_HEADER || (packet[0] as number) >> 4 !== 6) return 'malformed';
  const end = IPV6_HEADER + (((packet[4] as number) << 8) | (packet[5] as number));
  if (end > packet.length) return 'malformed';
  return walk(packet, 0, end, into);
}

/** Reads the header of a packet that an ICMPv6 error quotes; it may be cut short anywhere. */
export function readQuotedIpv6(packet: Uint8Array, start: number, end: number, into: IpHeader): boolean {
  if (end - start < IPV6_HEADER || (packet[start] as number) >> 4 !== 6) return false;
  return walk(packet, start, end, into) === 'ok';
}

function walk(packet: Uint8Array, start: number, end: number, into: IpHeader): IpVerdict {
  let next = packet[start + 6] as number;
  let at = start + IPV6_HEADER;
  for (let headers = 0; next === HOP_BY_HOP || next === ROUTING || next === FRAGMENT || next === DESTINATION; headers++) {
    if (headers === MAX_EXTENSION_HEADERS || at + 8 > end) return 'malformed';
    const kind = next;
    next = packet[at] as number;
    if (kind === FRAGMENT) {
      // Offset (13 bits) and the more-fragments bit; the two between are reserved.
      if ((packet[at + 2] as number) !== 0 || ((packet[at + 3] as number) & 0xf9) !== 0) return 'fragment';
      at += 8;
      continue;
    }
    if (kind === ROUTING && packet[at + 3] !== 0) return 'malformed';
    at += 8 + 8 * (packet[at + 1] as number);
    if (at > end) return 'malformed';
  }
  into.family = 6;
  into.protocol = next;
  into.sourceAt = start + 8;
  into.destinationAt = start + 24;
  into.addressLength = 16;
  into.payloadStart = at;
  into.payloadEnd = end;
  return 'ok';
}

/** Writes a header without extensions at offset 0. */
export function writeIpv6(target: Uint8Array, totalLength: number, protocol: number, source: Uint8Array, destination: Uint8Array): void {
  const payload = totalLength - IPV6_HEADER;
  target[0] = 0x60;
  target[1] = 0;
  target[2] = 0;
  target[3] = 0;
  target[4] = payload >> 8;
  target[5] = payload & 0xff;
  target[6] = protocol;
  target[7] = HOP_LIMIT;
  for (let i = 0; i < 16; i++) {
    target[8 + i] = source[i] as number;
    target[24 + i] = destination[i] as number;
  }
}
