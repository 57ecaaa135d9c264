// The addresses of this host that a peer may reach it at (netbird-wire §5.3): no tunnels, no container bridges, loopback last.
import { networkInterfaces } from 'node:os';
import type { Candidate } from './ice-candidate.ts';
import { isLoopback, localCandidate, usableAddress } from './ice-candidate.ts';
import { ICE_MAX_LOCAL_CANDIDATES } from '../constants.ts';

/** Interfaces whose name starts so are somebody's tunnel or bridge. Loopback is treated apart. */
const ignoredInterfaces = ['wt', 'utun', 'tun0', 'zt', 'ZeroTier', 'wg', 'ts', 'Tailscale', 'tailscale', 'docker', 'veth', 'br-'];

/** Whether the interface is one of those. */
export function isForeignInterface(name: string): boolean {
  return ignoredInterfaces.some((prefix) => name.startsWith(prefix));
}

/** Lists addresses, best first. Loopback is in it: two processes on one machine may share nothing else. */
export function listHostAddresses(): readonly string[] {
  const usual: string[] = [];
  const loopback: string[] = [];
  for (const [name, entries] of Object.entries(networkInterfaces())) {
    if (isForeignInterface(name)) continue;
    for (const entry of entries ?? []) {
      const address = usableAddress(entry.address);
      if (address !== undefined) (entry.internal || isLoopback(address) ? loopback : usual).push(address);
    }
  }
  return [...usual, ...loopback];
}

/** Host candidates of the addresses, in their order of preference; `allowed` leaves out what must not be announced. */
export function hostCandidates(
  addresses: readonly string[],
  port: number,
  ipv6: boolean,
  allowed: (address: string) => boolean,
): readonly Candidate[] {
  return addresses
    .filter((address) => (ipv6 || !address.includes(':')) && allowed(address))
    .slice(0, ICE_MAX_LOCAL_CANDIDATES)
    .map((address, i) => localCandidate('host', { address, port }, isLoopback(address) ? 255 - i : 65_535 - i));
}
