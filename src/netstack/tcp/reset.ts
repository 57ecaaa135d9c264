// A reset for a segment that belongs to no connection, or not to this one (RFC 9293 §3.10.7.1).
import { pseudoSum } from '#wire/checksum.ts';
import { IPV4_HEADER, PROTOCOL, writeIpv4 } from '#wire/ipv4.ts';
import type { IpHeader } from '#wire/ipv4.ts';
import { IPV6_HEADER, writeIpv6 } from '#wire/ipv6.ts';
import { FLAG, TCP_HEADER, sealTcp, writeTcp } from '#wire/tcp.ts';
import type { TcpSegment } from '#wire/tcp.ts';

/** Builds the reset in `target` and returns its length. The caller never answers a reset with one. */
export function buildReset(target: Uint8Array, packet: Uint8Array, header: IpHeader, segment: TcpSegment): number {
  const { family, sourceAt, destinationAt, addressLength } = header;
  const start = family === 4 ? IPV4_HEADER : IPV6_HEADER;
  const end = start + TCP_HEADER;
  if ((segment.flags & FLAG.ack) !== 0) {
    writeTcp(target, start, TCP_HEADER, segment.destinationPort, segment.sourcePort, segment.ack, 0, FLAG.rst, 0);
  } else {
    const length = segment.dataEnd - segment.dataStart + (segment.flags & FLAG.syn ? 1 : 0) + (segment.flags & FLAG.fin ? 1 : 0);
    writeTcp(target, start, TCP_HEADER, segment.destinationPort, segment.sourcePort, 0, (segment.seq + length) | 0, FLAG.rst | FLAG.ack, 0);
  }
  // The pseudo header's sum is the same both ways.
  sealTcp(target, start, end, pseudoSum(packet, sourceAt, packet, destinationAt, addressLength, PROTOCOL.tcp));
  const local = packet.subarray(destinationAt, destinationAt + addressLength);
  const remote = packet.subarray(sourceAt, sourceAt + addressLength);
  if (family === 4) writeIpv4(target, end, PROTOCOL.tcp, local, remote);
  else writeIpv6(target, end, PROTOCOL.tcp, local, remote);
  return end;
}
