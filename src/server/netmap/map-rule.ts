// Rules of policies with who they are about. What a rule lets in is the same for every member of a side, so it is made once.
import type { PeerId } from '#model/ids.ts';
import type { PacketProtocol, PacketRule, PortRange } from '#model/network-map.ts';
import type { Policy, PolicyRule } from '#model/network.ts';
import type { MapPeer, Members, PeerSet } from './map-peer.ts';
import type { Posture } from './posture.ts';

/** One inbound rule for one address of one peer. Equal keys are equal rules. */
export interface Admission {
  readonly from: MapPeer;
  readonly key: string;
  readonly rule: PacketRule;
}

/** A rule with its groups resolved: one side may be empty, as where it names a resource of a network. */
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

/**
 * The enabled rules of enabled policies. Who does not pass a policy's posture checks is no source of what it accepts; what it forbids, it
 * forbids everybody.
 */
export function resolveRules(policies: readonly Policy[], members: Members, posture: Posture): readonly MapRule[] {
  return policies
    .filter(({ enabled }) => enabled)
    .flatMap(({ rules, sourcePostureChecks = [] }) =>
      rules
        .filter(({ enabled }) => enabled)
        .map((rule) => {
          const sources = members.oneOrOf(peerOf(rule.sourceResource), rule.sources);
          const passing = rule.action === 'accept' ? posture.passing(sources, sourcePostureChecks) : sources;
          return new MapRule(rule, passing, members.oneOrOf(peerOf(rule.destinationResource), rule.destinations));
        }),
    );
}

/** The peer that a rule names in place of groups. */
export function peerOf(ref: PolicyRule['sourceResource']): PeerId | undefined {
  return ref?.type === 'peer' ? (ref.id as PeerId) : undefined;
}
