// ICMP (RFC 792) and ICMPv6 (RFC 4443): the few messages that a host needs.
//
//  0: type   1: code   2: checksum   4: rest of the header (echo: identifier, sequence; too big: the MTU)   8: data or the quoted packet
import { finishChecksum, foldSum, sumWords } from './checksum.ts';

export const ICMP_HEADER = 8;

const V4 = { echoReply: 0, unreachable: 3, timeExceeded: 11, echoRequest: 8 } as const;
const V6 = { unreachable: 1, tooBig: 2, timeExceeded: 3, parameterProblem: 4, echoRequest: 128, echoReply: 129 } as const;

/** What a message means to us. Errors quote the packet that caused them from `ICMP_HEADER` on. */
export type IcmpKind = 'echo-request' | 'net-unreachable' | 'host-unreachable' | 'port-unreachable' | 'too-big' | 'other';

/** Whether `packet[start, end)` carries a right checksum. `pseudo` is 0 for ICMP and the pseudo header's sum with the length for ICMPv6. */
export function icmpChecksumHolds(packet: Uint8Array, start: number, end: number, pseudo: number): boolean {
  return end - start >= ICMP_HEADER && foldSum(sumWords(packet, start, end, pseudo)) === 0xffff;
}

/** Classifies a checked message. Time exceeded counts as the host being unreachable, as it means a routing loop. */
export function icmpKind(family: 4 | 6, type: number, code: number): IcmpKind {
  if (family === 4) {
    if (type === V4.echoRequest) return 'echo-request';
    if (type === V4.timeExceeded) return 'host-unreachable';
    if (type !== V4.unreachable) return 'other';
    if (code === 3) return 'port-unreachable';
    if (code === 4) return 'too-big';
    return code === 0 || code === 6 || code === 9 || code === 11 ? 'net-unreachable' : 'host-unreachable';
  }
  if (type === V6.echoRequest) return 'echo-request';
  if (type === V6.tooBig) return 'too-big';
  if (type === V6.timeExceeded) return 'host-unreachable';
  if (type !== V6.unreachable) return 'other';
  if (code === 4) return 'port-unreachable';
  return code === 0 ? 'net-unreachable' : 'host-unreachable';
}

/** The MTU that a 'too-big' message reports; 0 where an old router did not say. */
export function icmpMtu(family: 4 | 6, packet: Uint8Array, start: number): number {
  const low = ((packet[start + 6] as number) << 8) | (packet[start + 7] as number);
  if (family === 4) return low;
  return ((((packet[start + 4] as number) << 24) | ((packet[start + 5] as number) << 16)) >>> 0) + low;
}

/** Turns an echo request that stands at `start` into its reply; identifier, sequence and data stay. */
export function writeEchoReply(target: Uint8Array, start: number, end: number, family: 4 | 6, pseudo: number): void {
  finishIcmp(target, start, end, family === 4 ? V4.echoReply : V6.echoReply, 0, pseudo);
}

/**
 * Errors that a host sends. 'protocol': nobody takes what the packet carries; 'parameter' (IPv6): its header cannot be understood; 'host': what
 * stands at this address cannot be reached.
 */
export type IcmpComplaint = 'port' | 'protocol' | 'parameter' | 'host';

/**
 * Writes the header of an error at `start` for a quoted packet that already stands behind it, up to `end`. IPv6 says where in the packet
 * the trouble is, and for 'parameter' with `code` what kind.
 */
export function writeIcmpError(
  target: Uint8Array,
  start: number,
  end: number,
  family: 4 | 6,
  complaint: IcmpComplaint,
  problemAt: number,
  code: number,
  pseudo: number,
): void {
  target.fill(0, start + 4, start + 8);
  if (family === 4) return finishIcmp(target, start, end, V4.unreachable, complaint === 'port' ? 3 : complaint === 'host' ? 1 : 2, pseudo);
  if (complaint === 'port' || complaint === 'host') return finishIcmp(target, start, end, V6.unreachable, complaint === 'port' ? 4 : 3, pseudo);
  target[start + 6] = problemAt >> 8;
  target[start + 7] = problemAt & 0xff;
  finishIcmp(target, start, end, V6.parameterProblem, complaint === 'protocol' ? 1 : code, pseudo);
}

function finishIcmp(target: Uint8Array, start: number, end: number, type: number, code: number, pseudo: number): void {
  target[start] = type;
  target[start + 1] = code;
  target[start + 2] = 0;
  target[start + 3] = 0;
  const sum = finishChecksum(sumWords(target, start, end, pseudo));
  target[start + 2] = sum >> 8;
  target[start + 3] = sum & 0xff;
}
