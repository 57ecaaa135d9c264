// The network map of one peer: a pure function of a snapshot. A peer sees who a policy connects it with and nobody else; what no rule
// lets in is denied, so the filter is always a list, the empty one too.
import { parseIp } from '#lib/ip.ts';
import type { PeerId, PublicKey } from '#model/ids.ts';
import type { NetworkMap, PacketRule, SelfAddress } from '#model/network-map.ts';
import type { PeerMap } from './peer-map.ts';
import { forwarderPort } from './constants.ts';
import type { MapPeer } from './map-peer.ts';
import { admissionsOf, type Admission, type MapRule } from './map-rule.ts';
import type { Snapshot } from './snapshot.ts';
import { visitPort } from './visits.ts';

/** The map of the peer with this key, or undefined where the snapshot has no such peer. */
export function buildMap(snapshot: Snapshot, key: PublicKey): PeerMap | undefined {
  const self = snapshot.byKey.get(key);
  if (self === undefined) return undefined;
  const plan = new Plan(self);
  if (self.peer.proxyCluster === undefined) {
    for (const rule of snapshot.rulesOf.get(self.peer.id) ?? []) addRule(plan, rule);
    for (const publication of snapshot.publicationsTo.get(self.peer.id) ?? []) {
      for (const gateway of snapshot.gatewaysOf.get(publication.cluster) ?? []) {
        plan.admit(admissionsOf(gateway, self.peer.meta.ipv6, 'accept', publication.protocol, publication.ports));
      }
    }
    for (const gateway of snapshot.visits.gatewaysFor(self)) plan.connect(gateway);
  } else {
    for (const publication of snapshot.publicationsFrom.get(self.peer.proxyCluster) ?? []) {
      const target = snapshot.byId.get(publication.targetPeer);
      if (target !== undefined) plan.connect(target);
    }
    for (const visitor of snapshot.visits.visitorsOf(self.peer.proxyCluster)) {
      plan.admit(admissionsOf(visitor, self.peer.meta.ipv6, 'accept', 'tcp', { start: visitPort, end: visitPort }));
    }
  }
  const { ipv6 } = self.peer.meta;
  const { routes, rules, peers } = snapshot.routing.partOf(self, ipv6, plan.connected());
  // The packet filter is about policies between peers: who is seen for a network's sake is let in nowhere by that.
  const filter = plan.rules();
  for (const peer of peers) plan.connect(peer);
  const { lazy, resolveAtRouter: resolves } = snapshot.settings;
  const resolveAtRouter = resolves || self.peer.proxyCluster !== undefined || snapshot.routing.resolvesForGateways(self.peer.id);
  const dns = snapshot.names.dnsOf(self, ipv6, plan.connected(), snapshot.visits.zonesFor(self, ipv6));
  return {
    serial: snapshot.serial,
    lazy,
    resolveAtRouter,
    files: snapshot.filesOf(self.peer.id),
    self: selfAddress(self, snapshot.networkBits),
    peers: plan.peers(false),
    offline: plan.peers(true),
    filter: { kind: 'rules', rules: filter },
    ...(routes.length === 0 ? {} : { routing: { routes, rules, resolveAtRouter, forwarderPort } }),
    ...(dns === undefined ? {} : { dns }),
  };
}

/**
 * Directions as netbird-wire §2.7 has them: destinations let sources in, and the other way round where the rule is bidirectional. Both ends
 * of a one-way rule see each other, as packets flow both ways. A drop rule connects nobody: it takes from what others give.
 */
function addRule(plan: Plan, rule: MapRule): void {
  const { id, meta } = plan.self.peer;
  const { action, bidirectional } = rule.rule;
  const inSources = rule.sources.has(id);
  if (rule.destinations.has(id)) plan.admit(rule.admissions('sources', meta.ipv6));
  if (inSources && bidirectional) plan.admit(rule.admissions('destinations', meta.ipv6));
  if (inSources && action === 'accept') for (const other of rule.destinations.values()) plan.connect(other);
}

/** The map under construction: every peer and every rule once. */
class Plan {
  readonly self: MapPeer;
  readonly #peers = new Map<PeerId, MapPeer>();
  readonly #accepts = new Map<string, PacketRule>();
  readonly #drops = new Map<string, Admission>();

  constructor(self: MapPeer) {
    this.self = self;
  }

  connected(): Iterable<MapPeer> {
    return this.#peers.values();
  }

  connect(other: MapPeer): void {
    if (other !== this.self) this.#peers.set(other.peer.id, other);
  }

  admit(admissions: readonly Admission[]): void {
    for (const admission of admissions) {
      if (admission.from === this.self) continue;
      if (admission.rule.action === 'drop') {
        this.#drops.set(admission.key, admission);
      } else {
        this.#peers.set(admission.from.peer.id, admission.from);
        this.#accepts.set(admission.key, admission.rule);
      }
    }
  }

  /** Those whose logins have expired, or those whose have not. */
  peers(expired: boolean): NetworkMap['peers'] {
    const { ipv6 } = this.self.peer.meta;
    return [...this.#peers.values()].filter((other) => other.peer.loginExpired === expired).map((other) => other.remote(ipv6));
  }

  /** Drop rules come first, for filters that stop at the first match; one about a peer that is not visible says nothing. */
  rules(): readonly PacketRule[] {
    const drops = [...this.#drops.values()].filter(({ from }) => this.#peers.has(from.peer.id));
    return [...drops.map(({ rule }) => rule), ...this.#accepts.values()];
  }
}

/** The peer's own addresses with the network's prefix lengths. The text of these must not vary between messages (netbird-wire §8, row 3). */
function selfAddress(self: MapPeer, bits: { readonly v4: number; readonly v6: number }): SelfAddress {
  const v6 = self.peer.meta.ipv6 ? parseIp(self.peer.ipv6) : undefined;
  return {
    v4: { address: self.v4.address, bits: bits.v4 },
    v6: v6 === undefined ? undefined : { address: v6, bits: bits.v6 },
    fqdn: self.fqdn,
  };
}
