// What a name stands for, for a dial: names of routes are asked for at their routing peer, then come the map's zones, then the nameserver
// groups, the closest match first. Peers' own names are known before anybody asks here.
import type { Clock } from '#lib/clock.ts';
import { formatIp, type IpAddress, parseIp } from '#lib/ip.ts';
import { type DnsConfig, type DnsRecord, type DnsZone, isUnder, type NameServer, type NameServerGroup } from '#model/dns.ts';
import type { PublicKey } from '#model/ids.ts';
import { DNS_RCODE, DNS_TYPE, type DnsMessage } from '#wire/dns.ts';
import { AnswerCache } from './dns-cache.ts';
import {
  DEFAULT_NEGATIVE_TTL_SECONDS,
  MAX_ANSWER_ADDRESSES,
  MAX_ANSWER_TTL_SECONDS,
  MAX_CNAMES,
  MAX_NEGATIVE_TTL_SECONDS,
  MAX_RECORD_TTL_SECONDS,
  RESOLVE_LIMIT_MS,
} from './constants.ts';
import { overlayError } from './errors.ts';
import type { RouteGroup, TakenRoutes } from './routes-taken.ts';

export interface NamesDeps {
  readonly clock: Clock;
  readonly taken: TakenRoutes;
  readonly ask: (
    servers: readonly NameServer[],
    question: { readonly name: string; readonly type: number },
    signal: AbortSignal,
  ) => Promise<DnsMessage>;
  /** Where a peer answers for routed names; undefined where it has no address that we can reach. */
  readonly forwarderOf: (router: PublicKey) => NameServer | undefined;
  /** Who carries what may be another now. */
  readonly bound: () => void;
}

/** What is known of a name: for how long, and who said it where that matters. */
interface Answer {
  readonly addresses: readonly IpAddress[];
  readonly ttlSeconds: number;
}

/** Servers that stand in for each other, by a key without spaces, and for how long what they say is kept. */
interface Source {
  readonly key: string;
  readonly servers: readonly NameServer[];
  readonly maxTtlSeconds: number;
}

const nothing: Answer = { addresses: [], ttlSeconds: 0 };

export class Names {
  readonly #deps: NamesDeps;
  readonly #cache: AnswerCache<ReadAnswer>;
  readonly #closing = new AbortController();
  #dns: DnsConfig | undefined;
  #zones: readonly { readonly zone: DnsZone; readonly records: ReadonlyMap<string, readonly DnsRecord[]> }[] = [];
  #families: readonly (4 | 6)[] = [4];
  #resolveAtRouter = true;

  constructor(deps: NamesDeps) {
    this.#deps = deps;
    this.#cache = new AnswerCache(deps.clock);
  }

  /** Replaces what the map says of names. `families` are those that we have an overlay address of. */
  set(dns: DnsConfig | undefined, resolveAtRouter: boolean, families: readonly (4 | 6)[]): void {
    if (JSON.stringify(this.#dns?.nameServerGroups, plain) !== JSON.stringify(dns?.nameServerGroups, plain)) this.#cache.clear();
    this.#dns = dns;
    this.#resolveAtRouter = resolveAtRouter;
    this.#families = families;
    this.#zones = (dns?.zones ?? [])
      .map((zone) => ({ zone, records: Map.groupBy(zone.records, ({ name }) => name) }))
      .toSorted((a, b) => b.zone.domain.length - a.zone.domain.length);
  }

  /** The names that are tried behind a name without a dot. */
  get searchDomains(): readonly string[] {
    return [
      ...this.#zones.filter(({ zone }) => !zone.searchDisabled && zone.domain !== '').map(({ zone }) => zone.domain),
      ...(this.#dns?.nameServerGroups ?? [])
        .filter(({ searchDomains }) => searchDomains)
        .flatMap(({ domains }) => domains.filter((domain) => !domain.startsWith('*.'))),
    ];
  }

  /**
   * Addresses of a canonical name, IPv4 first; none where it has none, or nobody is there to ask. Rejects with EAI_AGAIN, ENOBUFS,
   * or ABORT_ERR where the caller gives up; the question goes on for those who ask the same.
   */
  async resolve(name: string, signal: AbortSignal): Promise<readonly IpAddress[]> {
    const answers = await Promise.all(this.#families.map((family) => this.#resolve(name, family, signal, 0)));
    return answers.flatMap(({ addresses }) => addresses).slice(0, MAX_ANSWER_ADDRESSES);
  }

  /** Nobody answered at the addresses of the name: what is kept of it may be over, such as after a restart of who carries it. */
  forgetName(name: string): void {
    this.#cache.forget((key) => key.split(' ').includes(name));
  }

  /** The way to a routing peer is another: it may have started anew, and knows then nothing of what it once resolved. */
  forgetRouter(router: PublicKey): void {
    this.#cache.forget((key) => key.startsWith(`${router} `));
  }

  close(): void {
    this.#closing.abort();
  }

  async #resolve(name: string, family: 4 | 6, signal: AbortSignal, depth: number): Promise<Answer> {
    if (depth > MAX_CNAMES) return nothing;
    const group = this.#deps.taken.groupOf(name);
    if (group !== undefined) return this.#routed(group, name, family, signal, depth);
    return this.#unrouted(name, family, signal, depth);
  }

  /** What the routing peer says leads to the routing peer, also where the address is known otherwise. */
  async #routed(group: RouteGroup, name: string, family: 4 | 6, signal: AbortSignal, depth: number): Promise<Answer> {
    const { router } = group;
    const { taken, clock, bound, forwarderOf } = this.#deps;
    if (router === undefined) return nothing;
    const forwarder = this.#resolveAtRouter ? forwarderOf(router) : undefined;
    const answer = !this.#resolveAtRouter
      ? await this.#unrouted(name, family, signal, depth)
      : forwarder === undefined
        ? nothing
        : await this.#asked({ key: router, servers: [forwarder], maxTtlSeconds: MAX_ANSWER_TTL_SECONDS }, name, family, signal, depth);
    const usable = taken.bind(group, router, answer.addresses, clock.now() + answer.ttlSeconds * 1000);
    bound();
    return { ...answer, addresses: usable };
  }

  async #unrouted(name: string, family: 4 | 6, signal: AbortSignal, depth: number): Promise<Answer> {
    for (const { zone, records } of this.#zones) {
      if (!isUnder(zone.domain, name)) continue;
      const found = records.get(name) ?? records.get(name.replace(/^[^.]*/, '*'));
      const cname = found?.find(({ type }) => type === 'CNAME');
      if (cname !== undefined) return this.#resolve(cname.data, family, signal, depth + 1);
      if (found !== undefined) return ofRecords(found, family);
      if (zone.authoritative) return nothing;
    }
    const group = this.#groupOf(name);
    if (group === undefined) return nothing;
    const key = group.servers.map(({ ip, port }) => `${formatIp(ip)},${port}`).join();
    return this.#asked({ key, servers: group.servers, maxTtlSeconds: MAX_RECORD_TTL_SECONDS }, name, family, signal, depth);
  }

  #groupOf(name: string): NameServerGroup | undefined {
    let best: { readonly group: NameServerGroup; readonly length: number } | undefined;
    for (const group of this.#dns?.nameServerGroups ?? []) {
      const lengths = group.domains.map((domain) => domain.replace(/^\*\./, '')).filter((domain) => isUnder(domain, name));
      const length = group.primary ? -1 : Math.max(-2, ...lengths.map((domain) => domain.length));
      if (length > (best?.length ?? -2)) best = { group, length };
    }
    return best?.group;
  }

