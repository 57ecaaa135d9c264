// Ways into networks behind peers, made once in a state of the network and shared by the maps of all whom they concern.
import { hostPrefix, parseIp, parsePrefix } from '#lib/ip.ts';
import type { PeerId } from '#model/ids.ts';
import type { NetworkResource, NetworkRouter, PlannedRoute } from '#model/network-plan.ts';
import type { PolicyRule } from '#model/network.ts';
import { haGroup, type Route, type RouteDestination, type RouteRule } from '#model/routes.ts';
import type { MapPeer, PeerSet } from './map-peer.ts';
import { everybody, routesFor, rulesFor } from './route-rules.ts';
import type { SourceLists } from './sources.ts';

/** A rule that is about a resource, with its sources resolved. `destination` narrows what it grants. */
export class Grant {
  readonly rule: Pick<PolicyRule, 'action' | 'protocol' | 'ports'>;
  readonly sources: PeerSet;
  readonly destination: RouteDestination | undefined;

  constructor(rule: Grant['rule'], sources: PeerSet, destination?: RouteDestination) {
    this.rule = rule;
    this.sources = sources;
    this.destination = destination;
  }
}

/** A resource, the peers that lead to it, and what policies grant there. */
export class ResourceWay {
  readonly resource: NetworkResource;
  readonly routers: ReadonlyMap<PeerId, { readonly entry: MapPeer; readonly router: NetworkRouter }>;
  readonly grants: readonly Grant[];
  readonly #routes = new Map<PeerId, readonly [v4: readonly Route[], both: readonly Route[]]>();

  constructor(resource: NetworkResource, routers: ResourceWay['routers'], grants: readonly Grant[]) {
    this.resource = resource;
    this.routers = routers;
    this.grants = grants;
  }

  /** What accepts somebody; whom another rule forbids some of it is among them. */
  accepting(): readonly Grant[] {
    return this.grants.filter(({ rule, sources }) => rule.action === 'accept' && sources.size > 0);
  }

  /** Whether the peer may reach that port of all of it: something accepts and nothing forbids. */
  admits(id: PeerId, protocol: 'tcp' | 'udp', port: number): boolean {
    const concerning = this.grants.filter(
      ({ rule, sources }) =>
        sources.has(id) &&
        (rule.protocol === 'all' || rule.protocol === protocol) &&
        (rule.ports.length === 0 || rule.ports.some((range) => port >= range.start && port <= range.end)),
    );
    return concerning.length > 0 && concerning.every(({ rule }) => rule.action === 'accept');
  }

  /** The route through one of the routers. */
  routes(router: PeerId, ipv6: boolean): readonly Route[] {
    let made = this.#routes.get(router);
    if (made === undefined) {
      const route = this.#route(router);
      made = route === undefined ? [[], []] : [routesFor(route, false), routesFor(route, true)];
      this.#routes.set(router, made);
    }
    return made[ipv6 ? 1 : 0];
  }

  /** What may pass through that router. What forbids comes first, for filters that stop at the first match. */
  rules(router: PeerId, ipv6: boolean, lists: SourceLists): readonly RouteRule[] {
    const route = this.#route(router);
    if (route === undefined) return [];
    const ordered = this.grants.toSorted((a, b) => order(a.rule.action) - order(b.rule.action));
    return ordered.flatMap((grant) => rulesFor(route, grant.rule, lists.of(grant.sources), ipv6, grant.destination));
  }

  #route(router: PeerId): Route | undefined {
    const found = this.routers.get(router);
    const destination = destinationOf(this.resource);
    if (found === undefined || destination === undefined) return undefined;
    return {
      id: `${this.resource.id}:${router}`,
      netId: this.resource.name,
      destination,
      peer: found.entry.peer.publicKey,
      metric: found.router.metric,
      masquerade: found.router.masquerade,
      keepAddresses: true,
      autoApply: true,
    };
  }
}

/** A planned route through one of its carriers. */
export class PlannedWay {
  readonly enabled: boolean;
  readonly carrier: MapPeer;
  /** Ways with one such name lead to the same place. */
  readonly haGroup: string;
  /** The peers that may take it. */
  readonly distribution: PeerSet;
  readonly #routes: readonly [v4: readonly Route[], both: readonly Route[]];
  readonly #route: Route;
  /** Undefined where everybody may pass who has the route. */
  readonly #grants: readonly Grant[] | undefined;

  constructor(plan: PlannedRoute, destination: RouteDestination, carrier: MapPeer, distribution: PeerSet, grants: readonly Grant[] | undefined) {
    this.enabled = plan.enabled;
    this.carrier = carrier;
    this.distribution = distribution;
    this.#route = {
      id: plan.peer === undefined ? `${plan.id}:${carrier.peer.id}` : plan.id,
      netId: plan.netId,
      destination,
      peer: carrier.peer.publicKey,
      metric: plan.metric,
      masquerade: plan.masquerade,
      keepAddresses: plan.keepRoute,
      autoApply: !plan.skipAutoApply,
    };
    this.haGroup = haGroup(this.#route);
    this.#routes = [routesFor(this.#route, false), routesFor(this.#route, true)];
    this.#grants = grants;
  }

  routes(ipv6: boolean): readonly Route[] {
    return this.#routes[ipv6 ? 1 : 0];
  }

  rules(ipv6: boolean, lists: SourceLists): readonly RouteRule[] {
    if (this.#grants === undefined) return rulesFor(this.#route, { action: 'accept', protocol: 'all', ports: [] }, everybody, ipv6);
    const ordered = this.#grants.toSorted((a, b) => order(a.rule.action) - order(b.rule.action));
    return ordered.flatMap((grant) => rulesFor(this.#route, grant.rule, lists.of(grant.sources), ipv6));
  }
}

function order(action: PolicyRule['action']): number {
  return action === 'drop' ? 0 : 1;
}

function destinationOf({ type, address }: Pick<NetworkResource, 'type' | 'address'>): RouteDestination | undefined {
  return type === 'domain' ? { kind: 'domains', domains: [address] } : prefixDestination(address);
}

export function prefixDestination(text: string): RouteDestination | undefined {
  const prefix = parsePrefix(text);
  return prefix === undefined ? undefined : { kind: 'prefix', prefix };
}

/**
 * One address; undefined for a name. Rules about names have to name what the route names: stock routers know the addresses behind a route's
 * own names, and no others.
 */
export function hostDestination(host: string): RouteDestination | undefined {
  const ip = parseIp(host);
  return ip === undefined ? undefined : { kind: 'prefix', prefix: hostPrefix(ip) };
}
