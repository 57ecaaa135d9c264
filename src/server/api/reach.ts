// How many peers a peer may talk to or hear from by policy: the count that the list of peers shows.
import { asId, type GroupId, type PeerId } from '#model/ids.ts';
import type { ResourceRef } from '#model/network-plan.ts';
import type { Group, Policy } from '#model/network.ts';

/**
 * Counts for all peers at once. Peers in the same groups reach the same peers, so the work is done once for each combination of groups
 * that occurs, not once for each peer.
 */
export function countReachable(groups: readonly Group[], policies: readonly Policy[]): ReadonlyMap<PeerId, number> {
  const groupsOf = new Map<PeerId, GroupId[]>();
  for (const group of groups) for (const peer of group.peers) groupsOf.set(peer, [...(groupsOf.get(peer) ?? []), group.id]);
  const members = new Map(groups.map((group) => [group.id, group.peers]));
  const rules = policies
    .filter((policy) => policy.enabled)
    .flatMap((policy) => policy.rules.filter((rule) => rule.enabled && rule.action === 'accept'))
    .map((rule) => ({ sources: sideOf(rule.sources, rule.sourceResource), destinations: sideOf(rule.destinations, rule.destinationResource) }));
  // A peer that a rule names is a group of its own.
  for (const id of new Set(rules.flatMap(({ sources, destinations }) => [...sources, ...destinations]))) {
    if (!id.startsWith(onePeer)) continue;
    const peer = asId<PeerId>(id.slice(onePeer.length));
    members.set(id, [peer]);
    groupsOf.set(peer, [...(groupsOf.get(peer) ?? []), id]);
  }
  const known = new Map<string, ReadonlySet<PeerId>>();
  const counts = new Map<PeerId, number>();
  for (const [peer, own] of groupsOf) {
    const key = own.join(' ');
    let reached = known.get(key);
    if (reached === undefined) {
      const sides = rules.flatMap((rule) => [
        ...(rule.sources.some((id) => own.includes(id)) ? rule.destinations : []),
        ...(rule.destinations.some((id) => own.includes(id)) ? rule.sources : []),
      ]);
      reached = new Set([...new Set(sides)].flatMap((id) => members.get(id) ?? []));
      known.set(key, reached);
    }
    counts.set(peer, reached.size - (reached.has(peer) ? 1 : 0));
  }
  return counts;
}

/** No id begins so. */
const onePeer = 'peer:';

function sideOf(groups: readonly GroupId[], ref: ResourceRef | undefined): readonly GroupId[] {
  return ref?.type === 'peer' ? [asId<GroupId>(`${onePeer}${ref.id}`)] : groups;
}
