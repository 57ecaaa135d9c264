// Networks behind peers and names, as they stand in the saved map.
import { formatIp, formatPrefix, parseIp } from '#lib/ip.ts';
import type { DnsConfig, DnsZone, NameServer, NameServerGroup } from '#model/dns.ts';
import { parsePublicKey } from '#model/ids.ts';
import type { Route, RouteDestination, RouteRule, Routing } from '#model/routes.ts';
import { Fields, prefixFrom, textFrom } from './saved-fields.ts';

export function routingJson(routing: Routing): unknown {
  return {
    ...routing,
    routes: routing.routes.map((route) => ({ ...route, destination: destinationJson(route.destination) })),
    rules: routing.rules.map((rule) => ({
      ...rule,
      sources: rule.sources.map((source) => formatPrefix(source)),
      destination: destinationJson(rule.destination),
    })),
  };
}

export function dnsJson(dns: DnsConfig): unknown {
  return {
    zones: dns.zones,
    nameServerGroups: dns.nameServerGroups.map((group) => ({ ...group, servers: group.servers.map(({ ip, port }) => ({ ip: formatIp(ip), port })) })),
  };
}

/** A prefix, or the list of names. */
function destinationJson(destination: RouteDestination): unknown {
  return destination.kind === 'prefix' ? formatPrefix(destination.prefix) : destination.domains;
}

/** Throws where anything is not as it was written. */
export function routingFrom(fields: Fields): Routing {
  return {
    routes: fields.list('routes').map((value) => routeFrom(new Fields(value))),
    rules: fields.list('rules').map((value) => ruleFrom(new Fields(value))),
    resolveAtRouter: fields.flag('resolveAtRouter'),
    forwarderPort: fields.number('forwarderPort'),
  };
}

function routeFrom(fields: Fields): Route {
  const peer = parsePublicKey(fields.text('peer'));
  if (peer === undefined) throw new TypeError('peer');
  return {
    id: fields.text('id'),
    netId: fields.text('netId'),
    destination: destinationFrom(fields),
    peer,
    metric: fields.number('metric'),
    masquerade: fields.flag('masquerade'),
    keepAddresses: fields.flag('keepAddresses'),
    autoApply: fields.flag('autoApply'),
  };
}

function ruleFrom(fields: Fields): RouteRule {
  const ports = fields.has('ports') ? fields.object('ports') : undefined;
  return {
    action: fields.oneOf('action', ['accept', 'drop']),
    sources: fields.list('sources').map((value) => prefixFrom(value)),
    destination: destinationFrom(fields),
    protocol: fields.oneOf('protocol', ['all', 'tcp', 'udp', 'icmp']),
    ports: ports === undefined ? undefined : { start: ports.number('start'), end: ports.number('end') },
    routeId: fields.text('routeId'),
  };
}

function destinationFrom(fields: Fields): RouteDestination {
  if (!fields.isList('destination')) return { kind: 'prefix', prefix: fields.prefix('destination') };
  return { kind: 'domains', domains: fields.list('destination').map((value) => textFrom(value)) };
}

/** Throws where anything is not as it was written. */
export function dnsFrom(fields: Fields): DnsConfig {
  return {
    zones: fields.list('zones').map((value) => zoneFrom(new Fields(value))),
    nameServerGroups: fields.list('nameServerGroups').map((value) => groupFrom(new Fields(value))),
  };
}

function zoneFrom(fields: Fields): DnsZone {
  return {
    domain: fields.text('domain'),
    records: fields.list('records').map((value) => {
      const record = new Fields(value);
      return {
        name: record.text('name'),
        type: record.oneOf('type', ['A', 'AAAA', 'CNAME', 'PTR']),
        ttlSeconds: record.number('ttlSeconds'),
        data: record.text('data'),
      };
    }),
    authoritative: fields.flag('authoritative'),
    searchDisabled: fields.flag('searchDisabled'),
  };
}

function groupFrom(fields: Fields): NameServerGroup {
  return {
    servers: fields.list('servers').map((value) => serverFrom(new Fields(value))),
    primary: fields.flag('primary'),
    domains: fields.list('domains').map((value) => textFrom(value)),
    searchDomains: fields.flag('searchDomains'),
  };
}

function serverFrom(fields: Fields): NameServer {
  const ip = parseIp(fields.text('ip'));
  if (ip === undefined) throw new TypeError('ip');
  return { ip, port: fields.number('port') };
}
