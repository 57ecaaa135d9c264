// Fragments of both families: what one says of itself (RFC 791 §3.2, RFC 8200 §4.5), and writing them.
import { checksum } from './checksum.ts';
import { IPV4_HEADER } from './ipv4.ts';
import { EXTENSION, IPV6_HEADER, MAX_EXTENSION_HEADERS } from './ipv6.ts';

/** The IPv6 fragment header:  0: next header   1: reserved   2: offset in eights, more-fragments bit   4: identification */
export const FRAGMENT_HEADER = 8;

/** One fragment of a packet. One record is reused for every packet. */
export interface Fragment {
  family: 4 | 6;
  id: number;
  /** What the whole carries; for IPv6 the header behind the fragment header. */
  protocol: number;
  /** Place of the data in the whole, in bytes, and whether more follows it. */
  offset: number;
  more: boolean;
  dataStart: number;
  dataEnd: number;
  /** Length of what stands before the fragmented part in each fragment. */
  headLength: number;
  /** IPv6: where the number stands that says "a fragment header follows". */
  nextAt: number;
}

export function emptyFragment(): Fragment {
  return { family: 4, id: 0, protocol: 0, offset: 0, more: false, dataStart: 0, dataEnd: 0, headLength: 0, nextAt: 0 };
}

/** Reads a packet of which `readIpv4` or `readIpv6` said that it is a fragment; false where it is a broken one. */
export function readFragment(packet: Uint8Array, into: Fragment): boolean {
  return (packet[0] as number) >> 4 === 6 ? readFragment6(packet, into) : readFragment4(packet, into);
}

function readFragment4(packet: Uint8Array, into: Fragment): boolean {
  const flags = word(packet, 6);
  into.family = 4;
  into.id = word(packet, 4);
  into.protocol = packet[9] as number;
  into.offset = (flags & 0x1fff) * 8;
  into.more = (flags & 0x2000) !== 0;
  into.headLength = ((packet[0] as number) & 0x0f) * 4;
  into.dataStart = into.headLength;
  into.dataEnd = word(packet, 2);
  into.nextAt = 0;
  return sizesHold(into);
}

function readFragment6(packet: Uint8Array, into: Fragment): boolean {
  const end = IPV6_HEADER + word(packet, 4);
  let nextAt = 6;
  let at = IPV6_HEADER;
  for (let headers = 0; headers < MAX_EXTENSION_HEADERS && at + FRAGMENT_HEADER <= end; headers++) {
    const next = packet[nextAt] as number;
    if (next === EXTENSION.fragment) {
      into.family = 6;
      into.id = (word(packet, at + 4) << 16) | word(packet, at + 6);
      into.protocol = packet[at] as number;
      into.offset = word(packet, at + 2) & 0xfff8;
      into.more = ((packet[at + 3] as number) & 1) !== 0;
      into.headLength = at;
      into.dataStart = at + FRAGMENT_HEADER;
      into.dataEnd = end;
      into.nextAt = nextAt;
      return sizesHold(into);
    }
    if (next !== EXTENSION.hopByHop && next !== EXTENSION.routing && next !== EXTENSION.destination) return false;
    nextAt = at;
    at += 8 + 8 * (packet[at + 1] as number);
  }
  return false;
}

/** All but the last carry whole eights, none is empty, and the whole fits the length field. */
function sizesHold({ headLength, offset, more, dataStart, dataEnd, family }: Fragment): boolean {
  const length = dataEnd - dataStart;
  if (length <= 0 || (more && length % 8 !== 0)) return false;
  const before = family === 4 ? headLength : headLength - IPV6_HEADER;
  return before + offset + length <= 65_535;
}

/** Makes the head of a whole packet out of that of its first fragment, which stands at 0 before `length - head` bytes of data. */
export function writeWholeHead(target: Uint8Array, length: number, { family, protocol, headLength, nextAt }: Fragment): void {
  if (family === 6) {
    setWord(target, 4, length - IPV6_HEADER);
    target[nextAt] = protocol;
    return;
  }
  setWord(target, 2, length);
  setWord(target, 6, 0);
  setWord(target, 10, 0);
  setWord(target, 10, checksum(target, 0, headLength));
}

/** Makes an IPv4 header without options, at 0, that of a fragment: the total length, the identification and the place of its data. */
export function writeFragment4(target: Uint8Array, length: number, id: number, offset: number, more: boolean): void {
  setWord(target, 2, length);
  setWord(target, 4, id & 0xffff);
  setWord(target, 6, (offset >> 3) | (more ? 0x2000 : 0));
  setWord(target, 10, 0);
  setWord(target, 10, checksum(target, 0, IPV4_HEADER));
}

/** Writes the fragment header behind a bare IPv6 header at 0, and both headers' lengths and numbers. */
export function writeFragment6(target: Uint8Array, length: number, id: number, offset: number, more: boolean): void {
  const at = IPV6_HEADER;
  target[at] = target[6] as number;
  target[6] = EXTENSION.fragment;
  setWord(target, 4, length - IPV6_HEADER);
  target[at + 1] = 0;
  setWord(target, at + 2, offset | (more ? 1 : 0));
  setWord(target, at + 4, id >>> 16);
  setWord(target, at + 6, id & 0xffff);
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = (value >> 8) & 0xff;
  bytes[at + 1] = value & 0xff;
}
