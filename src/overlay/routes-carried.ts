// Routes as their carrier: which addresses this peer stands in for, and which flows its rules let through. Default deny.
//
// An address is carried for a prefix of the map, or because a routed name was resolved to it for somebody. Rules about names hold for the
// addresses that those names were resolved to, for as long as the answer was good and a while longer.
import { formatIp, hostPrefix, type IpAddress, ipFromBytes, type IpPrefix, parseIp, prefixContains } from '#lib/ip.ts';
import { matchesDomain } from '#model/dns.ts';
import type { PublicKey } from '#model/ids.ts';
import { admitsRouted, type RouteRule, type Routing } from '#model/routes.ts';
import { PrefixTable } from '#lib/prefix-table.ts';
import { MAX_CARRIED, MAX_NAMES_OF_ADDRESS, MAX_RESOLVED_ADDRESSES, RESOLVED_GRACE_MS, RESOLVED_SWEEP_MS } from './constants.ts';
import { isInside, specialRange } from '#lib/special-addresses.ts';

export interface CarriedRoutesOptions {
  /** This host's own addresses on its own networks, as text. */
  readonly hostAddresses: () => readonly string[];
  /** Whether the peers' own rules let this flow to us: they decide where a route leads to this host itself. */
  readonly admitsToSelf: (protocol: 'tcp' | 'udp', from: IpAddress, port: number) => boolean;
  /** Whether a connection or flow to the address is open: then it is not forgotten. */
  readonly isOpen: (to: IpAddress) => boolean;
}

interface Carried {
  /** Undefined for the overlay's own network, which hides what a wider route would say of it. */
  readonly prefix: IpPrefix | undefined;
}

interface Resolved {
  readonly ip: IpAddress;
  /** Name → clock milliseconds until which new flows may use it. */
  readonly names: Map<string, number>;
}

export class CarriedRoutes {
  readonly #options: CarriedRoutesOptions;
  #prefixes = new PrefixTable<Carried>();
  #domains: readonly string[] = [];
  #rules: readonly RouteRule[] = [];
  #network: readonly IpPrefix[] = [];
  /** By address text, the one learnt or renewed last at the end. */
  readonly #resolved = new Map<string, Resolved>();
  /** Grows with each change of what is admitted. */
  #generation = 0;
  #forgetAt = -Infinity;

  constructor(options: CarriedRoutesOptions) {
    this.#options = options;
  }

  /** Replaces the routes and rules; undefined carries nothing. `network` is the overlay's own, which is never carried into. */
  set(routing: Routing | undefined, self: PublicKey, network: readonly IpPrefix[]): void {
    const prefixes = new PrefixTable<Carried>();
    const domains = new Set<string>();
    for (const { peer, destination } of routing?.routes ?? []) {
      if (peer !== self || prefixes.size + domains.size >= MAX_CARRIED) continue;
      if (destination.kind === 'domains') for (const domain of destination.domains) domains.add(domain);
      else if (!network.some((own) => isInside(destination.prefix, own))) prefixes.set(destination.prefix, { prefix: destination.prefix });
    }
    const carriesAny = prefixes.size + domains.size > 0;
    for (const own of network) prefixes.set(own, { prefix: undefined });
    this.#prefixes = prefixes;
    this.#domains = [...domains];
    this.#rules = carriesAny ? (routing?.rules ?? []) : [];
    this.#network = network;
    this.#generation++;
    for (const [text, { names }] of this.#resolved) {
      for (const name of names.keys()) if (!this.carriesName(name)) names.delete(name);
      if (names.size === 0) this.#resolved.delete(text);
    }
  }

  get generation(): number {
    return this.#generation;
  }

  /** Whether names are resolved here for others. */
  get carriesNames(): boolean {
    return this.#domains.length > 0;
  }

  carriesName(name: string): boolean {
    return this.#domains.some((domain) => matchesDomain(domain, name));
  }

