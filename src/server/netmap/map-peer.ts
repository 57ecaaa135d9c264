// A peer as others' maps have it: made once in a state of the network, shared by all of them.
import { formatIp, hostPrefix, parseIp, type IpPrefix } from '#lib/ip.ts';
import type { DnsRecord } from '#model/dns.ts';
import type { GroupId, PeerId } from '#model/ids.ts';
import type { RemotePeer } from '#model/network-map.ts';
import type { Group, Peer } from '#model/network.ts';
import { peerTtlSeconds } from './constants.ts';

export class MapPeer {
  readonly peer: Peer;
  readonly v4: IpPrefix;
  readonly v6: IpPrefix | undefined;
  readonly fqdn: string;
  /** Its place in the state: lists that are made from sets of peers are in this order. */
  readonly place: number;
  /** 64 random bits: those of a set of peers, taken together by XOR, tell the set. */
  readonly mark: Readonly<Uint32Array>;
  /** To those that know IPv4 only, and to those that know both. */
  readonly #remotes: [v4: RemotePeer | undefined, both: RemotePeer | undefined] = [undefined, undefined];
  readonly #records: [v4: readonly DnsRecord[] | undefined, both: readonly DnsRecord[] | undefined] = [undefined, undefined];

  constructor(peer: Peer, v4: IpPrefix, v6: IpPrefix | undefined, fqdn: string, place: number) {
    this.place = place;
    this.mark = crypto.getRandomValues(new Uint32Array(2));
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

  /** Its name: always A, and AAAA where receiver and peer both can use it. */
  records(ipv6: boolean): readonly DnsRecord[] {
    const index = ipv6 && this.peer.meta.ipv6 ? 1 : 0;
    this.#records[0] ??= [this.#record('A', this.v4)];
    this.#records[1] ??= this.v6 === undefined ? this.#records[0] : [...this.#records[0], this.#record('AAAA', this.v6)];
    return this.#records[index] ?? [];
  }

  #record(type: 'A' | 'AAAA', { address }: IpPrefix): DnsRecord {
    return { name: this.fqdn, type, ttlSeconds: peerTtlSeconds, data: formatIp(address) };
  }
}

/** A peer without an IPv4 address, which the store does not make, is in no map. */
export function mapPeer(peer: Peer, dnsDomain: string, place: number): readonly MapPeer[] {
  const v4 = parseIp(peer.ipv4);
  const v6 = parseIp(peer.ipv6);
  if (v4 === undefined) return [];
  return [new MapPeer(peer, hostPrefix(v4), v6 === undefined ? undefined : hostPrefix(v6), `${peer.dnsLabel}.${dnsDomain}`, place)];
}

export type PeerSet = ReadonlyMap<PeerId, MapPeer>;

/** Who is in which group. Gateways' peers are in none, whatever a list says. */
export class Members {
  readonly #byId: PeerSet;
  readonly #groups: ReadonlyMap<GroupId, readonly MapPeer[]>;

  constructor(groups: readonly Group[], byId: PeerSet) {
    this.#byId = byId;
    this.#groups = new Map(groups.map((group) => [group.id, group.peers.flatMap((id) => this.#member(id))]));
  }

  /** The peers of these groups, each once. */
  of(groups: readonly GroupId[]): PeerSet {
    return new Map(groups.flatMap((id) => this.#groups.get(id) ?? []).map((entry) => [entry.peer.id, entry]));
  }

  /** One peer, or the peers of these groups. */
  oneOrOf(peer: PeerId | undefined, groups: readonly GroupId[]): PeerSet {
    return peer === undefined ? this.of(groups) : new Map(this.#member(peer).map((entry) => [entry.peer.id, entry]));
  }

  #member(id: PeerId): readonly MapPeer[] {
    const entry = this.#byId.get(id);
    return entry === undefined || entry.peer.proxyCluster !== undefined ? [] : [entry];
  }
}
