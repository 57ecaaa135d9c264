// Checks that many use cases share. Each throws what the person at the API reads.
import { domainToASCII } from 'node:url';
import { formatIp, parseIp } from '#lib/ip.ts';
import type { GroupId } from '#model/ids.ts';
import type { Tables } from '../store/store.ts';
import { groupsPerList, nameLength } from './constants.ts';
import { domainError, domainErrorNaming, invalid } from './errors.ts';

/** A name without surrounding blanks: 1 to 255 characters, no control characters. */
export function checkName(name: string, what: string): string {
  const trimmed = name.trim();
  if (trimmed === '' || trimmed.length > nameLength) throw invalid(`${what} must have 1 to ${nameLength} characters.`);
  if (/\p{Cc}/u.test(trimmed)) throw invalid(`${what} must not have control characters.`);
  return trimmed;
}

/** That all groups exist; returns each once. The group All is allowed unless `withoutSystem`. */
export async function checkGroups(tables: Tables, ids: readonly GroupId[], withoutSystem = false): Promise<readonly GroupId[]> {
  if (ids.length > groupsPerList) throw invalid(`A list may name at most ${groupsPerList} groups.`);
  if (ids.length === 0) return [];
  const known = await tables.groups.names();
  for (const id of ids) {
    const group = known.get(id);
    if (group === undefined) throw domainErrorNaming('DOMAIN_GROUP_UNKNOWN', id);
    if (group.system && withoutSystem) throw domainError('DOMAIN_GROUP_SYSTEM');
  }
  return [...new Set(ids)];
}

export function checkLimit(count: number, limit: number): void {
  if (count >= limit) throw domainErrorNaming('DOMAIN_LIMIT', `The limit is ${limit}.`);
}

/** A host name in its canonical form: ASCII, lower case, no trailing dot, letters, digits and hyphens (RFC 1123 §2.1); else undefined. */
export function canonicalHost(name: string): string | undefined {
  const ascii = domainToASCII(name.trim().replace(/\.$/, '')).toLowerCase();
  if (ascii === '' || ascii.length > 253 || parseIp(ascii) !== undefined) return undefined;
  const labels = ascii.split('.');
  return labels.every((label) => /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(label)) ? ascii : undefined;
}

/** A service's domain in its canonical form: a host name, or `*.` and one, which stands for any single label below it; else undefined. */
export function canonicalDomain(name: string): string | undefined {
  const text = name.trim();
  const wild = text.startsWith('*.');
  const host = canonicalHost(wild ? text.slice(2) : text);
  return host === undefined || !wild ? host : host.length > 251 ? undefined : `*.${host}`;
}

/** The address of a cluster of gateways in its canonical form, a host name or an IP address; else undefined. */
export function canonicalCluster(address: string): string | undefined {
  const ip = parseIp(address);
  return ip === undefined ? canonicalHost(address) : formatIp(ip);
}

/** Whether `name` is `parent` or below it. */
export function isAtOrBelow(name: string, parent: string): boolean {
  return name === parent || name.endsWith(`.${parent}`);
}
