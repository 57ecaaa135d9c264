// Network maps as of now. The indexed state is kept as long as the serial stands, so that a change costs one reading for all peers.
import { parsePrefix } from '#lib/ip.ts';
import type { PublicKey } from '#model/ids.ts';
import type { NetworkResource } from '#model/network-plan.ts';
import type { ServiceTarget } from '#model/service.ts';
import { targetRanges } from '#model/stream.ts';
import { agentTlsPort } from '#model/tls-grant.ts';
import { buildMap } from '../netmap/build.ts';
import type { NetworkPlan } from '../netmap/plan.ts';
import { indexNetwork, type Publication, type ResourcePublication, type Snapshot } from '../netmap/snapshot.ts';
import type { ServiceRecord } from '../store/service-table.ts';
import type { Tables } from '../store/store.ts';
import type { Account, Context } from './context.ts';
import { isForPeers } from './mappings.ts';
import type { MapUseCases } from './contract.ts';
import { domainError } from './errors.ts';
import { readDnsSettings } from './nameservers.ts';
import { readSettings } from './saved-settings.ts';
import { TargetHosts } from './target-hosts.ts';

export interface ResourceReach {
  /** The resources that policies let this peer reach at that port, as of now. */
  reachedBy(publicKey: PublicKey, protocol: 'tcp' | 'udp', port: number): Promise<readonly NetworkResource[]>;
}

export function mapUseCases(context: Context): MapUseCases & ResourceReach {
  let kept: Promise<Snapshot> | undefined;
  let keptSerial = -1;

  const current = async (): Promise<Snapshot> => {
    const serial = await context.serial.current();
    if (kept === undefined || serial > keptSerial) {
      keptSerial = serial;
      const reading = context.store.read((tables) => readSnapshot(context, tables));
      kept = reading;
      reading.catch(() => {
        if (kept === reading) kept = undefined;
      });
    }
    return await kept;
  };

  return {
    async build(publicKey) {
      const map = buildMap(await current(), publicKey);
      if (map === undefined) throw domainError('DOMAIN_PEER_UNKNOWN');
      return map;
    },

    async reachedBy(publicKey, protocol, port) {
      const { byKey, routing } = await current();
      const id = byKey.get(publicKey)?.peer.id;
      return id === undefined ? [] : routing.reachedBy(id, protocol, port);
    },
  };
}

export function networkBits(account: Account): { readonly v4: number; readonly v6: number } {
  return { v4: parsePrefix(account.networkV4)?.bits ?? 32, v6: parsePrefix(account.networkV6)?.bits ?? 128 };
}

async function readSnapshot(context: Context, tables: Tables): Promise<Snapshot> {
  const blocked = new Set((await tables.users.list()).filter((user) => user.blocked).map((user) => user.id));
  const peers = (await tables.peers.list()).filter((peer) => peer.userId === undefined || !blocked.has(peer.userId));
  const settings = await readSettings(tables);
  const plan = await readPlan(tables);
  const services = await tables.services.listEnabled();
  const groups = await tables.groups.list();
  const hosts = new TargetHosts(peers, plan.resources, groups);
  return indexNetwork({
    settings: { resolveAtRouter: settings.routingPeerDns, lazy: settings.lazyConnections },
    plan,
    serial: BigInt(await tables.account.counter('serial')),
    dnsDomain: context.dnsDomain,
    networkBits: networkBits(context.account),
    peers,
    groups,
    policies: await tables.policies.list(),
    publications: publicationsOf(services, hosts),
    resourcePublications: resourcePublicationsOf(services, hosts),
    meshServices: services.filter(isForPeers).map(({ cluster, domain, accessGroups }) => ({ cluster, domain, groups: accessGroups })),
  });
}

async function readPlan(tables: Tables): Promise<NetworkPlan> {
  return {
    resources: await tables.resources.list(),
    routers: await tables.routers.list(),
    routes: await tables.routes.list(),
    nameservers: await tables.nameservers.list(),
    zones: await tables.zones.list(),
    zoneRecords: await tables.zoneRecords.list(),
    postureChecks: await tables.postureChecks.list(),
    dnsDisabledGroups: (await readDnsSettings(tables)).disabledManagementGroups,
  };
}

/** The ways that gateways need: enabled targets of enabled services that are dialled through the overlay. */
function publicationsOf(services: readonly ServiceRecord[], hosts: TargetHosts): readonly Publication[] {
  return services.flatMap((service) =>
    service.targets.flatMap((target) => {
      if (!target.enabled || target.options.directUpstream) return [];
      const protocol = service.mode === 'udp' ? 'udp' : 'tcp';
      return hosts
        .peersOf(target)
        .flatMap((peer) => portsOf(service, target).map((ports) => ({ cluster: service.cluster, targetPeer: peer.id, protocol, ports }) as const));
    }),
  );
}

/** The same to resources of networks. What the target narrows the resource to, the way is narrowed to. */
function resourcePublicationsOf(services: readonly ServiceRecord[], hosts: TargetHosts): readonly ResourcePublication[] {
  return services.flatMap((service) =>
    service.targets.flatMap((target) => {
      const host = hosts.hostOf(target);
      const resource = hosts.resourceOf(target);
      if (!target.enabled || host === undefined || resource === undefined) return [];
      const protocol = service.mode === 'udp' ? 'udp' : 'tcp';
      return portsOf(service, target).map((ports) => ({ cluster: service.cluster, resourceId: resource.id, protocol, ports, host }) as const);
    }),
  );
}

function portsOf({ tlsAt, listenPort, stream }: ServiceRecord, { port }: ServiceTarget): ReturnType<typeof targetRanges> {
  if (tlsAt === 'agent') return [{ start: agentTlsPort, end: agentTlsPort }];
  return targetRanges(listenPort, port, stream.portRanges);
}
