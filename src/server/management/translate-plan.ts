// Networks behind peers and names as messages (netbird-wire §2.6): what a stock client would end over is never sent.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { formatIp, formatPrefix, type IpPrefix } from '#lib/ip.ts';
import type { DnsConfig, DnsRecord, DnsRecordType, DnsZone, NameServerGroup } from '#model/dns.ts';
import type { Route, RouteDestination, RouteRule } from '#model/routes.ts';
import {
  type CustomZoneSchema,
  type DNSConfigSchema,
  type NameServerGroupSchema,
  type RouteFirewallRuleSchema,
  type RouteSchema,
  RuleAction,
  type SimpleRecordSchema,
} from '#wire/proto/gen/management_pb.ts';
import { portInfoOf, protocolOf } from './translate-rules.ts';

/** What stands in for the network of a route to names: an address that is nobody's (RFC 5737). */
const placeholder = '192.0.2.0/32';

const networkTypes = { v4: 1n, v6: 2n, domains: 3n } as const;

export function routeOf(route: Route): MessageInitShape<typeof RouteSchema> {
  const { destination } = route;
  return {
    ID: route.id,
    Network: networkOf(destination),
    NetworkType: destination.kind === 'domains' ? networkTypes.domains : destination.prefix.address.family === 4 ? networkTypes.v4 : networkTypes.v6,
    Peer: route.peer,
    Metric: BigInt(route.metric),
    Masquerade: route.masquerade,
    NetID: route.netId,
    Domains: destination.kind === 'domains' ? [...destination.domains] : [],
    keepRoute: route.keepAddresses,
    skipAutoApply: !route.autoApply,
  };
}

export function routeRuleOf(rule: RouteRule): MessageInitShape<typeof RouteFirewallRuleSchema> {
  const { destination } = rule;
  return {
    sourceRanges: sourceRangesOf(rule.sources),
    action: rule.action === 'accept' ? RuleAction.ACCEPT : RuleAction.DROP,
    destination: networkOf(destination),
    protocol: protocolOf[rule.protocol],
    // always there: stock clients read an empty one as every port
    portInfo: rule.ports === undefined ? {} : portInfoOf(rule.ports),
    isDynamic: destination.kind === 'domains',
    domains: destination.kind === 'domains' ? [...destination.domains] : [],
    RouteID: rule.routeId,
  };
}

export function sourceRangesOf(sources: readonly IpPrefix[]): string[] {
  return sources.map((prefix) => formatPrefix(prefix));
}

function networkOf(destination: RouteDestination): string {
  return destination.kind === 'domains' ? placeholder : formatPrefix(destination.prefix);
}

/** Without DNS the message says so: a stock client reads an absent one the same way. */
export function dnsConfigOf(dns: DnsConfig | undefined, forwarderPort: number): MessageInitShape<typeof DNSConfigSchema> {
  if (dns === undefined) return { ServiceEnable: false };
  return {
    ServiceEnable: true,
    NameServerGroups: dns.nameServerGroups.map((group) => nameServerGroupOf(group)),
    CustomZones: dns.zones.map((zone) => zoneOf(zone)),
    ForwarderPort: BigInt(forwarderPort),
  };
}

function nameServerGroupOf(group: NameServerGroup): MessageInitShape<typeof NameServerGroupSchema> {
  return {
    NameServers: group.servers.map(({ ip, port }) => ({ IP: formatIp(ip), NSType: 1n, Port: BigInt(port) })),
    Primary: group.primary,
    Domains: [...group.domains],
    SearchDomainsEnabled: group.searchDomains,
  };
}

/** Names of zones end with a dot; names of records do in the zones that people made, and do not in the peers' own. */
export function zoneOf(zone: DnsZone): MessageInitShape<typeof CustomZoneSchema> {
  return {
    Domain: `${zone.domain}.`,
    Records: zone.records.map((record) => recordOf(record, !zone.authoritative)),
    SearchDomainDisabled: zone.searchDisabled,
    NonAuthoritative: !zone.authoritative,
  };
}

const recordTypes: Readonly<Record<DnsRecordType, bigint>> = { A: 1n, CNAME: 5n, PTR: 12n, AAAA: 28n };

export function recordOf(record: DnsRecord, dotted: boolean): MessageInitShape<typeof SimpleRecordSchema> {
  const named = record.type === 'CNAME' || record.type === 'PTR';
  return {
    Name: dotted ? `${record.name}.` : record.name,
    Type: recordTypes[record.type],
    Class: 'IN',
    TTL: BigInt(record.ttlSeconds),
    RData: named ? `${record.data}.` : record.data,
  };
}
