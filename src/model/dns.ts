// The network's names: zones with records, and who is asked for the rest.
import { domainToASCII } from 'node:url';
import type { IpAddress } from '#lib/ip.ts';

export type DnsRecordType = 'A' | 'AAAA' | 'CNAME' | 'PTR';

export interface DnsRecord {
  /** Canonical and whole; `*.` in front stands for one label. */
  readonly name: string;
  readonly type: DnsRecordType;
  readonly ttlSeconds: number;
  /** An address, or a name. */
  readonly data: string;
}

export interface DnsZone {
  /** Canonical; empty is the root. */
  readonly domain: string;
  readonly records: readonly DnsRecord[];
  /** What is not in the zone does not exist; otherwise it is asked for elsewhere. */
  readonly authoritative: boolean;
  /** The zone's name is not to be tried behind short names. */
  readonly searchDisabled: boolean;
}

export interface NameServer {
  readonly ip: IpAddress;
  readonly port: number;
}

/** Servers that stand in for each other, for names under `domains`. */
export interface NameServerGroup {
  readonly servers: readonly NameServer[];
  /** Asked for every name that no other group has; `domains` is empty then. */
  readonly primary: boolean;
  readonly domains: readonly string[];
  readonly searchDomains: boolean;
}

/** Undefined in a map where the control plane leaves names alone. */
export interface DnsConfig {
  readonly zones: readonly DnsZone[];
  readonly nameServerGroups: readonly NameServerGroup[];
}

/** Lower case, ASCII (IDNA), no final dot; undefined where it is no name. `wildcard` permits `*.` in front. The root is the empty text. */
export function canonicalDomain(text: string, wildcard = false): string | undefined {
  const bare = text.replace(/\.$/, '');
  if (bare === '') return text === '.' ? '' : undefined;
  const star = bare.startsWith('*.');
  if (star && !wildcard) return undefined;
  const name = star ? bare.slice(2) : bare;
  // The URL rules would take numbers for addresses and know no underscores: only what is not ASCII goes that way.
  const ascii = /^[\x21-\x7e]*$/.test(name) ? name.toLowerCase() : domainToASCII(name);
  const good = ascii.length > 0 && ascii.length <= 253 && ascii.split('.').every((label) => /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label));
  return good ? `${star ? '*.' : ''}${ascii}` : undefined;
}

/** Whether a canonical name is the pattern's, or for `*.zone` anything below the zone. */
export function matchesDomain(pattern: string, name: string): boolean {
  return pattern.startsWith('*.') ? name.length > pattern.length - 1 && name.endsWith(pattern.slice(1)) : name === pattern;
}

/** Whether a canonical name is the zone's own or below it; the root holds all. */
export function isUnder(zone: string, name: string): boolean {
  return zone === '' || name === zone || name.endsWith(`.${zone}`);
}
