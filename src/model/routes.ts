// What lies behind peers: routes to networks that are not the overlay's own, and the rules of those who carry them.
import { formatPrefix, type IpAddress, type IpPrefix, maskPrefix, prefixContains } from '#lib/ip.ts';
import { matchesDomain } from './dns.ts';
import type { PublicKey } from './ids.ts';
import type { PacketProtocol, PortRange } from './packet-filter.ts';

/** An address range, or names in the canonical form of `canonicalDomain`, of which some may begin with `*.`. */
export type RouteDestination =
  | { readonly kind: 'prefix'; readonly prefix: IpPrefix }
  | { readonly kind: 'domains'; readonly domains: readonly string[] };

/** One way to a destination. Several with one `haGroup` are the same destination through several peers. */
export interface Route {
  /** Unique for each pair of route and peer. */
  readonly id: string;
  /** The network's name, as people see it. */
  readonly netId: string;
  readonly destination: RouteDestination;
  /** The routing peer. Our own key: we carry this route for others. */
  readonly peer: PublicKey;
  /** The lowest wins. */
  readonly metric: number;
  /** The routing peer hides who calls behind its own address. A userspace routing peer always does. */
  readonly masquerade: boolean;
  /** Domains: addresses that a name had before stay reachable. */
  readonly keepAddresses: boolean;
  /** Of 0.0.0.0/0 and ::/0, an exit node. False: taken only where a person chooses it, which nobody can here: never. */
  readonly autoApply: boolean;
}

/** One permission to pass through a routing peer. `ports` undefined means every port. */
export interface RouteRule {
  readonly action: 'accept' | 'drop';
  /** Never empty. */
  readonly sources: readonly IpPrefix[];
  readonly destination: RouteDestination;
  readonly protocol: PacketProtocol;
  readonly ports: PortRange | undefined;
  /** Empty where the control plane does not say it. */
  readonly routeId: string;
}

export interface Routing {
  /** Those that we may take and those that we carry. */
  readonly routes: readonly Route[];
  /** What may pass through us; nothing else may. */
  readonly rules: readonly RouteRule[];
  /** Names of domain routes are asked for at the routing peer, which answers at `forwarderPort` of its overlay address. */
  readonly resolveAtRouter: boolean;
  readonly forwarderPort: number;
}

/** A destination of our own network's: what is asked to pass. `names` are those that are known to stand for the address. */
export interface RoutedPacket {
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly from: IpAddress;
  readonly to: IpAddress;
  readonly port: number;
  readonly names: readonly string[];
}

/** Routes of one group lead to the same place and stand in for each other. */
export function haGroup({ netId, destination }: Pick<Route, 'netId' | 'destination'>): string {
  const place = destination.kind === 'prefix' ? formatPrefix(maskPrefix(destination.prefix)) : destination.domains.toSorted().join(',');
  return `${netId}|${place}`;
}

/** Everything: an exit node. Taken only by those who ask for one. */
export function isDefaultRoute({ destination }: Pick<Route, 'destination'>): boolean {
  return destination.kind === 'prefix' && destination.prefix.bits === 0;
}

/** Whether a new flow may pass. Drop rules win over accept rules; what nothing names is denied. */
export function admitsRouted(rules: readonly RouteRule[], packet: RoutedPacket): boolean {
  let accepted = false;
  for (const rule of rules) {
    if (!concerns(rule, packet)) continue;
    if (rule.action === 'drop') return false;
    accepted = true;
  }
  return accepted;
}

function concerns(rule: RouteRule, { protocol, from, to, port, names }: RoutedPacket): boolean {
  const { destination, ports } = rule;
  return (
    (rule.protocol === 'all' || rule.protocol === protocol) &&
    (ports === undefined || (port >= ports.start && port <= ports.end)) &&
    rule.sources.some((source) => prefixContains(source, from)) &&
    (destination.kind === 'prefix'
      ? prefixContains(destination.prefix, to)
      : destination.domains.some((domain) => names.some((name) => matchesDomain(domain, name))))
  );
}
