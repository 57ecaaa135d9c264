// Where the targets of services are: the address of a peer, the address or a name of a resource, or what the target itself says.
import { formatIp, parseIp, parsePrefix, prefixContains } from '#lib/ip.ts';
import { matchesDomain } from '#model/dns.ts';
import { asId, type GroupId, type PeerId } from '#model/ids.ts';
import type { NetworkResource } from '#model/network-plan.ts';
import type { Group, Peer } from '#model/network.ts';
import type { ServiceTarget } from '#model/service.ts';
import type { Tables } from '../store/store.ts';
import { canonicalHost } from './checks.ts';
import { domainErrorNaming, invalid } from './errors.ts';

export class TargetHosts {
  readonly #peers: ReadonlyMap<string, Peer>;
  readonly #resources: ReadonlyMap<string, NetworkResource>;
  readonly #groups: ReadonlyMap<string, Group>;

  constructor(peers: readonly Peer[], resources: readonly NetworkResource[], groups: readonly Group[]) {
    this.#peers = new Map(peers.map((peer) => [peer.id, peer]));
    this.#resources = new Map(resources.map((resource) => [resource.id, resource]));
    this.#groups = new Map(groups.map((group) => [group.id, group]));
  }

  /** Every host that the target stands for; none where it is gone or switched off. */
  hostsOf(target: ServiceTarget): readonly string[] {
    if (target.targetType === 'peer' || target.targetType === 'group') return this.peersOf(target).map(({ ipv4 }) => ipv4);
    const host = this.hostOf(target);
    return host === undefined ? [] : [host];
  }

  /** The peers of a target that is a peer or a group of them; gateways' own are never among them. */
  peersOf({ targetType, targetId }: ServiceTarget): readonly Peer[] {
    const ids = targetType === 'peer' ? [targetId] : targetType === 'group' ? (this.#groups.get(targetId)?.peers ?? []) : [];
    return ids.flatMap((id) => this.#peers.get(id) ?? []).filter(({ proxyCluster }) => proxyCluster === undefined);
  }

  /** The one host of a target; undefined for a group, and where the peer is gone, or the resource is gone or switched off. */
  hostOf(target: ServiceTarget): string | undefined {
    switch (target.targetType) {
      case 'peer':
        return this.#peers.get(target.targetId)?.ipv4;
      case 'group':
        return undefined;
      case 'cluster':
        return target.host;
      case 'host':
      case 'subnet':
      case 'domain': {
        const resource = this.resourceOf(target);
        return resource?.enabled === true ? hostIn(resource, target.host) : undefined;
      }
    }
  }

  resourceOf({ targetType, targetId }: ServiceTarget): NetworkResource | undefined {
    const resource = this.#resources.get(targetId);
    return resource?.type === targetType ? resource : undefined;
  }
}

/** For all services there are. */
export async function allTargetHosts(tables: Tables): Promise<TargetHosts> {
  return new TargetHosts(await tables.peers.list(), await tables.resources.list(), await tables.groups.list());
}

/** For these targets only. */
export async function targetHosts(tables: Tables, targets: readonly ServiceTarget[]): Promise<TargetHosts> {
  const peers: Peer[] = [];
  const resources: NetworkResource[] = [];
  const groups: Group[] = [];
  for (const { targetType, targetId } of targets) {
    if (targetType === 'cluster') continue;
    if (targetType === 'group') {
      const group = await tables.groups.find(asId<GroupId>(targetId));
      if (group === undefined) continue;
      groups.push(group);
      for (const id of group.peers) {
        const member = await tables.peers.find(id);
        if (member !== undefined) peers.push(member);
      }
      continue;
    }
    const peer = targetType === 'peer' ? await tables.peers.find(asId<PeerId>(targetId)) : undefined;
    const resource = targetType === 'peer' ? undefined : await tables.resources.find(targetId);
    if (peer !== undefined) peers.push(peer);
    if (resource !== undefined) resources.push(resource);
  }
  return new TargetHosts(peers, resources, groups);
}

/** That there is such a resource, of that type, and that the target's host is in it; the host is left empty where it follows from the resource. */
export async function checkResourceTarget(tables: Tables, target: ServiceTarget): Promise<ServiceTarget> {
  const resource = await tables.resources.find(target.targetId);
  if (resource === undefined || resource.type !== target.targetType) throw domainErrorNaming('DOMAIN_SERVICE_TARGET_UNKNOWN', target.targetId);
  const host = needsHost(resource) ? (canonicalTarget(target.host) ?? '') : '';
  if (hostIn(resource, host) === undefined) throw invalid(`The target needs a host that is in ${resource.address}.`);
  return { ...target, host };
}

/** A range and a wildcard are many: the target says which. */
function needsHost({ type, address }: NetworkResource): boolean {
  return type === 'subnet' || address.startsWith('*.');
}

/** Whether the host, in its canonical form, is in the resource. */
export function isInResource(resource: NetworkResource, host: string): boolean {
  return hostIn(resource, host) === host;
}

function hostIn(resource: NetworkResource, host: string): string | undefined {
  if (resource.type === 'domain') return needsHost(resource) ? (matchesDomain(resource.address, host) ? host : undefined) : resource.address;
  const prefix = parsePrefix(resource.address);
  if (prefix === undefined) return undefined;
  if (!needsHost(resource)) return formatIp(prefix.address);
  const ip = parseIp(host);
  return ip !== undefined && prefixContains(prefix, ip) ? host : undefined;
}

/** An address or a host name in its canonical form; else undefined. */
export function canonicalTarget(host: string): string | undefined {
  const ip = parseIp(host.trim());
  return ip === undefined ? canonicalHost(host) : formatIp(ip);
}
