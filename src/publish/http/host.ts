// Host names of requests in one canonical form, for routing and for access alike (attack rows T-3, T-5, T-6).

/** Splits and checks `Host`/`:authority`: lower case, no trailing dot, no port. Undefined where it is not exactly a host with an optional port. */
export function canonicalHost(authority: string): string | undefined {
  const last = cache.get(authority);
  if (last !== undefined) return last;
  const match = /^([A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?)\.?(?::([0-9]{1,5}))?$/.exec(authority);
  const name = match?.[1]?.toLowerCase();
  if (name === undefined || name.includes('..') || Number(match?.[2] ?? 0) > 65_535) return undefined;
  if (cache.size >= CACHED_HOSTS) cache.clear();
  cache.set(authority, name);
  return name;
}

/** A service's domain: a host name, or a wildcard of exactly one label before one. */
export function canonicalDomain(domain: string): string | undefined {
  const wild = domain.startsWith('*.');
  const host = canonicalHost(wild ? domain.slice(2) : domain);
  return host === undefined || !wild ? host : `*.${host}`;
}

/** The only wildcard that stands for a host; for a name of one label, a text that is none. */
export function wildcardOf(host: string): string {
  return `*${host.slice(host.indexOf('.') >>> 0)}`;
}

/** Spellings of hosts remembered; a full table is emptied, so strangers can only make us parse again. */
const CACHED_HOSTS = 1_024;
const cache = new Map<string, string>();

/** The port in a checked authority, as text, or undefined. */
export function authorityPort(authority: string): string | undefined {
  const colon = authority.lastIndexOf(':');
  return colon < 0 ? undefined : authority.slice(colon + 1);
}
