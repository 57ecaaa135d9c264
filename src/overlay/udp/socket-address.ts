// `sockaddr_in` and `sockaddr_in6` as Linux lays them out: addresses to bytes for sending, and bytes of received messages back to
// addresses, without making anything new for a sender that is known.
import { networkInterfaces } from 'node:os';
import { formatIp, ipFromBytes, parseIp, unmapIp } from '#lib/ip.ts';
import type { TransportAddress } from '../path/path.ts';
import { KNOWN_ADDRESSES } from './constants.ts';

export const familyIpv4 = 2;
export const familyIpv6 = 10;
/** Bytes of `sockaddr_in6`, the larger of the two. */
export const SOCKET_ADDRESS_BYTES = 28;
const ipv4Bytes = 16;

/**
 * The address for a socket of the family, IPv4 mapped where the socket is IPv6; undefined where it is no address, or of the other family.
 * A link-local address may end in `%` and an interface's name or number.
 */
export function encodeSocketAddress(to: TransportAddress, ipv6: boolean): Uint8Array | undefined {
  const [text = '', zone] = to.address.split('%');
  const ip = parseIp(text);
  if (ip === undefined || to.port < 0 || to.port > 65_535) return undefined;
  if (!ipv6) {
    if (ip.family !== 4) return undefined;
    const bytes = head(ipv4Bytes, familyIpv4, to.port);
    bytes.set(ip.bytes, 4);
    return bytes;
  }
  const bytes = head(SOCKET_ADDRESS_BYTES, familyIpv6, to.port);
  if (ip.family === 4) bytes.set([0xff, 0xff, ...ip.bytes], 18);
  else bytes.set(ip.bytes, 8);
  if (zone !== undefined) new DataView(bytes.buffer).setUint32(24, zoneNumber(zone), true);
  return bytes;
}

function head(length: number, family: number, port: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, family, true);
  view.setUint16(2, port);
  return bytes;
}

function zoneNumber(zone: string): number {
  if (/^\d{1,9}$/.test(zone)) return Number(zone);
  return networkInterfaces()[zone]?.find((entry) => entry.family === 'IPv6')?.scopeid ?? 0;
}

/** The address of the bytes; undefined where they are too short, of another family, or name port 0, which nobody can send from. */
export function decodeSocketAddress(bytes: Uint8Array): TransportAddress | undefined {
  if (bytes.length < ipv4Bytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const family = view.getUint16(0, true);
  const port = view.getUint16(2);
  if (port === 0) return undefined;
  if (family === familyIpv4) {
    const ip = ipFromBytes(bytes.slice(4, 8));
    return ip && { address: formatIp(ip), port };
  }
  if (family !== familyIpv6 || bytes.length < SOCKET_ADDRESS_BYTES) return undefined;
  const ip = ipFromBytes(bytes.slice(8, 24));
  if (ip === undefined) return undefined;
  const zone = view.getUint32(24, true);
  return { address: formatIp(unmapIp(ip)) + (zone === 0 ? '' : `%${zone}`), port };
}

/** Addresses of senders as text, found by their bytes. It never grows: a new one takes the place of the one with the same hash. */
export class AddressTable {
  readonly #known = new Uint8Array(KNOWN_ADDRESSES * SOCKET_ADDRESS_BYTES);
  readonly #addresses: (TransportAddress | undefined)[] = Array.from({ length: KNOWN_ADDRESSES }, () => undefined);

  /** The address in `bytes` from `at` to `at + length`; the same object as the last time where it is still known. */
  find(bytes: Uint8Array, at: number, length: number): TransportAddress | undefined {
    if (length < ipv4Bytes || length > SOCKET_ADDRESS_BYTES || at < 0 || at + length > bytes.length) return undefined;
    let hash = length;
    for (let i = 0; i < length; i++) hash = (Math.imul(hash, 31) + (bytes[at + i] ?? 0)) | 0;
    const row = (hash ^ (hash >>> 12)) & (KNOWN_ADDRESSES - 1);
    const start = row * SOCKET_ADDRESS_BYTES;
    const found = this.#addresses[row];
    if (found !== undefined) {
      let i = 0;
      while (i < length && bytes[at + i] === this.#known[start + i]) i++;
      // The family is part of the bytes and decides the length.
      if (i === length) return found;
    }
    const address = decodeSocketAddress(bytes.subarray(at, at + length));
    if (address === undefined) return undefined;
    this.#known.fill(0, start, start + SOCKET_ADDRESS_BYTES);
    this.#known.set(bytes.subarray(at, at + length), start);
    this.#addresses[row] = address;
    return address;
  }
}
