// Routes as their client: which routing peer carries a prefix now, and who carries the addresses that a routed name stands for.
//
// An address has one peer in the WireGuard engine, so a prefix that moves to another routing peer takes its open connections with it. That
// is right where the old peer is lost. Where it still works and only a better one is back, the addresses of open connections stay with it.
import { formatIp, formatPrefix, hostPrefix, type IpAddress, type IpPrefix, prefixContains } from '#lib/ip.ts';
import { matchesDomain } from '#model/dns.ts';
import type { PublicKey } from '#model/ids.ts';
import { haGroup, isDefaultRoute, type Route, type Routing } from '#model/routes.ts';
import { PrefixTable } from '#lib/prefix-table.ts';
import { MAX_NAMED_ADDRESSES, MAX_PREFIXES_TAKEN } from './constants.ts';
import { isInside, specialRange } from '#lib/special-addresses.ts';

/** How a peer can be reached now. `idle`: it has no path because nobody wants one; `gone`: the map does not have it. */
export type Reach = 'direct' | 'relay' | 'idle' | 'seeking' | 'gone';

export interface TakenRoutesOptions {
  /** Take 0.0.0.0/0 and ::/0 too, of peers that are to be taken by themselves. */
  readonly exitNodes: boolean;
  readonly reach: (peer: PublicKey) => Reach;
  /** The remote addresses of our open connections, each with the peer that carries it. */
  readonly open: () => Iterable<{ readonly peer: PublicKey; readonly ip: IpAddress }>;
}

/** Routes to one place, by different peers. */
export interface RouteGroup {
  readonly netId: string;
  readonly candidates: readonly Route[];
  /** The peer that carries it now; undefined where the map has none of them. */
  readonly router: PublicKey | undefined;
}

interface Group {
  netId: string;
  candidates: Route[];
  router: PublicKey | undefined;
}

interface PrefixGroup extends Group {
  readonly prefix: IpPrefix;
}

interface DomainGroup extends Group {
  readonly domains: readonly string[];
}

interface Held {
  readonly ip: IpAddress;
  readonly peer: PublicKey;
  readonly group: Group;
  /** Clock milliseconds; until then it is held without a connection too. */
  readonly until: number;
}

export class TakenRoutes {
  readonly #options: TakenRoutesOptions;
  #prefixes: ReadonlyMap<string, PrefixGroup> = new Map();
  #domains: ReadonlyMap<string, DomainGroup> = new Map();
  #routers: ReadonlySet<PublicKey> = new Set();
  /** Addresses with a peer of their own: open connections that stayed, and what names stand for. By text. */
  readonly #held = new Map<string, Held>();
  #ofPeer: ReadonlyMap<PublicKey, readonly IpPrefix[]> = new Map();
  #table = new PrefixTable<{ readonly peer: PublicKey; readonly prefix: IpPrefix }>();
  #network: readonly IpPrefix[] = [];

  constructor(options: TakenRoutesOptions) {
    this.#options = options;
  }

