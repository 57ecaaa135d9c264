// Networks behind peers in the maps (netbird-wire §2.7). Whoever a policy grants a resource gets a route through each of the network's
// routers; the routers get the rules of what may pass, and both get to see each other. Planned routes are the older way: carried by peers,
// distributed to groups, and taken through those peers only that a policy connects the receiver with.
import type { PeerId } from '#model/ids.ts';
import type { NetworkId, NetworkResource, PlannedRoute } from '#model/network-plan.ts';
import type { Route, RouteRule } from '#model/routes.ts';
import type { MapPeer, Members, PeerSet } from './map-peer.ts';
import type { MapRule } from './map-rule.ts';
import { append } from './multimap.ts';
import type { NetworkPlan } from './plan.ts';
import type { SourceLists } from './sources.ts';
import { Grant, PlannedWay, prefixDestination, ResourceWay } from './ways.ts';

/** A gateway's way to a resource: derived from a published service, never typed in. */
export interface ResourceGrant {
  readonly resourceId: string;
  readonly grant: Grant;
}

/** What a map gets out of it. */
export interface RoutingPart {
  readonly routes: readonly Route[];
  readonly rules: readonly RouteRule[];
  /** Peers that have to be seen for it. */
  readonly peers: Iterable<MapPeer>;
}

export class RoutingIndex {
  /** What grants a peer something, and where that leads: a rule that grants everybody much is one entry for each, not one for each of both. */
  readonly #granted = new Map<PeerId, Grant[]>();
  readonly #waysOf = new Map<Grant, ResourceWay[]>();
  /** Resources that a peer leads to. */
  readonly #led = new Map<PeerId, ResourceWay[]>();
  readonly #planned = new Map<PeerId, PlannedWay[]>();
  readonly #lists: SourceLists;
  /** Routers that gateways ask for names. */
  readonly #resolving = new Set<PeerId>();

  constructor(plan: NetworkPlan, rules: readonly MapRule[], members: Members, services: readonly ResourceGrant[], lists: SourceLists) {
    this.#lists = lists;
    this.#addResources(plan, rules, members, services);
    for (const route of plan.routes) this.#addPlanned(route, rules, members);
  }

  /** Whether a gateway reaches a name through this peer: then the peer answers for names, whatever the settings say. */
  resolvesForGateways(id: PeerId): boolean {
    return this.#resolving.has(id);
  }

