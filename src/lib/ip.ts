// IP addresses and prefixes as values: bytes in network order with a family, parsed once at the border.
import { asBuffer } from './bytes.ts';

/** 4 or 16 bytes in network order. */
export interface IpAddress {
  readonly family: 4 | 6;
  readonly bytes: Uint8Array;
}

/** An address with a prefix length; `parsePrefix` keeps the host bits, `maskPrefix` clears them. */
export interface IpPrefix {
  readonly address: IpAddress;
  readonly bits: number;
}

/** Parses dotted IPv4 (no leading zeros, four parts) or RFC 4291 IPv6 text without a zone; undefined where it is neither. */
export function parseIp(text: string): IpAddress | undefined {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text);
}

function parseIpv4(text: string): IpAddress | undefined {
  const bytes = new Uint8Array(4);
  let part = 0;
  let value = 0;
  let digits = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x2e) {
      if (digits === 0 || part === 3) return undefined;
      bytes[part++] = value;
      value = 0;
      digits = 0;
    } else {
      if (code < 0x30 || code > 0x39 || (digits > 0 && value === 0)) return undefined;
      value = value * 10 + code - 0x30;
      if (value > 255) return undefined;
      digits++;
    }
  }
  if (part !== 3 || digits === 0) return undefined;
  bytes[3] = value;
  return { family: 4, bytes };
}

function parseIpv6(text: string): IpAddress | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? '', halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '', true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const groups = [...head, ...Array.from({ length: missing }, () => 0), ...tail];
  const bytes = new Uint8Array(16);
  for (const [i, group] of groups.entries()) {
    bytes[2 * i] = group >> 8;
    bytes[2 * i + 1] = group & 0xff;
  }
  return { family: 6, bytes };
}

function parseGroups(text: string, mayEndInIpv4: boolean): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (mayEndInIpv4 && i === parts.length - 1 && part.includes('.')) {
      const v4 = parseIpv4(part);
      if (v4 === undefined) return undefined;
      const [a = 0, b = 0, c = 0, d = 0] = v4.bytes;
      groups.push((a << 8) | b, (c << 8) | d);
    } else {
      if (!/^[0-9a-f]{1,4}$/i.test(part)) return undefined;
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups;
}

/** Parses 4 or 16 bytes; undefined for any other length. The bytes are copied. */
export function ipFromBytes(bytes: Uint8Array): IpAddress | undefined {
  if (bytes.length === 4) return { family: 4, bytes: new Uint8Array(bytes) };
  if (bytes.length === 16) return { family: 6, bytes: new Uint8Array(bytes) };
  return undefined;
}

/** Canonical text: dotted IPv4, RFC 5952 IPv6 (lower case, longest run of zeros folded). */
export function formatIp(ip: IpAddress): string {
  if (ip.family === 4) {
    const { bytes } = ip;
    return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  }
  const groups: number[] = [];
  const buffer = asBuffer(ip.bytes);
  for (let i = 0; i < 16; i += 2) groups.push(buffer.readUInt16BE(i));
  let start = -1;
  let length = 1; // RFC 5952 §4.2.2: a single zero group is not folded
  for (let i = 0; i < 8; i++) {
    let run = 0;
    while (i + run < 8 && groups[i + run] === 0) run++;
    if (run > length) [start, length] = [i, run];
  }
  const text = (part: number[]): string => part.map((group) => group.toString(16)).join(':');
  return start < 0 ? text(groups) : `${text(groups.slice(0, start))}::${text(groups.slice(start + length))}`;
}

export function sameIp(a: IpAddress, b: IpAddress): boolean {
  return a.family === b.family && asBuffer(a.bytes).equals(b.bytes);
}

/** An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) as the IPv4 address it stands for; everything else unchanged. */
export function unmapIp(ip: IpAddress): IpAddress {
  if (ip.family === 4) return ip;
  const mapped = ip.bytes.subarray(0, 10).every((byte) => byte === 0) && ip.bytes[10] === 0xff && ip.bytes[11] === 0xff;
  return mapped ? { family: 4, bytes: new Uint8Array(ip.bytes.subarray(12)) } : ip;
}

/** Parses `address/bits`, or a bare address as a host prefix; undefined where it is neither. Host bits are kept. */
export function parsePrefix(text: string): IpPrefix | undefined {
  const slash = text.indexOf('/');
  const address = parseIp(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) return undefined;
  const width = address.family === 4 ? 32 : 128;
  if (slash < 0) return { address, bits: width };
  const bitsText = text.slice(slash + 1);
  if (!/^(?:0|[1-9][0-9]{0,2})$/.test(bitsText)) return undefined;
  const bits = Number(bitsText);
  return bits <= width ? { address, bits } : undefined;
}

export function formatPrefix(prefix: IpPrefix): string {
  return `${formatIp(prefix.address)}/${prefix.bits}`;
}

/** The prefix of exactly one address. */
export function hostPrefix(address: IpAddress): IpPrefix {
  return { address, bits: address.family === 4 ? 32 : 128 };
}

/** The same prefix with its host bits cleared. */
export function maskPrefix(prefix: IpPrefix): IpPrefix {
  const bytes = prefix.address.bytes.map((byte, i) => byte & maskByte(prefix.bits, i));
  return { address: { family: prefix.address.family, bytes }, bits: prefix.bits };
}

export function prefixContains(prefix: IpPrefix, ip: IpAddress): boolean {
  if (prefix.address.family !== ip.family) return false;
  return ip.bytes.every((byte, i) => {
    const mask = maskByte(prefix.bits, i);
    return (byte & mask) === ((prefix.address.bytes[i] ?? 0) & mask);
  });
}

function maskByte(bits: number, index: number): number {
  const left = bits - 8 * index;
  return left >= 8 ? 0xff : left <= 0 ? 0 : (0xff << (8 - left)) & 0xff;
}

/** What counts as one caller where callers are limited: an IPv4 address, or the /64 of an IPv6 address, as one host has a whole /64. */
export function callerNetwork(remote: string | undefined): string {
  const zone = remote?.indexOf('%') ?? -1;
  const parsed = parseIp(zone < 0 ? (remote ?? '') : (remote ?? '').slice(0, zone));
  if (parsed === undefined) return 'unknown';
  const address = unmapIp(parsed);
  // A whole IPv4 address has one spelling.
  if (address.family === 4) return `${formatIp(address)}/32`;
  return formatPrefix(maskPrefix({ address, bits: 64 }));
}
