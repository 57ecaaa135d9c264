// Checks that networks, routes and names share. Each throws what the person at the API reads.
import { formatPrefix, maskPrefix, parseIp, parsePrefix, hostPrefix } from '#lib/ip.ts';
import { canonicalDomain } from '#model/dns.ts';
import type { GroupId, PeerId } from '#model/ids.ts';
import type { ResourceType } from '#model/network-plan.ts';
import type { Tables } from '../store/store.ts';
import { checkGroups } from './checks.ts';
import { descriptionLength, maxMetric, minMetric } from './constants.ts';
import { domainErrorNaming, invalid } from './errors.ts';

export function checkDescription(text: string): string {
  if (text.length > descriptionLength) throw invalid(`A description has at most ${descriptionLength} characters.`);
  return text;
}

export function checkMetric(metric: number): number {
  if (!Number.isInteger(metric) || metric < minMetric || metric > maxMetric) throw invalid(`A metric is a number from ${minMetric} to ${maxMetric}.`);
  return metric;
}

/** A range with the bits behind its length cleared: what leads there is one thing, however it was typed. */
export function checkPrefix(text: string): string {
  const prefix = parsePrefix(text.trim());
  if (prefix === undefined) throw invalid(`"${text}" is not an address range such as 10.0.0.0/24.`);
  return formatPrefix(maskPrefix(prefix));
}

/** A domain in its canonical form; it may begin with `*.`. */
export function checkDomainName(text: string): string {
  const name = canonicalDomain(text.trim(), true);
  // no top-level domain is a number: what ends in one is an address that was mistyped (RFC 3696 §2)
  if (name === undefined || name === '' || /(?:^|\.)[0-9]+$/.test(name)) throw invalid(`"${text}" is not a domain name.`);
  return name;
}

/** What an address means: one address or a range of one is a host, a longer range a subnet, everything else a domain. */
export function checkAddress(text: string): { readonly type: ResourceType; readonly address: string } {
  const ip = parseIp(text.trim());
  if (ip !== undefined) return { type: 'host', address: formatPrefix(hostPrefix(ip)) };
  const prefix = parsePrefix(text.trim());
  if (prefix === undefined) return { type: 'domain', address: checkDomainName(text) };
  if (prefix.bits === 0) throw invalid('Everything is no resource. For an exit node make a route.');
  return { type: prefix.bits === 8 * prefix.address.bytes.length ? 'host' : 'subnet', address: formatPrefix(maskPrefix(prefix)) };
}

/** Who carries a route: one peer or the peers of some groups, and not both. */
export async function checkCarriers(
  tables: Tables,
  { peer, peerGroups }: { readonly peer: PeerId | undefined; readonly peerGroups: readonly GroupId[] },
): Promise<{ readonly peer: PeerId | undefined; readonly peerGroups: readonly GroupId[] }> {
  if ((peer === undefined) === (peerGroups.length === 0)) throw invalid('A route needs either a peer or groups of peers.');
  if (peer !== undefined) await checkPeer(tables, peer);
  return { peer, peerGroups: await checkGroups(tables, peerGroups) };
}

/** That there is such a peer, and that it is not a gateway's. */
export async function checkPeer(tables: Tables, id: PeerId): Promise<void> {
  const peer = await tables.peers.find(id);
  if (peer === undefined || peer.proxyCluster !== undefined) throw domainErrorNaming('DOMAIN_RESOURCE_UNKNOWN', id);
}
