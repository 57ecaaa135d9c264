// The IPv6 header (RFC 8200): checked reading with its extension headers skipped under a bound, and writing.
//
//  0: version, traffic class, flow label   4: payload length   6: next header   7: hop limit   8: source   24: destination   40: …
import type { IpHeader, IpVerdict } from './ipv4.ts';

export const IPV6_HEADER = 40;
/** No IPv6 link has a smaller MTU (RFC 8200 §5). */
export const IPV6_MIN_MTU = 1280;

const HOP_LIMIT = 64;
/** A packet with a longer chain is dropped: real ones carry one or two, and each costs work before anything is known about it. */
export const MAX_EXTENSION_HEADERS = 8;

/** Next-header numbers of the extension headers that are walked over. */
export const EXTENSION = { hopByHop: 0, routing: 43, fragment: 44, destination: 60 } as const;

/** What to do with a packet that carries an option we do not know: the two highest bits of its type (RFC 8200 §4.2). */
const UNKNOWN_OPTION = { skip: 0, discard: 1 } as const;

/**
 * Reads an IPv6 header and walks over its extension headers. A fragment header with nothing cut off (an atomic fragment, RFC 6946)
 * is skipped; a routing header that has segments left is refused, as we do not forward. Authentication and ESP end the walk, as
 * protocols that nobody here takes. 'parameter' asks for the ICMPv6 error of that name, with what stands in `problemAt` and
 * `problemCode`; the header's addresses are valid then.
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
  let nextAt = start + 6;
  let at = start + IPV6_HEADER;
  into.family = 6;
  into.sourceAt = start + 8;
  into.destinationAt = start + 24;
  into.addressLength = 16;
  for (let headers = 0; ; headers++) {
    const kind = packet[nextAt] as number;
    if (kind !== EXTENSION.hopByHop && kind !== EXTENSION.routing && kind !== EXTENSION.fragment && kind !== EXTENSION.destination) break;
    if (headers === MAX_EXTENSION_HEADERS || at + 8 > end) return 'malformed';
    // Only first may it stand; anywhere else it is a protocol that nobody knows (RFC 8200 §4.3).
    if (kind === EXTENSION.hopByHop && headers > 0) return problem(into, 1, nextAt - start);
    const after = kind === EXTENSION.fragment ? at + 8 : at + 8 + 8 * (packet[at + 1] as number);
    if (after > end) return 'malformed';
    if (kind === EXTENSION.fragment) {
      // Offset (13 bits) and the more-fragments bit; the two between are reserved.
      if ((packet[at + 2] as number) !== 0 || ((packet[at + 3] as number) & 0xf9) !== 0) return 'fragment';
    } else if (kind === EXTENSION.routing) {
      if (packet[at + 3] !== 0) return problem(into, 0, at + 2 - start);
    } else {
      const unknown = firstUnknownOption(packet, at + 2, after);
      if (unknown < 0) return 'malformed';
      const action = unknown === 0 ? UNKNOWN_OPTION.skip : (packet[unknown] as number) >> 6;
      if (action === UNKNOWN_OPTION.discard) return 'malformed';
      if (action !== UNKNOWN_OPTION.skip) return problem(into, 2, unknown - start);
    }
    nextAt = at;
    at = after;
  }
  into.protocol = packet[nextAt] as number;
  into.problemAt = nextAt - start;
  into.payloadStart = at;
  into.payloadEnd = end;
  return 'ok';
}

function problem(into: IpHeader, code: number, at: number): IpVerdict {
  into.problemCode = code;
  into.problemAt = at;
  return 'parameter';
}

/** Where the first option stands that must not be skipped over unread; 0 for none, -1 for a list that does not add up. */
function firstUnknownOption(packet: Uint8Array, start: number, end: number): number {
  for (let at = start; at < end;) {
    const type = packet[at] as number;
    if (type >> 6 !== UNKNOWN_OPTION.skip) return at;
    // A single byte of padding has no length.
    at += type === 0 ? 1 : 2 + (packet[at + 1] ?? 256);
    if (at > end) return -1;
  }
  return 0;
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