  /** Replaces the routes; `network` is the overlay's own, which no route may reach into. Call `choose` afterwards. */
  set(routing: Routing | undefined, self: PublicKey, network: readonly IpPrefix[]): void {
    const before = { prefixes: this.#prefixes, domains: this.#domains };
    const routes = routing?.routes ?? [];
    // What we carry ourselves we do not take from others.
    const carried = new Set(routes.filter(({ peer }) => peer === self).map((route) => haGroup(route)));
    const prefixes = new Map<string, PrefixGroup>();
    const domains = new Map<string, DomainGroup>();
    for (const route of routes) {
      const { destination } = route;
      if (carried.has(haGroup(route)) || (isDefaultRoute(route) && !(this.#options.exitNodes && route.autoApply))) continue;
      if (destination.kind === 'domains') {
        add(domains, before.domains, haGroup(route), route, (router) => ({ ...newGroup(route, router), domains: destination.domains }));
        continue;
      }
      const { prefix } = destination;
      const key = formatPrefix(prefix);
      // A route into the overlay's own network would take packets from a peer.
      const usable = !network.some((own) => isInside(prefix, own)) && (prefixes.size < MAX_PREFIXES_TAKEN || prefixes.has(key));
      if (usable) add(prefixes, before.prefixes, key, route, (router) => ({ ...newGroup(route, router), prefix }));
    }
    this.#prefixes = prefixes;
    this.#domains = domains;
    this.#routers = new Set([...prefixes.values(), ...domains.values()].flatMap(({ candidates }) => candidates.map(({ peer }) => peer)));
    this.#network = network;
    // What is held goes on where its group does.
    for (const [text, held] of this.#held) {
      const group = 'domains' in held.group ? domains.get(groupKey(held.group)) : prefixes.get(groupKey(held.group));
      if (group === undefined || !carries(group, held.peer)) this.#held.delete(text);
      else this.#held.set(text, { ...held, group });
    }
  }

  /** Whether the peer may carry something for us: only then its path matters here. */
  isRouter(peer: PublicKey): boolean {
    return this.#routers.has(peer);
  }

  /** Whether there is nothing to look at. */
  get empty(): boolean {
    return this.#prefixes.size + this.#domains.size + this.#ofPeer.size === 0;
  }

  /** Looks again who carries what; returns the peers whose prefixes are others now. */
  choose(now: number): ReadonlySet<PublicKey> {
    const moved: { readonly group: PrefixGroup; readonly from: PublicKey }[] = [];
    for (const group of [...this.#prefixes.values(), ...this.#domains.values()]) {
      const from = group.router;
      group.router = this.#best(group);
      if (from !== undefined && from !== group.router && 'prefix' in group) moved.push({ group, from });
    }
    if (moved.length > 0 || this.#held.size > 0) this.#hold(moved, now);
    return this.#assign();
  }

  /** The prefixes behind the peer that lead to it now. */
  prefixesOf(peer: PublicKey): readonly IpPrefix[] {
    return this.#ofPeer.get(peer) ?? [];
  }

  /** The peer that carries packets to the address now; nobody for one of the overlay's own network or a special one, whatever a wide route says. */
  routerOf(ip: IpAddress): PublicKey | undefined {
    if (this.#network.some((own) => prefixContains(own, ip))) return undefined;
    const found = this.#table.lookup(ip.family, ip.bytes, 0);
    const special = specialRange(ip);
    return found === undefined || (special !== undefined && !isInside(found.prefix, special)) ? undefined : found.peer;
  }

  /** The routes of a canonical name, the closest match first: the name itself before a wildcard, a long wildcard before a short one. */
  groupOf(name: string): RouteGroup | undefined {
    let best: { readonly group: DomainGroup; readonly length: number } | undefined;
    for (const group of this.#domains.values()) {
      for (const domain of group.domains) {
        const length = domain.startsWith('*.') ? domain.length : Infinity;
        if (matchesDomain(domain, name) && (best === undefined || length > best.length)) best = { group, length };
      }
    }
    return best?.group;
  }

  /**
   * Addresses that a name of the group has, as its router said: they lead to the router until then, and while connections to them are open.
   * Returns those that may be used. Call `choose` afterwards.
   */
  bind(group: RouteGroup, router: PublicKey, addresses: readonly IpAddress[], until: number): readonly IpAddress[] {
    const known = [...this.#domains.values()].find((candidate) => candidate === group);
    if (known === undefined || !carries(known, router)) return [];
    return addresses.filter((ip) => {
      const text = formatIp(ip);
      if (specialRange(ip) !== undefined || this.#network.some((own) => prefixContains(own, ip))) return false;
      const room = this.#held.size < MAX_NAMED_ADDRESSES || this.#held.has(text);
      if (room) this.#held.set(text, { ip, peer: router, group: known, until: Math.max(until, this.#held.get(text)?.until ?? 0) });
      return room;
    });
  }

  /** For the status: each group with who carries it. */
  groups(): readonly (RouteGroup & { readonly to: string })[] {
    return [
      ...[...this.#prefixes.values()].map((group) => ({ ...group, to: formatPrefix(group.prefix) })),
      ...[...this.#domains.values()].map((group) => ({ ...group, to: group.domains.join(' ') })),
    ];
  }

  /** Reachable first, then the metric, then whoever carries it already, then a direct path, then any fixed order. */
  #best(group: Group): PublicKey | undefined {
    const ranked = group.candidates
      .map(({ peer, metric }) => ({ peer, metric, reach: this.#options.reach(peer) }))
      .filter(({ reach }) => reach !== 'gone');
    ranked.sort(
      (a, b) =>
        Number(isLost(a.reach)) - Number(isLost(b.reach)) ||
        a.metric - b.metric ||
        Number(b.peer === group.router) - Number(a.peer === group.router) ||
        Number(b.reach === 'direct') - Number(a.reach === 'direct') ||
        (a.peer < b.peer ? -1 : 1),
    );
    return ranked[0]?.peer;
  }

  /** Keeps with their peer the addresses whose connections can go on there; forgets what nobody needs. */
  #hold(moved: readonly { readonly group: PrefixGroup; readonly from: PublicKey }[], now: number): void {
    const open = new Map<PublicKey, Map<string, IpAddress>>();
    for (const { peer, ip } of this.#options.open()) {
      const ofPeer = open.get(peer) ?? new Map<string, IpAddress>();
      ofPeer.set(formatIp(ip), ip);
      open.set(peer, ofPeer);
    }
    for (const { group, from } of moved) {
      if (isLost(this.#options.reach(from)) || !carries(group, from)) continue;
      for (const [text, ip] of open.get(from) ?? []) {
        if (prefixContains(group.prefix, ip) && this.#held.size < MAX_NAMED_ADDRESSES) this.#held.set(text, { ip, peer: from, group, until: 0 });
      }
    }
    for (const [text, held] of this.#held) {
      const wanted = held.until > now || open.get(held.peer)?.has(text) === true;
      // Where nobody else can carry it, a lost peer is still the best there is.
      const lost = isLost(this.#options.reach(held.peer)) && held.group.router !== held.peer;
      if (!wanted || lost || (held.peer === held.group.router && 'prefix' in held.group)) this.#held.delete(text);
    }
  }

  #assign(): ReadonlySet<PublicKey> {
    const ofPeer = new Map<PublicKey, IpPrefix[]>();
    const table = new PrefixTable<{ readonly peer: PublicKey; readonly prefix: IpPrefix }>();
    const give = (prefix: IpPrefix, peer: PublicKey): void => {
      const list = ofPeer.get(peer);
      if (list === undefined) ofPeer.set(peer, [prefix]);
      else list.push(prefix);
      table.set(prefix, { peer, prefix });
    };
    for (const { prefix, router } of this.#prefixes.values()) {
      if (router !== undefined && !this.#held.has(hostText(prefix))) give(prefix, router);
    }
    for (const { ip, peer } of this.#held.values()) give(hostPrefix(ip), peer);
    const changed = new Set<PublicKey>();
    for (const peer of new Set([...ofPeer.keys(), ...this.#ofPeer.keys()])) {
      if (textOf(ofPeer.get(peer)) !== textOf(this.#ofPeer.get(peer))) changed.add(peer);
    }
    this.#ofPeer = ofPeer;
    this.#table = table;
    return changed;
  }
}

function newGroup({ netId }: Route, router: PublicKey | undefined): Group {
  return { netId, candidates: [], router };
}

/** Adds the route to its group; a new group goes on with the router that it had before. */
function add<G extends Group>(
  groups: Map<string, G>,
  before: ReadonlyMap<string, G>,
  key: string,
  route: Route,
  make: (router: PublicKey | undefined) => G,
): void {
  const group = groups.get(key) ?? make(before.get(key)?.router);
  groups.set(key, group);
  group.candidates.push(route);
}

function groupKey(group: Group): string {
  const [first] = group.candidates;
  if (first === undefined) return '';
  return first.destination.kind === 'prefix' ? formatPrefix(first.destination.prefix) : haGroup(first);
}

function carries(group: Group, peer: PublicKey): boolean {
  return group.candidates.some((route) => route.peer === peer);
}

function isLost(reach: Reach): boolean {
  return reach === 'seeking' || reach === 'gone';
}

/** The address of a host prefix, as the key of what is held; no key for a wider one. */
function hostText({ address, bits }: IpPrefix): string {
  return bits === address.bytes.length * 8 ? formatIp(address) : '';
}

function textOf(prefixes: readonly IpPrefix[] | undefined): string {
  return (prefixes ?? [])
    .map((prefix) => formatPrefix(prefix))
    .toSorted()
    .join();
}
