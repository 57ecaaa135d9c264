// Where a service is published: the cluster that its domain leads to, and the port there.
import type { ServiceId } from '#model/ids.ts';
import { hasPages, type PlacedService, placeOf } from '#model/service.ts';
import { listenPorts } from '#model/stream.ts';
import type { DomainRecord } from '../store/cluster-table.ts';
import type { ServiceRecord } from '../store/service-table.ts';
import type { Tables } from '../store/store.ts';
import { canonicalHost, isAtOrBelow } from './checks.ts';
import { autoPortFirst, autoPortLast } from './constants.ts';
import type { Context } from './context.ts';
import type { ServiceInput } from './contract.ts';
import { proofRecord } from './domain-proof.ts';
import { domainError, domainErrorNaming } from './errors.ts';
import { randomBelow } from './ids.ts';

/** Tries at random before the ports are gone through. */
const randomTries = 100;

interface Place {
  readonly domain: string;
  readonly cluster: string;
  readonly validated: boolean;
}

async function placesOf(tables: Tables): Promise<{ readonly all: readonly Place[]; readonly custom: readonly DomainRecord[] }> {
  const free = (await tables.clusters.list()).map(({ address }) => ({ domain: address, cluster: address, validated: true }));
  const custom = await tables.clusters.domains();
  return { all: [...free, ...custom], custom };
}

/** The longest that the name is at or below. */
function longestOf(places: readonly Place[], name: string): Place | undefined {
  return places
    .filter(({ domain }) => isAtOrBelow(name, domain))
    .reduce<Place | undefined>((best, place) => (best === undefined || place.domain.length > best.domain.length ? place : best), undefined);
}

/** Whose a host is: the cluster that serves what is at or below that name, or undefined where none does. */
export async function clustersByHost(tables: Tables): Promise<(host: string) => string | undefined> {
  const places = (await placesOf(tables)).all.filter(({ validated }) => validated);
  return (host) => longestOf(places, canonicalHost(host) ?? host)?.cluster;
}

/** The address of the cluster: the longest cluster address or custom domain that the domain is at or below. It must be validated. */
export async function clusterOf(tables: Tables, domain: string): Promise<string> {
  const { all, custom } = await placesOf(tables);
  const longest = longestOf(all, domain);
  if (longest === undefined) throw domainError('DOMAIN_SERVICE_CLUSTER_UNKNOWN');
  const unproven = longest.validated ? undefined : custom.find((entry) => entry.domain === longest.domain);
  if (unproven !== undefined) {
    const { name, value } = proofRecord(unproven);
    const txt = unproven.challenge === '' ? '' : `a TXT record ${name} with ${value}, or `;
    const cname = `a CNAME validation.${unproven.domain} to ${unproven.cluster}`;
    throw domainErrorNaming('DOMAIN_SERVICE_DOMAIN_NOT_VALIDATED', `Put ${txt}${cname} into DNS, and validate ${unproven.domain} then.`);
  }
  return longest.cluster;
}

/** One domain may carry an http service, and beside it others on ports of their own. DOMAIN_SERVICE_DOMAIN_TAKEN says by whom. */
export async function checkDomainFree(tables: Tables, id: ServiceId, input: PlacedService): Promise<void> {
  for (const other of await tables.services.listByDomain(input.domain)) {
    if (other.id === id) continue;
    const pages = hasPages(input) && hasPages(other);
    const name = input.mode === 'tls' && other.mode === 'tls' && input.listenPort === other.listenPort;
    if (!pages && !name && placeOf(input) !== placeOf(other)) continue;
    const what = name
      ? `It is ${other.name}'s on this port.`
      : `It is ${other.name}'s, and only one of them can have pages there, its own or to sign in at.`;
    throw domainErrorNaming('DOMAIN_SERVICE_DOMAIN_TAKEN', what);
  }
}

/**
 * The listening port (netbird-features A2). tcp and udp ports are one service's at a cluster; tls services share one, told apart by name, and
 * may share it with a tcp service, which gets what no name claims.
 */
export async function portOf(
  { random }: Context,
  tables: Tables,
  id: ServiceId,
  cluster: string,
  { mode, listenPort, stream }: ServiceInput,
  old: ServiceRecord | undefined,
): Promise<{ readonly listenPort: number | undefined; readonly autoAssigned: boolean }> {
  if (mode === 'http' || mode === 'tls') return { listenPort, autoAssigned: false };
  const taken = await tables.services.ports(cluster, mode);
  const isFree = (port: number): boolean => (taken.get(port)?.id ?? id) === id;
  if (listenPort !== undefined) {
    for (const port of listenPorts(listenPort, stream.portRanges)) {
      if (!isFree(port)) throw domainErrorNaming('DOMAIN_SERVICE_PORT_TAKEN', `${mode} port ${port} is ${taken.get(port)?.name ?? ''}'s.`);
    }
    return { listenPort, autoAssigned: old?.listenPort === listenPort && old.portAutoAssigned };
  }
  if (old?.listenPort !== undefined && isFree(old.listenPort)) return { listenPort: old.listenPort, autoAssigned: old.portAutoAssigned };
  for (let i = 0; i < randomTries; i++) {
    const port = autoPortFirst + randomBelow(random, autoPortLast - autoPortFirst + 1);
    if (isFree(port)) return { listenPort: port, autoAssigned: true };
  }
  for (let port = autoPortFirst; port <= autoPortLast; port++) {
    if (isFree(port)) return { listenPort: port, autoAssigned: true };
  }
  throw domainError('DOMAIN_SERVICE_NO_PORT');
}
