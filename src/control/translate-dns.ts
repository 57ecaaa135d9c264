// The network's names as the model's words (netbird-wire §2.6). What cannot be read is dropped: a name is then unknown, or asked for elsewhere.
import { formatIp, parseIp } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import {
  canonicalDomain,
  type DnsConfig,
  type DnsRecord,
  type DnsRecordType,
  type DnsZone,
  type NameServer,
  type NameServerGroup,
} from '#model/dns.ts';
import type {
  CustomZone,
  DNSConfig as DnsConfigMessage,
  NameServer as NameServerMessage,
  NameServerGroup as NameServerGroupMessage,
  SimpleRecord,
} from '#wire/proto/gen/management_pb.ts';
import { maxDnsRecords, maxNameServerGroups, maxNameServers, maxRecordTtlSeconds, maxZones } from './constants.ts';

/** Undefined where the control plane leaves names alone. */
export function dnsFrom(message: DnsConfigMessage | undefined, log: Logger): DnsConfig | undefined {
  if (message?.ServiceEnable !== true) return undefined;
  let room = maxDnsRecords;
  const zones: DnsZone[] = [];
  for (const entry of message.CustomZones.slice(0, maxZones)) {
    const zone = zoneFrom(entry, message.CustomZones.length === 1, room, log);
    if (zone === undefined) continue;
    room -= zone.records.length;
    zones.push(zone);
  }
  const nameServerGroups = message.NameServerGroups.slice(0, maxNameServerGroups).flatMap((group) => groupFrom(group, log) ?? []);
  return { zones, nameServerGroups };
}

/** A zone that is alone is the last word on its names, whatever its flag says: it is that of the peers. */
function zoneFrom(entry: CustomZone, alone: boolean, room: number, log: Logger): DnsZone | undefined {
  const domain = canonicalDomain(entry.Domain);
  if (domain === undefined) {
    log.warn('dns zone dropped from the network map', { zone: entry.Domain.slice(0, 255) });
    return undefined;
  }
  if (entry.Records.length > room) log.error('too many dns records: the rest is left out', { limit: maxDnsRecords });
  const records = entry.Records.slice(0, room).flatMap((record) => recordFrom(record, log) ?? []);
  return { domain, records, authoritative: alone || !entry.NonAuthoritative, searchDisabled: entry.SearchDomainDisabled };
}

const recordTypes: Readonly<Partial<Record<number, DnsRecordType>>> = { 1: 'A', 5: 'CNAME', 12: 'PTR', 28: 'AAAA' };

function recordFrom(record: SimpleRecord, log: Logger): DnsRecord | undefined {
  const name = canonicalDomain(record.Name, true);
  const type = recordTypes[Number(record.Type)];
  const data = type === undefined ? undefined : dataFrom(type, record.RData);
  if (name === undefined || type === undefined || data === undefined || (record.Class !== '' && record.Class !== 'IN')) {
    log.warn('dns record dropped from the network map', { name: record.Name.slice(0, 255), type: Number(record.Type) });
    return undefined;
  }
  return { name, type, data, ttlSeconds: Math.min(Math.max(Number(record.TTL), 0), maxRecordTtlSeconds) };
}

function dataFrom(type: DnsRecordType, text: string): string | undefined {
  if (type === 'CNAME' || type === 'PTR') return canonicalDomain(text);
  const ip = parseIp(text);
  return ip?.family === (type === 'A' ? 4 : 6) ? formatIp(ip) : undefined;
}

/** A group that no name leads to is of no use. */
function groupFrom(group: NameServerGroupMessage, log: Logger): NameServerGroup | undefined {
  const servers = group.NameServers.slice(0, maxNameServers).flatMap((server) => serverFrom(server) ?? []);
  const domains = group.Domains.map((text) => canonicalDomain(text, true)).filter((domain) => domain !== undefined);
  if (servers.length === 0 || (domains.length === 0 && !group.Primary)) {
    log.warn('nameserver group dropped from the network map', { servers: group.NameServers.length, domains: group.Domains.length });
    return undefined;
  }
  return { servers, primary: group.Primary, domains: group.Primary ? [] : domains, searchDomains: group.SearchDomainsEnabled };
}

/** Type 1 is plain DNS over UDP; there is no other that we know. */
function serverFrom({ IP, NSType, Port }: NameServerMessage): NameServer | undefined {
  const ip = parseIp(IP);
  const port = Port === 0n ? 53 : Number(Port);
  return ip === undefined || NSType !== 1n || port < 1 || port > 65_535 ? undefined : { ip, port };
}