  /** Whether a packet to the address at `at` is for this peer to carry. Which of them may pass is another question. */
  carries(bytes: Uint8Array, at: number, family: 4 | 6): boolean {
    const carried = this.#prefixes.lookup(family, bytes, at);
    if (carried !== undefined) return carried.prefix !== undefined;
    if (this.#resolved.size === 0) return false;
    const ip = ipFromBytes(bytes.subarray(at, at + (family === 4 ? 4 : 16)));
    return ip !== undefined && this.#resolved.has(formatIp(ip));
  }

  /** Whether a flow may start. */
  admits(protocol: 'tcp' | 'udp', from: IpAddress, to: IpAddress, port: number, now: number): boolean {
    return this.#passes(protocol, from, to, port, now);
  }

  /** Whether a flow that has started may go on: the names that its address had then still count. */
  keeps(protocol: 'tcp' | 'udp', from: IpAddress, to: IpAddress, port: number): boolean {
    return this.#passes(protocol, from, to, port, -Infinity);
  }

  #passes(protocol: 'tcp' | 'udp', from: IpAddress, to: IpAddress, port: number, now: number): boolean {
    if (this.#network.some((own) => prefixContains(own, to))) return false;
    const prefix = this.#prefixes.lookup(to.family, to.bytes, 0)?.prefix;
    const names = this.#namesOf(to, now);
    if (prefix === undefined && names.length === 0) return false;
    const special = specialRange(to);
    if (special !== undefined && (prefix === undefined || !isInside(prefix, special))) return false;
    if (!this.#mayBeSelf(protocol, from, to, port, prefix)) return false;
    // Without a prefix of ours only rules about names can have meant the address.
    const rules =
      prefix === undefined ? this.#rules.filter(({ action, destination }) => action === 'drop' || destination.kind === 'domains') : this.#rules;
    return admitsRouted(rules, { protocol, from, to, port, names });
  }

  /** Whether a peer may have this name resolved: some rule lets it reach the name. */
  mayResolve(from: IpAddress, name: string): boolean {
    return (
      this.carriesName(name) &&
      this.#rules.some(
        ({ action, sources, destination }) =>
          action === 'accept' &&
          destination.kind === 'domains' &&
          destination.domains.some((domain) => matchesDomain(domain, name)) &&
          sources.some((source) => prefixContains(source, from)),
      )
    );
  }

  /** Whether a peer has any name to ask for. */
  maySendQuestions(from: IpAddress): boolean {
    return (
      this.carriesNames &&
      this.#rules.some(
        ({ action, sources, destination }) =>
          action === 'accept' && destination.kind === 'domains' && sources.some((source) => prefixContains(source, from)),
      )
    );
  }

  /** A name was resolved for somebody. Returns the addresses that may be told: none that is special, of the overlay, or of this host. */
  learn(name: string, addresses: readonly IpAddress[], ttlMs: number, now: number): readonly IpAddress[] {
    const good = addresses.filter((ip) => specialRange(ip) === undefined && !this.#network.some((own) => prefixContains(own, ip)));
    for (const ip of good) {
      const text = formatIp(ip);
      const entry = this.#resolved.get(text) ?? { ip, names: new Map<string, number>() };
      this.#resolved.delete(text);
      this.#resolved.set(text, entry);
      entry.names.delete(name);
      entry.names.set(name, now + ttlMs + RESOLVED_GRACE_MS);
      dropOldest(entry.names, MAX_NAMES_OF_ADDRESS);
    }
    this.#forget(now);
    return good;
  }

  /** Addresses that names stand for now, for the limit's test. */
  get resolvedCount(): number {
    return this.#resolved.size;
  }

  #namesOf(ip: IpAddress, now: number): readonly string[] {
    const names = this.#resolved.get(formatIp(ip))?.names;
    return names === undefined ? [] : [...names].filter(([, until]) => until > now).map(([name]) => name);
  }

  /** A route that names this very host means it. A wider one, or a name, reaches it only where the peers' own rules do, too. */
  #mayBeSelf(protocol: 'tcp' | 'udp', from: IpAddress, to: IpAddress, port: number, prefix: IpPrefix | undefined): boolean {
    if (prefix !== undefined && (prefix.bits === hostPrefix(to).bits || specialRange(to) !== undefined)) return true;
    const text = formatIp(to);
    const own = this.#options.hostAddresses().some((address) => {
      const parsed = parseIp(address);
      return parsed !== undefined && formatIp(parsed) === text;
    });
    return !own || this.#options.admitsToSelf(protocol, from, port);
  }

  #forget(now: number): void {
    if (now >= this.#forgetAt) {
      this.#forgetAt = now + RESOLVED_SWEEP_MS;
      for (const [text, { ip, names }] of this.#resolved) {
        const over = [...names.values()].every((until) => until <= now);
        if (over && !this.#options.isOpen(ip)) this.#resolved.delete(text);
      }
    }
    dropOldest(this.#resolved, MAX_RESOLVED_ADDRESSES);
  }
}

/** Maps keep their order: what was set first goes first. */
function dropOldest(map: Map<string, unknown>, limit: number): void {
  for (const key of map.keys()) {
    if (map.size <= limit) return;
    map.delete(key);
  }
}
