// One state of the network, indexed once and read by the maps of all peers. An immutable value: a new state is a new snapshot.
import type { PeerId, PublicKey } from '#model/ids.ts';
import type { PacketProtocol, PacketRule, PortRange } from '#model/network-map.ts';
import type { Group, Peer, Policy, PolicyRule } from '#model/network.ts';
import { mapPeer, Members, type MapPeer, type PeerSet } from './map-peer.ts';
import { append } from './multimap.ts';
import { NamesIndex } from './names.ts';
import { emptyPlan, type NetworkPlan } from './plan.ts';
import { destinationsOfRule, RoutingIndex, sourcesOfRule } from './routing.ts';
import { Grant, hostDestination } from './ways.ts';

/** A gateway's way to a service's target: derived from the published services, never typed in. */
export interface Publication {
  readonly cluster: string;
  readonly targetPeer: PeerId;
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
}

/** A gateway's way to a target that is a resource of a network. */
export interface ResourcePublication {
  readonly cluster: string;
  readonly resourceId: string;
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
  /** An address or a name in the resource. */
  readonly host: string;
}

export interface NetworkState {
  readonly serial: bigint;
  readonly dnsDomain: string;
  readonly networkBits: { readonly v4: number; readonly v6: number };
  /** Peers that may take part: those of blocked users are left out. */
  readonly peers: readonly Peer[];
  readonly groups: readonly Group[];
  readonly policies: readonly Policy[];
  readonly publications: readonly Publication[];
  readonly resourcePublications?: readonly ResourcePublication[];
  /** Networks behind peers, routes and names; left out is none. */
  readonly plan?: NetworkPlan;
  readonly settings?: MapSettings;
}

/** What holds for all peers. */
export interface MapSettings {
  /** Names of domain routes are asked for at the routing peer. */
  readonly resolveAtRouter: boolean;
  readonly lazy: boolean;
}

const plainSettings: MapSettings = { resolveAtRouter: false, lazy: false };

/** One inbound rule for one address of one peer. Equal keys are equal rules. */
export interface Admission {
  readonly from: MapPeer;
  readonly key: string;
  readonly rule: PacketRule;
}

/** A rule with its groups resolved. What it lets in is the same for every member of a side, so it is made once. */
export class MapRule {
  readonly rule: PolicyRule;
  readonly sources: PeerSet;
  readonly destinations: PeerSet;
  readonly #admissions = new Map<string, readonly Admission[]>();

  constructor(rule: PolicyRule, sources: PeerSet, destinations: PeerSet) {
    this.rule = rule;
    this.sources = sources;
    this.destinations = destinations;
  }

  /** What lets that side in, the receiver itself not left out. */
  admissions(side: 'sources' | 'destinations', ipv6: boolean): readonly Admission[] {
    const key = `${side} ${ipv6}`;
    let made = this.#admissions.get(key);
    if (made === undefined) {
      const { action, protocol, ports } = this.rule;
      const ranges = ports.length === 0 ? [undefined] : ports;
      made = [...this[side].values()].flatMap((from) => ranges.flatMap((range) => admissionsOf(from, ipv6, action, protocol, range)));
      this.#admissions.set(key, made);
    }
    return made;
  }
}

/** One for each address that the peer may come from. */
export function admissionsOf(
  from: MapPeer,
  ipv6: boolean,
  action: PacketRule['action'],
  protocol: PacketProtocol,
  ports: PortRange | undefined,
): readonly Admission[] {
  return from.remote(ipv6).allowedIps.map((peer, index) => ({
    from,
    key: `${from.peer.id} ${index} ${protocol} ${ports?.start ?? ''}-${ports?.end ?? ''}`,
    rule: { direction: 'in', action, protocol, peer, ports },
  }));
}

export interface Snapshot {
  readonly serial: bigint;
  readonly networkBits: { readonly v4: number; readonly v6: number };
  readonly byKey: ReadonlyMap<PublicKey, MapPeer>;
  /** Enabled rules of enabled policies that concern a peer. */
  readonly rulesOf: ReadonlyMap<PeerId, readonly MapRule[]>;
  readonly publicationsTo: ReadonlyMap<PeerId, readonly Publication[]>;
  readonly publicationsFrom: ReadonlyMap<string, readonly Publication[]>;
  readonly gatewaysOf: ReadonlyMap<string, readonly MapPeer[]>;
  readonly byId: PeerSet;
  readonly routing: RoutingIndex;
  readonly names: NamesIndex;
  readonly settings: MapSettings;
}

/** Indexes a state. Work grows with the peers and the members of the groups that enabled rules name. */
export function indexNetwork(state: NetworkState): Snapshot {
  const { plan = emptyPlan } = state;
  const peers = state.peers.flatMap((peer, place) => mapPeer(peer, state.dnsDomain, place));
  const byId = new Map(peers.map((entry) => [entry.peer.id, entry]));
  const gatewaysOf = new Map<string, MapPeer[]>();
  for (const entry of peers) {
    if (entry.peer.proxyCluster !== undefined) append(gatewaysOf, entry.peer.proxyCluster, entry);
  }
  const members = new Members(state.groups, byId);
  const rules = state.policies.filter(({ enabled }) => enabled).flatMap((policy) => policy.rules.filter(({ enabled }) => enabled));
  const rulesOf = new Map<PeerId, MapRule[]>();
  for (const rule of rules) {
    const resolved = new MapRule(rule, sourcesOfRule(rule, members), destinationsOfRule(rule, members));
    if (resolved.sources.size === 0 || resolved.destinations.size === 0) continue;
    for (const id of new Set([...resolved.sources.keys(), ...resolved.destinations.keys()])) append(rulesOf, id, resolved);
  }
  const publicationsTo = new Map<PeerId, Publication[]>();
  const publicationsFrom = new Map<string, Publication[]>();
  for (const publication of state.publications) {
    append(publicationsTo, publication.targetPeer, publication);
    append(publicationsFrom, publication.cluster, publication);
  }
  return {
    serial: state.serial,
    networkBits: state.networkBits,
    byKey: new Map(peers.map((entry) => [entry.peer.publicKey, entry])),
    byId,
    rulesOf,
    publicationsTo,
    publicationsFrom,
    gatewaysOf,
    routing: new RoutingIndex(
      plan,
      rules,
      members,
      (state.resourcePublications ?? []).map((publication) => ({
        resourceId: publication.resourceId,
        grant: serviceGrant(publication, gatewaysOf.get(publication.cluster) ?? []),
      })),
    ),
    names: new NamesIndex(state.dnsDomain, plan, members),
    settings: state.settings ?? plainSettings,
  };
}

/** From every gateway of the cluster to one port of one host. */
function serviceGrant({ protocol, port, host }: ResourcePublication, gateways: readonly MapPeer[]): Grant {
  const sources = new Map(gateways.map((entry) => [entry.peer.id, entry]));
  return new Grant({ action: 'accept', protocol, ports: [{ start: port, end: port }] }, sources, hostDestination(host));
}
