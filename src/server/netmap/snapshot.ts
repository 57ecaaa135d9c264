// One state of the network, indexed once and read by the maps of all peers. An immutable value: a new state is a new snapshot.
import { hostPrefix, parseIp, type IpPrefix } from '#lib/ip.ts';
import type { GroupId, PeerId, PublicKey } from '#model/ids.ts';
import type { PacketProtocol, PacketRule, PortRange, RemotePeer } from '#model/network-map.ts';
import type { Group, Peer, Policy, PolicyRule } from '#model/network.ts';

/** A gateway's way to a service's target: derived from the published services, never typed in. */
export interface Publication {
  readonly cluster: string;
  readonly targetPeer: PeerId;
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
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
}

/** A peer as others' maps have it: made once, shared by all of them. */
export class MapPeer {
  readonly peer: Peer;
  readonly v4: IpPrefix;
  readonly v6: IpPrefix | undefined;
  readonly fqdn: string;
  /** To those that know IPv4 only, and to those that know both. */
  readonly #remotes: [v4: RemotePeer | undefined, both: RemotePeer | undefined] = [undefined, undefined];

  constructor(peer: Peer, v4: IpPrefix, v6: IpPrefix | undefined, fqdn: string) {
    this.peer = peer;
    this.v4 = v4;
    this.v6 = v6;
    this.fqdn = fqdn;
  }

  /** IPv4 first; IPv6 only for a receiver that can use it. */
  remote(ipv6: boolean): RemotePeer {
    const index = ipv6 ? 1 : 0;
    this.#remotes[index] ??= {
      publicKey: this.peer.publicKey,
      allowedIps: ipv6 && this.v6 !== undefined ? [this.v4, this.v6] : [this.v4],
      fqdn: this.fqdn,
      agentVersion: this.peer.meta.version,
    };
    return this.#remotes[index];
  }
}

/** One inbound rule for one address of one peer. Equal keys are equal rules. */
export interface Admission {
  readonly from: MapPeer;
  readonly key: string;
  readonly rule: PacketRule;
}

/** A rule with its groups resolved. What it lets in is the same for every member of a side, so it is made once. */
export class MapRule {
  readonly rule: PolicyRule;
  readonly sources: ReadonlyMap<PeerId, MapPeer>;
  readonly destinations: ReadonlyMap<PeerId, MapPeer>;
  readonly #admissions = new Map<string, readonly Admission[]>();

  constructor(rule: PolicyRule, sources: ReadonlyMap<PeerId, MapPeer>, destinations: ReadonlyMap<PeerId, MapPeer>) {
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
  readonly byId: ReadonlyMap<PeerId, MapPeer>;
}

/** Indexes a state. Work grows with the peers and the members of the groups that enabled rules name. */
export function indexNetwork(state: NetworkState): Snapshot {
  const peers = state.peers.flatMap((peer) => mapPeer(peer, state.dnsDomain));
  const byId = new Map(peers.map((entry) => [entry.peer.id, entry]));
  const gatewaysOf = new Map<string, MapPeer[]>();
  for (const entry of peers) {
    if (entry.peer.proxyCluster !== undefined) append(gatewaysOf, entry.peer.proxyCluster, entry);
  }
  const members = membersByGroup(state.groups, byId);
  const rulesOf = new Map<PeerId, MapRule[]>();
  for (const policy of state.policies.filter((policy) => policy.enabled)) {
    for (const rule of policy.rules.filter((rule) => rule.enabled)) {
      const resolved = new MapRule(rule, union(rule.sources, members), union(rule.destinations, members));
      if (resolved.sources.size === 0 || resolved.destinations.size === 0) continue;
      for (const id of new Set([...resolved.sources.keys(), ...resolved.destinations.keys()])) append(rulesOf, id, resolved);
    }
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
  };
}

function mapPeer(peer: Peer, dnsDomain: string): readonly MapPeer[] {
  const v4 = parseIp(peer.ipv4);
  const v6 = parseIp(peer.ipv6);
  if (v4 === undefined) return [];
  return [new MapPeer(peer, hostPrefix(v4), v6 === undefined ? undefined : hostPrefix(v6), `${peer.dnsLabel}.${dnsDomain}`)];
}

/** Gateways' peers are in no group, whatever a list says. */
function membersByGroup(groups: readonly Group[], byId: ReadonlyMap<PeerId, MapPeer>): ReadonlyMap<GroupId, readonly MapPeer[]> {
  return new Map(
    groups.map((group) => [
      group.id,
      group.peers.flatMap((id) => {
        const entry = byId.get(id);
        return entry === undefined || entry.peer.proxyCluster !== undefined ? [] : [entry];
      }),
    ]),
  );
}

function union(ids: readonly GroupId[], members: ReadonlyMap<GroupId, readonly MapPeer[]>): ReadonlyMap<PeerId, MapPeer> {
  return new Map(ids.flatMap((id) => members.get(id) ?? []).map((entry) => [entry.peer.id, entry]));
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
