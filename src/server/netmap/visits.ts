// Web services that peers may come to over the mesh: who reaches which gateways, and under which names they find them.
import type { DnsRecord, DnsZone } from '#model/dns.ts';
import type { GroupId } from '#model/ids.ts';
import type { MapPeer, Members, PeerSet } from './map-peer.ts';
import { append } from './multimap.ts';

/** A web service that peers of some groups may come to over the mesh: at the overlay addresses of its gateways. */
export interface MeshService {
  readonly cluster: string;
  readonly domain: string;
  readonly groups: readonly GroupId[];
}

/** Where gateways take visitors from inside: HTTPS at their overlay addresses. */
export const visitPort = 443;

const ttlSeconds = 60;

interface Visit {
  readonly service: MeshService;
  readonly members: PeerSet;
}

export class Visits {
  readonly #byCluster = new Map<string, Visit[]>();
  readonly #visits: readonly Visit[];
  readonly #gatewaysOf: ReadonlyMap<string, readonly MapPeer[]>;

  constructor(services: readonly MeshService[], members: Members, gatewaysOf: ReadonlyMap<string, readonly MapPeer[]>) {
    this.#visits = services.map((service) => ({ service, members: members.of(service.groups) }));
    this.#gatewaysOf = gatewaysOf;
    for (const visit of this.#visits) append(this.#byCluster, visit.service.cluster, visit);
  }

  /** Gateways that this peer may visit. */
  *gatewaysFor(self: MapPeer): Iterable<MapPeer> {
    for (const { service, members } of this.#visits) if (members.has(self.peer.id)) yield* this.#gatewaysOf.get(service.cluster) ?? [];
  }

  /** Peers that may visit the gateways of this cluster. */
  *visitorsOf(cluster: string): Iterable<MapPeer> {
    for (const { members } of this.#byCluster.get(cluster) ?? []) yield* members.values();
  }

  /** A zone for each name that this peer may visit: alone, so that names beside it are asked for elsewhere as before. */
  zonesFor(self: MapPeer, ipv6: boolean): readonly DnsZone[] {
    const zones: DnsZone[] = [];
    for (const { service, members } of this.#visits) {
      const gateways = this.#gatewaysOf.get(service.cluster) ?? [];
      if (!members.has(self.peer.id) || gateways.length === 0) continue;
      const records = gateways.flatMap(({ peer }): DnsRecord[] => [
        { name: service.domain, type: 'A', ttlSeconds, data: peer.ipv4 },
        ...(ipv6 && peer.ipv6 !== '' ? [{ name: service.domain, type: 'AAAA', ttlSeconds, data: peer.ipv6 } as const] : []),
      ]);
      zones.push({ domain: service.domain, records, authoritative: false, searchDisabled: true });
    }
    return zones;
  }
}
