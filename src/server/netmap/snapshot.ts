// One state of the network, indexed once and read by the maps of all peers. An immutable value: a new state is a new snapshot.
import type { PeerId, PublicKey } from '#model/ids.ts';
import type { Group, Peer, Policy } from '#model/network.ts';
import { mapPeer, Members, type MapPeer, type PeerSet } from './map-peer.ts';
import { append } from './multimap.ts';
import { NamesIndex } from './names.ts';
import { emptyPlan, type NetworkPlan } from './plan.ts';
import { peerOf, resolveRules, type MapRule } from './map-rule.ts';
import { Posture } from './posture.ts';
import { RoutingIndex } from './routing.ts';
import { SourceLists } from './sources.ts';
import { type MeshService, Visits } from './visits.ts';
import { Grant, hostDestination } from './ways.ts';

/** First and last. */
export interface PortSpan {
  readonly start: number;
  readonly end: number;
}

/** A gateway's way to a service's target: derived from the published services, never typed in. */
export interface Publication {
  readonly cluster: string;
  readonly targetPeer: PeerId;
  readonly protocol: 'tcp' | 'udp';
  readonly ports: PortSpan;
}

/** A gateway's way to a target that is a resource of a network. */
export interface ResourcePublication {
  readonly cluster: string;
  readonly resourceId: string;
  readonly protocol: 'tcp' | 'udp';
  readonly ports: PortSpan;
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
  readonly meshServices?: readonly MeshService[];
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

export interface Snapshot {
  readonly serial: bigint;
  readonly networkBits: { readonly v4: number; readonly v6: number };
  readonly byKey: ReadonlyMap<PublicKey, MapPeer>;
  /** Enabled rules of enabled policies that concern a peer. */
  readonly rulesOf: ReadonlyMap<PeerId, readonly MapRule[]>;
  readonly publicationsTo: ReadonlyMap<PeerId, readonly Publication[]>;
  readonly publicationsFrom: ReadonlyMap<string, readonly Publication[]>;
  readonly gatewaysOf: ReadonlyMap<string, readonly MapPeer[]>;
  readonly visits: Visits;
  readonly byId: PeerSet;
  readonly routing: RoutingIndex;
  readonly names: NamesIndex;
  readonly settings: MapSettings;
  /** Programs that a peer has to tell of, in the order of their names. */
  filesOf(id: PeerId): readonly string[];
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
  const posture = new Posture(plan.postureChecks);
  const rules = resolveRules(state.policies, members, posture);
  const rulesOf = new Map<PeerId, MapRule[]>();
  for (const rule of rules) {
    if (rule.sources.size === 0 || rule.destinations.size === 0) continue;
    for (const id of new Set([...rule.sources.keys(), ...rule.destinations.keys()])) append(rulesOf, id, rule);
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
    visits: new Visits(state.meshServices ?? [], members, gatewaysOf),
    routing: new RoutingIndex(
      plan,
      rules,
      members,
      (state.resourcePublications ?? []).map((publication) => ({
        resourceId: publication.resourceId,
        grant: serviceGrant(publication, gatewaysOf.get(publication.cluster) ?? []),
      })),
      new SourceLists(peers, state.networkBits),
    ),
    names: new NamesIndex(state.dnsDomain, plan, members),
    settings: state.settings ?? plainSettings,
    filesOf: filesAsked(state.policies, members, posture),
  };
}

/** From every gateway of the cluster to some ports of one host. */
function serviceGrant({ protocol, ports, host }: ResourcePublication, gateways: readonly MapPeer[]): Grant {
  const sources = new Map(gateways.map((entry) => [entry.peer.id, entry]));
  return new Grant({ action: 'accept', protocol, ports: [ports] }, sources, hostDestination(host));
}

/** Who is a source of a policy with checks, whether or not it passes now, is asked for what the checks want to know. */
function filesAsked(policies: readonly Policy[], members: Members, posture: Posture): Snapshot['filesOf'] {
  const asked = new Map<PeerId, Set<string>>();
  for (const { enabled, rules, sourcePostureChecks = [] } of policies) {
    const files = enabled ? posture.filesOf(sourcePostureChecks) : [];
    if (files.length === 0) continue;
    for (const rule of rules) {
      for (const id of members.oneOrOf(peerOf(rule.sourceResource), rule.sources).keys()) {
        const own = asked.get(id) ?? new Set<string>();
        for (const file of files) own.add(file);
        asked.set(id, own);
      }
    }
  }
  return (id) => [...(asked.get(id) ?? [])].sort();
}