  /** The resources that policies let the peer reach at that port, itself among their routers or not. What forbids wins. */
  reachedBy(id: PeerId, protocol: 'tcp' | 'udp', port: number): readonly NetworkResource[] {
    const ways = new Set((this.#granted.get(id) ?? []).flatMap((grant) => this.#waysOf.get(grant) ?? []));
    return [...ways].filter((way) => way.admits(id, protocol, port)).map(({ resource }) => resource);
  }

  /** `connected` are the peers that policies connect the receiver with. */
  partOf(self: MapPeer, ipv6: boolean, connected: Iterable<MapPeer>): RoutingPart {
    const { id } = self.peer;
    const routes: Route[] = [];
    const rules: RouteRule[] = [];
    const peers = new Set<MapPeer>();
    const accepting = new Set<Grant>();
    for (const way of this.#led.get(id) ?? []) {
      routes.push(...way.routes(id, ipv6));
      rules.push(...way.rules(id, ipv6, this.#lists));
      for (const grant of way.accepting()) accepting.add(grant);
    }
    for (const { sources } of accepting) for (const entry of sources.values()) peers.add(entry);
    const taken = new Set((this.#granted.get(id) ?? []).flatMap((grant) => this.#waysOf.get(grant) ?? []));
    for (const way of taken) {
      if (way.routers.has(id)) continue;
      for (const { entry } of way.routers.values()) {
        routes.push(...way.routes(entry.peer.id, ipv6));
        peers.add(entry);
      }
    }
    if (this.#planned.size > 0) this.#addPlannedOf(id, ipv6, connected, routes, rules);
    return { routes, rules, peers };
  }

  /** Own ways first; ways of others to where one leads oneself are not told, whether or not the own one is switched on. */
  #addPlannedOf(id: PeerId, ipv6: boolean, connected: Iterable<MapPeer>, routes: Route[], rules: RouteRule[]): void {
    const own = this.#planned.get(id) ?? [];
    for (const way of own.filter(({ enabled }) => enabled)) {
      routes.push(...way.routes(ipv6));
      rules.push(...way.rules(ipv6, this.#lists));
    }
    const places = new Set(own.map((way) => way.haGroup));
    for (const other of connected) {
      for (const way of this.#planned.get(other.peer.id) ?? []) {
        if (way.enabled && way.distribution.has(id) && !places.has(way.haGroup)) routes.push(...way.routes(ipv6));
      }
    }
  }

  #addResources(plan: NetworkPlan, rules: readonly MapRule[], members: Members, services: readonly ResourceGrant[]): void {
    if (plan.resources.length === 0) return;
    const routers = routersByNetwork(plan, members);
    const grants = grantsByResource(plan.resources, rules);
    for (const { resourceId, grant } of services) append(grants, resourceId, grant);
    for (const resource of plan.resources) {
      const leading = routers.get(resource.networkId);
      if (!resource.enabled || leading === undefined) continue;
      const way = new ResourceWay(resource, leading, grants.get(resource.id) ?? []);
      const accepting = way.accepting();
      if (accepting.length === 0) continue;
      const published = resource.type === 'domain' && services.some(({ resourceId, grant }) => resourceId === resource.id && grant.sources.size > 0);
      if (published) for (const id of leading.keys()) this.#resolving.add(id);
      for (const id of leading.keys()) append(this.#led, id, way);
      for (const grant of accepting) append(this.#waysOf, grant, way);
    }
    for (const grant of this.#waysOf.keys()) for (const id of grant.sources.keys()) append(this.#granted, id, grant);
  }

  #addPlanned(route: PlannedRoute, rules: readonly MapRule[], members: Members): void {
    const destination = route.network === undefined ? ({ kind: 'domains', domains: route.domains } as const) : prefixDestination(route.network);
    if (destination === undefined) return;
    const distribution = members.of(route.groups);
    const grants = route.accessControlGroups.length === 0 ? undefined : plannedGrants(route, rules, distribution);
    for (const [id, carrier] of members.oneOrOf(route.peer, route.peerGroups)) {
      append(this.#planned, id, new PlannedWay(route, destination, carrier, distribution, grants));
    }
  }
}

/** The peers that lead into each network. One whose login has expired leads nowhere; of two routers with one peer the later counts. */
function routersByNetwork({ routers }: NetworkPlan, members: Members): ReadonlyMap<NetworkId, ResourceWay['routers']> {
  const found = new Map<NetworkId, Map<PeerId, { readonly entry: MapPeer; readonly router: (typeof routers)[number] }>>();
  for (const router of routers.filter(({ enabled }) => enabled)) {
    const leading = found.get(router.networkId) ?? new Map<PeerId, { readonly entry: MapPeer; readonly router: (typeof routers)[number] }>();
    found.set(router.networkId, leading);
    for (const [id, entry] of members.oneOrOf(router.peer, router.peerGroups)) {
      if (!entry.peer.loginExpired) leading.set(id, { entry, router });
    }
  }
  return found;
}

function grantsByResource(resources: readonly NetworkResource[], rules: readonly MapRule[]): Map<string, Grant[]> {
  const byGroup = new Map<string, NetworkResource[]>();
  for (const resource of resources) for (const group of resource.groups) append(byGroup, group, resource);
  const grants = new Map<string, Grant[]>();
  for (const { rule, sources } of rules) {
    const direct = rule.destinationResource !== undefined && rule.destinationResource.type !== 'peer' ? [rule.destinationResource.id] : [];
    const granted = new Set([...direct, ...rule.destinations.flatMap((group) => byGroup.get(group) ?? []).map(({ id }) => id)]);
    if (granted.size === 0) continue;
    const grant = new Grant(rule, sources);
    for (const id of granted) append(grants, id, grant);
  }
  return grants;
}

/** Rules whose destinations are the route's access control groups, for those sources that get the route. */
function plannedGrants(route: PlannedRoute, rules: readonly MapRule[], distribution: PeerSet): readonly Grant[] {
  return rules
    .filter(({ rule }) => rule.destinations.some((group) => route.accessControlGroups.includes(group)))
    .map(({ rule, sources }) => new Grant(rule, new Map([...sources].filter(([id]) => distribution.has(id)))));
}
