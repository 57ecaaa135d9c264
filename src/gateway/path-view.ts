// Whether the overlay has a path to a host now, for requests that wait for an answer: asked often, so it is looked up for all at once.
import type { Clock } from '#lib/clock.ts';
import type { PeerPathStatus } from '#model/status.ts';
import { reportIntervalMs } from './constants.ts';

/** Returns the question. A host that no peer of ours is counts as reachable: its dial says more. So does a lazy peer at rest. */
export function viewPaths(peers: () => readonly PeerPathStatus[], clock: Clock): (host: string) => boolean {
  let lost: ReadonlySet<string> = new Set();
  let seenAt = -Infinity;
  return (host) => {
    const now = clock.now();
    if (now - seenAt >= reportIntervalMs) {
      seenAt = now;
      lost = new Set(peers().flatMap(({ state, fqdn, addresses }) => (state === 'seeking' || state === 'unusable' ? [fqdn, ...addresses] : [])));
    }
    return !lost.has(host);
  };
}
