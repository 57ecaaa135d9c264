// Firewall rules of the management service as the model's words: those between peers, and the pieces that route rules share with them.
import { hostPrefix, ipFromBytes, type IpPrefix, maskPrefix, parseIp } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import type { PacketFilter, PacketProtocol, PacketRule, PortRange } from '#model/network-map.ts';
import {
  type FirewallRule,
  type NetworkMap as NetworkMapMessage,
  type PortInfo,
  RuleAction,
  RuleDirection,
  RuleProtocol,
} from '#wire/proto/gen/management_pb.ts';
import { maxRules } from './constants.ts';

/** An empty list means open only where the message does not say that it is meant to be empty. */
export function filterFrom(message: NetworkMapMessage, log: Logger): PacketFilter {
  if (message.FirewallRules.length === 0) return message.firewallRulesIsEmpty ? { kind: 'rules', rules: [] } : { kind: 'open' };
  if (message.FirewallRules.length > maxRules) {
    log.error('too many firewall rules: nothing is admitted', { limit: maxRules }); // what is cut off could be what forbids
    return { kind: 'rules', rules: [] };
  }
  return { kind: 'rules', rules: message.FirewallRules.flatMap((rule) => rulesFrom(rule, log)) };
}

export const protocolFrom: Readonly<Partial<Record<number, PacketProtocol>>> = {
  [RuleProtocol.ALL]: 'all',
  [RuleProtocol.TCP]: 'tcp',
  [RuleProtocol.UDP]: 'udp',
  [RuleProtocol.ICMP]: 'icmp',
};

/** What cannot be read grants nothing: an accepting rule is dropped, any other is read as wide as it may be meant. */
function rulesFrom(rule: FirewallRule, log: Logger): readonly PacketRule[] {
  const accept = rule.Action === RuleAction.ACCEPT;
  const protocol = protocolFrom[rule.Protocol];
  const ports = portsFrom(rule);
  const sources = sourcesFrom(rule);
  const readable = protocol !== undefined && ports !== 'bad' && sources !== 'bad';
  if (!readable) {
    log.warn(accept ? 'firewall rule dropped' : 'firewall rule widened', { protocol: rule.Protocol, peer: rule.PeerIP.slice(0, 64) });
    if (accept) return [];
  }
  return (sources === 'bad' ? [undefined] : sources).map((peer) => ({
    direction: rule.Direction === RuleDirection.OUT ? 'out' : 'in',
    action: accept ? 'accept' : 'drop',
    protocol: protocol ?? 'all',
    peer,
    ports: ports === 'bad' ? undefined : ports,
  }));
}

/** The newer field where it is filled, else the older text; all-zero means any address, whatever its prefix length. */
function sourcesFrom(rule: FirewallRule): readonly (IpPrefix | undefined)[] | 'bad' {
  const given = rule.sourcePrefixes.length > 0 ? rule.sourcePrefixes.map((bytes) => prefixFrom(bytes)) : [fromText(rule.PeerIP)];
  if (given.some((prefix) => prefix === undefined)) return 'bad';
  return given.filter((prefix) => prefix !== undefined).map((prefix) => (isAny(prefix) ? anyOf(prefix.address.family, rule) : maskPrefix(prefix)));
}

/** Any address of one family where both are told apart, any at all in the older form. */
function anyOf(family: 4 | 6, rule: FirewallRule): IpPrefix | undefined {
  return rule.sourcePrefixes.length === 0 ? undefined : { address: { family, bytes: new Uint8Array(family === 4 ? 4 : 16) }, bits: 0 };
}

function fromText(text: string): IpPrefix | undefined {
  const ip = parseIp(text);
  return ip === undefined ? undefined : hostPrefix(ip);
}

function isAny(prefix: IpPrefix): boolean {
  return prefix.address.bytes.every((byte) => byte === 0);
}

/** Address bytes and one byte of prefix length. */
export function prefixFrom(bytes: Uint8Array): IpPrefix | undefined {
  const address = bytes.length === 5 || bytes.length === 17 ? ipFromBytes(bytes.subarray(0, -1)) : undefined;
  const bits = bytes.at(-1) ?? 0;
  return address === undefined || bits > 8 * address.bytes.length ? undefined : { address, bits };
}

function portsFrom(rule: FirewallRule): PortRange | undefined | 'bad' {
  const range = rule.PortInfo === undefined ? undefined : portInfoFrom(rule.PortInfo);
  if (range !== undefined) return range;
  if (rule.Port === '' || rule.Port === '0') return undefined;
  const port = /^[0-9]{1,5}$/.test(rule.Port) ? Number(rule.Port) : -1;
  return port >= 1 && port <= 65_535 ? { start: port, end: port } : 'bad';
}

export function portInfoFrom(info: PortInfo): PortRange | undefined | 'bad' {
  const { portSelection } = info;
  if (portSelection.case === undefined) return undefined;
  const [start, end] =
    portSelection.case === 'port' ? [portSelection.value, portSelection.value] : [portSelection.value.start, portSelection.value.end];
  if (start === 0 && end === 0) return undefined; // as stock clients read it
  return start <= end && end <= 65_535 ? { start, end } : 'bad';
}
