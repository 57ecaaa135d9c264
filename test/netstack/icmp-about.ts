// ICMP errors about segments that a stack under test has sent, from its scripted peer.
import { IPV4_HEADER, PROTOCOL, writeIpv4 } from '#wire/ipv4.ts';
import { checksum } from '#wire/checksum.ts';
import { FLAG, TCP_HEADER, writeTcp } from '#wire/tcp.ts';
import { A4, B4 } from './link.ts';
import type { Script } from './script.ts';

const KINDS: Readonly<Record<string, readonly [number, number]>> = {
  'net-unreachable': [3, 0],
  'host-unreachable': [3, 1],
  'port-unreachable': [3, 3],
  'too-big': [3, 4],
  'time-exceeded': [11, 0],
};

/** An error (IPv4) about the segment at `seq`, counted from the stack's first number. */
export function buildIcmpAbout(script: Script, kind: string, mtu: number, seq: number): Uint8Array {
  const [type, code] = KINDS[kind] ?? [3, 1];
  const quoted = IPV4_HEADER + 8;
  const message = new Uint8Array(quoted + IPV4_HEADER + TCP_HEADER);
  const inner = message.subarray(quoted);
  writeTcp(inner, IPV4_HEADER, TCP_HEADER, script.stackPort, script.peerPort, (script.iss + seq) | 0, 0, FLAG.ack, 0);
  writeIpv4(inner, inner.length, PROTOCOL.tcp, A4.bytes, B4.bytes);
  const view = new DataView(message.buffer);
  message[IPV4_HEADER] = type;
  message[IPV4_HEADER + 1] = code;
  view.setUint16(IPV4_HEADER + 6, mtu);
  view.setUint16(IPV4_HEADER + 2, checksum(message, IPV4_HEADER, message.length));
  writeIpv4(message, message.length, PROTOCOL.icmp, B4.bytes, A4.bytes);
  return message;
}