  async #asked({ key, servers, maxTtlSeconds }: Source, name: string, family: 4 | 6, signal: AbortSignal, depth: number): Promise<Answer> {
    const question = { name, type: family === 4 ? DNS_TYPE.a : DNS_TYPE.aaaa };
    const within = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(RESOLVE_LIMIT_MS)]);
    const shared = this.#cache.get(`${key} ${name} ${family}`, async () => {
      const message = await this.#deps.ask(servers, question, within);
      const read = readAnswer(message, name, family);
      const known = read.addresses.length > 0 || read.alias !== undefined;
      return { value: read, ttlSeconds: known ? Math.min(read.ttlSeconds, maxTtlSeconds) : negativeTtl(message) };
    });
    const { value, leftSeconds } = await abandon(shared, signal, name);
    if (value.alias === undefined) return { addresses: value.addresses, ttlSeconds: leftSeconds };
    // A server that follows no aliases: the other name may be somebody else's to answer.
    const target = await this.#resolve(value.alias, family, signal, depth + 1);
    return { ...target, ttlSeconds: Math.min(target.ttlSeconds, leftSeconds) };
  }
}

interface ReadAnswer extends Answer {
  /** Where the aliases end without an address. */
  readonly alias: string | undefined;
}

/** Follows the aliases from the name; records of other names are not looked at. */
function readAnswer(message: DnsMessage, name: string, family: 4 | 6): ReadAnswer {
  let at = name;
  let ttlSeconds = Infinity;
  for (let i = 0; i <= MAX_CNAMES; i++) {
    const here = message.answers.filter((record) => record.name === at);
    const addresses = here.flatMap(({ data }) => (data.kind === 'address' && data.ip.family === family ? [data.ip] : []));
    const alias = here.map(({ data }) => (data.kind === 'cname' ? data.target : undefined)).find((target) => target !== undefined);
    ttlSeconds = Math.min(ttlSeconds, ...here.map((record) => record.ttlSeconds));
    if (addresses.length > 0) return { addresses: addresses.slice(0, MAX_ANSWER_ADDRESSES), ttlSeconds, alias: undefined };
    if (alias === undefined) break;
    at = alias;
  }
  const open = at !== name && message.rcode === DNS_RCODE.ok;
  return { addresses: [], ttlSeconds: Number.isFinite(ttlSeconds) ? ttlSeconds : 0, alias: open ? at : undefined };
}

function ofRecords(records: readonly DnsRecord[], family: 4 | 6): Answer {
  const wanted = records.filter(({ type }) => type === (family === 4 ? 'A' : 'AAAA'));
  const addresses = wanted.flatMap(({ data }) => parseIp(data) ?? []).slice(0, MAX_ANSWER_ADDRESSES);
  return { addresses, ttlSeconds: Math.min(...wanted.map(({ ttlSeconds }) => ttlSeconds), MAX_RECORD_TTL_SECONDS) };
}

function negativeTtl({ negativeTtlSeconds }: DnsMessage): number {
  return Math.min(negativeTtlSeconds ?? DEFAULT_NEGATIVE_TTL_SECONDS, MAX_NEGATIVE_TTL_SECONDS);
}

/** The caller may leave; what was asked goes on for others. */
function abandon<T>(shared: Promise<T>, signal: AbortSignal, name: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(overlayError('ABORT_ERR', `resolving ${name}`, signal.reason));
    signal.addEventListener('abort', abort, { once: true });
    void shared.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    if (signal.aborted) abort();
  });
}

/** Bytes as text, so that configurations compare. */
function plain(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? [...value].join('.') : value;
}
