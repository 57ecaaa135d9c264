// Packet rules as messages (netbird-wire §2.6).
import type { MessageInitShape } from '@bufbuild/protobuf';
import { formatIp, type IpAddress, type IpPrefix } from '#lib/ip.ts';
import type { PacketProtocol, PacketRule, PortRange } from '#model/network-map.ts';
import { type FirewallRuleSchema, type PortInfoSchema, RuleAction, RuleDirection, RuleProtocol } from '#wire/proto/gen/management_pb.ts';

const anyV4: IpPrefix = { address: { family: 4, bytes: new Uint8Array(4) }, bits: 0 };
const anyV6: IpPrefix = { address: { family: 6, bytes: new Uint8Array(16) }, bits: 0 };

export const protocolOf: Readonly<Record<PacketProtocol, RuleProtocol>> = {
  all: RuleProtocol.ALL,
  tcp: RuleProtocol.TCP,
  udp: RuleProtocol.UDP,
  icmp: RuleProtocol.ICMP,
};

/** One message per address: a stock client reads the first one of a rule only. */
export function firewallRulesOf(rule: PacketRule, hasV6: boolean): MessageInitShape<typeof FirewallRuleSchema>[] {
  const peers = rule.peer === undefined ? [anyV4, anyV6] : [rule.peer];
  return peers
    .filter((peer) => hasV6 || peer.address.family === 4)
    .map((peer) => ({
      PeerIP: formatIp(peer.address),
      Direction: rule.direction === 'in' ? RuleDirection.IN : RuleDirection.OUT,
      Action: rule.action === 'accept' ? RuleAction.ACCEPT : RuleAction.DROP,
      Protocol: protocolOf[rule.protocol],
      Port: rule.ports !== undefined && rule.ports.start === rule.ports.end ? String(rule.ports.start) : '',
      ...(rule.ports === undefined ? {} : { PortInfo: portInfoOf(rule.ports) }),
      sourcePrefixes: [compact(peer)],
    }));
}

export function portInfoOf(ports: PortRange): MessageInitShape<typeof PortInfoSchema> {
  return ports.start === ports.end
    ? { portSelection: { case: 'port', value: ports.start } }
    : { portSelection: { case: 'range', value: { start: ports.start, end: ports.end } } };
}

/** Address bytes and one byte of prefix length. */
export function compact(prefix: { readonly address: IpAddress; readonly bits: number }): Uint8Array {
  const { bytes } = prefix.address;
  const made = new Uint8Array(bytes.length + 1);
  made.set(bytes);
  made[bytes.length] = prefix.bits;
  return made;
}
