// The network map of one peer: a pure function of a snapshot. A peer sees who a policy connects it with and nobody else; what no rule
// lets in is denied, so the filter is always a list, the empty one too.
import { parseIp, type IpPrefix } from '#lib/ip.ts';
import type { PeerId, PublicKey } from '#model/ids.ts';
import type { NetworkMap, PacketProtocol, PacketRule, PortRange, RemotePeer, SelfAddress } from '#model/network-map.ts';
import type { MapPeer, MapRule, Snapshot } from './snapshot.ts';

/** The map of the peer with this key, or undefined where the snapshot has no such peer. */
export function buildMap(snapshot: Snapshot, key: PublicKey): NetworkMap | undefined {
  const self = snapshot.byKey.get(key);
  if (self === undefined) return undefined;
  const plan = new Plan(self);
  if (self.peer.proxyCluster === undefined) {
    for (const rule of snapshot.rulesOf.get(self.peer.id) ?? []) addRule(plan, rule);
    for (const publication of snapshot.publicationsTo.get(self.peer.id) ?? []) {
      const ports = { start: publication.port, end: publication.port };
      for (const gateway of snapshot.gatewaysOf.get(publication.cluster) ?? []) plan.admit(gateway, 'accept', publication.protocol, ports);
    }
  } else {
    for (const publication of snapshot.publicationsFrom.get(self.peer.proxyCluster) ?? []) {
      const target = snapshot.byId.get(publication.targetPeer);
      if (target !== undefined) plan.connect(target);
    }
  }
  return {
    serial: snapshot.serial,
    self: selfAddress(self, snapshot.networkBits),
    peers: plan.peers(),
    filter: { kind: 'rules', rules: plan.rules() },
  };
}

/**
 * Directions as netbird-wire §2.7 has them: destinations let sources in, and the other way round where the rule is bidirectional. Both ends
 * of a one-way rule see each other, as packets flow both ways. A drop rule connects nobody: it takes from what others give.
 */
function addRule(plan: Plan, { rule, sources, destinations }: MapRule): void {
  const id = plan.self.peer.id;
  const inSources = sources.has(id);
  const inDestinations = destinations.has(id);
  const ranges: readonly (PortRange | undefined)[] = rule.ports.length === 0 ? [undefined] : rule.ports;
  const admit = (others: ReadonlyMap<PeerId, MapPeer>): void => {
    for (const other of others.values()) {
      for (const range of ranges) plan.admit(other, rule.action, rule.protocol, range);
    }
  };
  if (inDestinations) admit(sources);
  if (inSources && rule.bidirectional) admit(destinations);
  if (inSources && rule.action === 'accept') for (const other of destinations.values()) plan.connect(other);
}

/** The map under construction: every peer and every rule once. */
class Plan {
  readonly self: MapPeer;
  readonly #peers = new Map<PeerId, MapPeer>();
  readonly #accepts = new Map<string, PacketRule>();
  readonly #drops = new Map<string, { readonly from: PeerId; readonly rule: PacketRule }>();

  constructor(self: MapPeer) {
    this.self = self;
  }

  connect(other: MapPeer): void {
    if (other.peer.id !== this.self.peer.id) this.#peers.set(other.peer.id, other);
  }

  /** One inbound rule for each address that the other may come from. */
  admit(other: MapPeer, action: 'accept' | 'drop', protocol: PacketProtocol, ports: PortRange | undefined): void {
    if (other.peer.id === this.self.peer.id) return;
    if (action === 'accept') this.connect(other);
    for (const [family, peer] of this.#addresses(other).entries()) {
      const key = `${other.peer.id} ${family} ${protocol} ${ports?.start ?? ''}-${ports?.end ?? ''}`;
      const rule: PacketRule = { direction: 'in', action, protocol, peer, ports };
      if (action === 'accept') this.#accepts.set(key, rule);
      else this.#drops.set(key, { from: other.peer.id, rule });
    }
  }

  peers(): readonly RemotePeer[] {
    return [...this.#peers.values()].map((other) => ({
      publicKey: other.peer.publicKey,
      allowedIps: this.#addresses(other),
      fqdn: other.fqdn,
      agentVersion: other.peer.meta.version,
    }));
  }

  /** Drop rules come first, for filters that stop at the first match; one about a peer that is not visible says nothing. */
  rules(): readonly PacketRule[] {
    const drops = [...this.#drops.values()].filter(({ from }) => this.#peers.has(from));
    return [...drops.map(({ rule }) => rule), ...this.#accepts.values()];
  }

  /** IPv4 first; IPv6 only for a peer that can use it. */
  #addresses(other: MapPeer): readonly IpPrefix[] {
    return other.v6 !== undefined && this.self.peer.meta.ipv6 ? [other.v4, other.v6] : [other.v4];
  }
}

/** The peer's own addresses with the network's prefix lengths. The text of these must not vary between messages (netbird-wire §8, row 3). */
export function selfAddress(self: MapPeer, bits: { readonly v4: number; readonly v6: number }): SelfAddress {
  const v6 = self.peer.meta.ipv6 ? parseIp(self.peer.ipv6) : undefined;
  return {
    v4: { address: self.v4.address, bits: bits.v4 },
    v6: v6 === undefined ? undefined : { address: v6, bits: bits.v6 },
    fqdn: self.fqdn,
  };
}
