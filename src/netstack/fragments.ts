// Cutting a packet that is larger than the MTU: for datagrams, whose size the application has chosen. TCP never needs it.
import { FRAGMENT_HEADER, writeFragment4, writeFragment6 } from '#wire/fragment.ts';
import { IPV4_HEADER } from '#wire/ipv4.ts';
import { IPV6_HEADER } from '#wire/ipv6.ts';

/** The fragments of a whole packet without options or extension headers, none larger than `mtu`. `id` is random (RFC 7739). */
export function fragments(packet: Uint8Array, mtu: number, id: number): Uint8Array[] {
  const six = (packet[0] as number) >> 4 === 6;
  const header = six ? IPV6_HEADER : IPV4_HEADER;
  const before = six ? IPV6_HEADER + FRAGMENT_HEADER : IPV4_HEADER;
  const step = (mtu - before) & ~7;
  const cut: Uint8Array[] = [];
  for (let at = header; at < packet.length; at += step) {
    const data = packet.subarray(at, at + step);
    const piece = new Uint8Array(before + data.length);
    piece.set(packet.subarray(0, header));
    piece.set(data, before);
    const more = at + step < packet.length;
    if (six) writeFragment6(piece, piece.length, id, at - header, more);
    else writeFragment4(piece, piece.length, id, at - header, more);
    cut.push(piece);
  }
  return cut;
}
