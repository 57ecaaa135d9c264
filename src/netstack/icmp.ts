// ICMP for both families: answers to echo, errors for closed UDP ports, and what errors of others mean for our connections.
import { ICMP_HEADER, icmpChecksumHolds, icmpKind, writeEchoReply, writeIcmpError } from '#wire/icmp.ts';
import type { IcmpComplaint, IcmpKind } from '#wire/icmp.ts';
import { IPV4_MIN_MTU, PROTOCOL, emptyIpHeader, readQuotedIpv4 } from '#wire/ipv4.ts';
import type { IpHeader } from '#wire/ipv4.ts';
import { IPV6_MIN_MTU, readQuotedIpv6 } from '#wire/ipv6.ts';
import { pseudoSum } from '#wire/checksum.ts';
import { readInt32 } from '#wire/tcp.ts';
import { lowerMss } from './tcp/options.ts';
import { seqLess, seqLessEqual } from './tcp/seq.ts';
import type { ControlBlock } from './tcp/state.ts';
import { finish } from './tcp/state.ts';

/** An error about a TCP segment or a datagram that we may have sent. */
export interface QuotedPacket {
  readonly header: IpHeader;
  localPort: number;
  remotePort: number;
  /** Of TCP. */
  seq: number;
}

const quoted: QuotedPacket = { header: emptyIpHeader(), localPort: 0, remotePort: 0, seq: 0 };

/** Sum of the pseudo header with the length for ICMPv6; ICMP has none. */
function icmpPseudo(packet: Uint8Array, header: IpHeader, length: number): number {
  if (header.family === 4) return 0;
  return pseudoSum(packet, header.sourceAt, packet, header.destinationAt, 16, PROTOCOL.icmpv6) + length;
}

/** Checks a message and says what it is; undefined for a broken one. */
export function readIcmp(packet: Uint8Array, header: IpHeader): IcmpKind | undefined {
  const { payloadStart: start, payloadEnd: end } = header;
  if (!icmpChecksumHolds(packet, start, end, icmpPseudo(packet, header, end - start))) return undefined;
  return icmpKind(header.family, packet[start] as number, packet[start + 1] as number);
}

/** Builds the reply to a checked echo request behind an IP header of `at` bytes; returns its end. The pseudo header's sum is symmetric. */
export function buildEchoReply(target: Uint8Array, at: number, packet: Uint8Array, header: IpHeader): number {
  const length = header.payloadEnd - header.payloadStart;
  target.set(packet.subarray(header.payloadStart, header.payloadEnd), at);
  writeEchoReply(target, at, at + length, header.family, icmpPseudo(packet, header, length));
  return at + length;
}

/** Builds an error about `packet` behind an IP header of `at` bytes, quoting as much as both families allow; returns its end. */
export function buildIcmpError(target: Uint8Array, at: number, packet: Uint8Array, header: IpHeader, complaint: IcmpComplaint): number {
  // RFC 1812 §4.3.2.3 and RFC 4443 §3.1: the whole message stays within the least MTU.
  const limit = (header.family === 4 ? IPV4_MIN_MTU : IPV6_MIN_MTU) - at - ICMP_HEADER;
  const count = Math.min(limit, packet.length);
  target.set(packet.subarray(0, count), at + ICMP_HEADER);
  const end = at + ICMP_HEADER + count;
  writeIcmpError(target, at, end, header.family, complaint, header.problemAt, header.problemCode, icmpPseudo(packet, header, end - at));
  return end;
}

/** The TCP segment or datagram that an error quotes, as one shared record; undefined where it quotes anything else. */
export function readQuotedPacket(packet: Uint8Array, header: IpHeader): QuotedPacket | undefined {
  const start = header.payloadStart + ICMP_HEADER;
  const read = header.family === 4 ? readQuotedIpv4 : readQuotedIpv6;
  const inner = quoted.header;
  if (!read(packet, start, header.payloadEnd, inner) || inner.payloadEnd - inner.payloadStart < 8) return undefined;
  if (inner.protocol !== PROTOCOL.tcp && inner.protocol !== PROTOCOL.udp) return undefined;
  quoted.localPort = ((packet[inner.payloadStart] as number) << 8) | (packet[inner.payloadStart + 1] as number);
  quoted.remotePort = ((packet[inner.payloadStart + 2] as number) << 8) | (packet[inner.payloadStart + 3] as number);
  quoted.seq = readInt32(packet, inner.payloadStart + 4);
  return quoted;
}

/**
 * Applies an error to the connection that it quotes. Only what we have in flight counts (RFC 5927 §4.1). While connecting an error
 * ends the attempt; later it is only remembered, as paths change (RFC 9293 §3.9.2.2).
 */
export function applyIcmpError(block: ControlBlock, kind: IcmpKind, seq: number, mtu: number, now: number): void {
  if (block.state === 'closed' || block.state === 'time-wait' || !seqLessEqual(block.sndUna, seq) || !seqLess(seq, block.sndNxt)) return;
  switch (kind) {
    case 'echo-request':
    case 'other':
      return;
    case 'too-big': {
      const floor = block.flow.family === 4 ? IPV4_MIN_MTU : IPV6_MIN_MTU;
      if (block.synchronized && lowerMss(block, Math.max(floor, mtu), now)) {
        // What was too big is gone without congestion: send it again in smaller pieces, with the window as it is.
        block.sent.markAll(false);
        block.recovery.enterTimeout(block.sndNxt);
      }
      return;
    }
    case 'net-unreachable':
    case 'host-unreachable':
    case 'port-unreachable': {
      const reason = endOf(kind);
      if (block.state === 'syn-sent') finish(block, reason, now);
      else block.softError = reason;
      return;
    }
  }
}

/** What an ICMP error means to whoever sent the packet. */
export function endOf(kind: 'net-unreachable' | 'host-unreachable' | 'port-unreachable'): 'ENETUNREACH' | 'EHOSTUNREACH' | 'ECONNREFUSED' {
  if (kind === 'net-unreachable') return 'ENETUNREACH';
  return kind === 'host-unreachable' ? 'EHOSTUNREACH' : 'ECONNREFUSED';
}
