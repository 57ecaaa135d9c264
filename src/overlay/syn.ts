// Which packet asks for a connection, told without reading more of the others than a few bytes.
import { ipFromBytes } from '#lib/ip.ts';
import type { SocketAddress } from '#netstack/types.ts';
import { emptyIpHeader, PROTOCOL, readIpv4 } from '#wire/ipv4.ts';
import { readIpv6 } from '#wire/ipv6.ts';
import { FLAG } from '#wire/tcp.ts';

const header = emptyIpHeader();

/** From whom to whom a packet asks for a connection; undefined where it does not. Its checksums are not looked at. */
export function readSyn(packet: Uint8Array): { readonly local: SocketAddress; readonly remote: SocketAddress } | undefined {
  // The common case first: an IPv4 header without options, and no SYN.
  if (packet[0] === 0x45 && (packet[9] !== PROTOCOL.tcp || !isSyn(packet, 20))) return undefined;
  const verdict = (packet[0] ?? 0) >> 4 === 6 ? readIpv6(packet, header) : readIpv4(packet, header);
  const { payloadStart: at, payloadEnd, sourceAt, destinationAt, addressLength } = header;
  if (verdict !== 'ok' || header.protocol !== PROTOCOL.tcp || payloadEnd - at < 20 || !isSyn(packet, at)) return undefined;
  const from = ipFromBytes(packet.subarray(sourceAt, sourceAt + addressLength));
  const to = ipFromBytes(packet.subarray(destinationAt, destinationAt + addressLength));
  if (from === undefined || to === undefined) return undefined;
  return { remote: { ip: from, port: u16(packet, at) }, local: { ip: to, port: u16(packet, at + 2) } };
}

function isSyn(packet: Uint8Array, at: number): boolean {
  return ((packet[at + 13] ?? 0) & (FLAG.syn | FLAG.ack | FLAG.rst)) === FLAG.syn;
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}
