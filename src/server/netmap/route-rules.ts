// What may pass through a routing peer, as rules of one route. Sources and destination of a rule are of one family: a route to names, and one
// to everything, has rules for both.
import { parsePrefix, type IpPrefix } from '#lib/ip.ts';
import type { PolicyRule } from '#model/network.ts';
import type { Route, RouteDestination, RouteRule } from '#model/routes.ts';
import type { Sources } from './sources.ts';

/** The twin of an exit node's route for the other family (netbird-wire §2.6). */
const twinId = '-v6-default';
const twinName = '-v6';

const allV6: RouteDestination = { kind: 'prefix', prefix: anyOf('::/0') };
const anyV4: readonly IpPrefix[] = [anyOf('0.0.0.0/0')];
const anyV6: readonly IpPrefix[] = [anyOf('::/0')];

export const everybody: Sources = { v4: anyV4, v6: anyV6 };

/** The route as a receiver gets it: none where it leads to IPv6 and the receiver has none, two where it leads to everything. */
export function routesFor(route: Route, ipv6: boolean): readonly Route[] {
  if (isV6(route.destination)) return ipv6 ? [route] : [];
  if (!ipv6 || !isAllV4(route.destination)) return [route];
  return [route, { ...route, id: `${route.id}${twinId}`, netId: `${route.netId}${twinName}`, destination: allV6 }];
}

/** One rule for each port range and family. Where nobody is left, there is none: a rule without sources would be read as nothing anyway. */
export function rulesFor(
  route: Route,
  { action, protocol, ports }: Pick<PolicyRule, 'action' | 'protocol' | 'ports'>,
  sources: Sources,
  ipv6: boolean,
  destination = route.destination,
): readonly RouteRule[] {
  const ranges = ports.length === 0 ? [undefined] : ports;
  const make = (from: readonly IpPrefix[], to: RouteDestination, routeId: string): readonly RouteRule[] =>
    from.length === 0 ? [] : ranges.map((range) => ({ action, sources: from, destination: to, protocol, ports: range, routeId }));
  if (isV6(destination)) return ipv6 ? make(sources.v6, destination, route.id) : [];
  const rules = make(sources.v4, destination, route.id);
  if (!ipv6) return rules;
  if (destination.kind === 'domains') return [...rules, ...make(sources.v6, destination, route.id)];
  return isAllV4(destination) ? [...rules, ...make(sources.v6, allV6, `${route.id}${twinId}`)] : rules;
}

function isV6(destination: RouteDestination): boolean {
  return destination.kind === 'prefix' && destination.prefix.address.family === 6;
}

function isAllV4(destination: RouteDestination): boolean {
  return destination.kind === 'prefix' && destination.prefix.address.family === 4 && destination.prefix.bits === 0;
}

function anyOf(text: '0.0.0.0/0' | '::/0'): IpPrefix {
  return parsePrefix(text) ?? { address: { family: 4, bytes: new Uint8Array(4) }, bits: 0 };
}
