// References in an upstream's answer that name what is inside, turned into ones that a visitor can follow: Location, Content-Location and Refresh.
import { isBelow } from './route-match.ts';
import type { PathFrame } from './upstream-path.ts';
import type { UpstreamTarget } from './upstream-target.ts';

/** A request at its target, as its answer's references have to be read. */
export interface Visit {
  readonly frame: PathFrame;
  readonly upstream: UpstreamTarget;
  /** `https://host[:port]`, as the visitor's browser sees it. */
  readonly origin: string;
  /** Host as the visitor sent it, and in its canonical form. */
  readonly authority: string;
  readonly host: string;
  /** Paths that were asked for, outside and at the target. */
  readonly path: string;
  readonly innerPath: string;
}

/**
 * A reference (RFC 3986 §4.1) as visitors may follow it. What names the target by its inner address becomes one of the service; so does a
 * path, and a URL that the application made from the host that it was told, unless it is below the route's path already. All others stay.
 */
export function rewriteReference(reference: string, visit: Visit): string {
  const { frame } = visit;
  const absolute = /^(?:https?:)?\/\/([^/?#\\]*)(.*)$/i.exec(reference);
  if (absolute !== null) {
    const [, authority = '', rest = ''] = absolute;
    const own = authority.toLowerCase() === visit.authority.toLowerCase();
    if (!own && !namesUpstream(authority.toLowerCase(), visit.upstream)) return reference;
    const [path, tail] = split(rest.startsWith('/') ? rest : `/${rest}`);
    return visit.origin + (own ? outwards(path, frame) : (fromInside(path, frame) ?? path)) + tail;
  }
  if (/^(?:[a-z][a-z0-9+.-]*:|[/\\]{2}|\\)/i.test(reference)) return reference;
  const [path, tail] = split(reference);
  if (path.startsWith('/')) return local(outwards(path, frame), visit) + tail;
  if (!/(?:^|\/)\.\.(?:\/|$)/.test(path)) return reference;
  // Steps upwards mean the same outside as inside only as long as they stay below the route.
  const inside = fromInside(resolvePath(visit.innerPath, path), frame);
  return inside === undefined || inside === resolvePath(visit.path, path) ? reference : local(inside, visit) + tail;
}

/** Refresh: seconds, and where to go then. */
export function rewriteRefresh(value: string, rewrite: (reference: string) => string): string {
  const match = /^(\s*[0-9.]*\s*[;,]?\s*url\s*=\s*)(["']?)(.*?)\2(\s*)$/i.exec(value);
  if (match === null) return value;
  const [, before = '', quote = '', url = '', after = ''] = match;
  return `${before}${quote}${rewrite(url)}${quote}${after}`;
}

/** Where a visitor is whose addresses all begin with a prefix that the application knows nothing of. */
export interface Behind {
  readonly prefix: string;
  readonly origin: string;
  readonly authority: string;
  /** That was asked for, without the prefix. */
  readonly path: string;
}

/**
 * A reference of an answer, so that who follows it stays behind the prefix. It goes into what leads to our own origin over TLS, and nowhere else:
 * it may be a secret.
 */
export function behindPrefix(reference: string, { prefix, origin, authority, path }: Behind): string {
  const absolute = /^(?:https:)?\/\/([^/?#\\]*)(.*)$/i.exec(reference);
  if (absolute !== null) {
    const [, host = '', rest = ''] = absolute;
    if (host.toLowerCase() !== authority.toLowerCase() && `https://${host.toLowerCase()}` !== origin) return reference;
    return origin + prefix + (rest.startsWith('/') ? rest : `/${rest}`);
  }
  if (/^(?:[a-z][a-z0-9+.-]*:|[/\\]{2}|\\)/i.test(reference)) return reference;
  const [steps, tail] = split(reference);
  if (steps.startsWith('/')) return prefix + reference;
  return /(?:^|\/)\.\.(?:\/|$)/.test(steps) ? prefix + resolvePath(path, steps) + tail : reference;
}

/** The Path of a target's cookie as the visitor's browser has to see it. A cookie for all of the target is one for all of the route. */
export function outwardCookiePath(path: string, { outer, inner }: PathFrame): string {
  const bare = path === '/' ? '' : path;
  if (outer !== '' && isBelow(bare, outer)) return path;
  if (isBelow(bare, inner)) return outer + bare.slice(inner.length) || '/';
  return isBelow(inner, bare) ? outer || '/' : path;
}

function outwards(path: string, frame: PathFrame): string {
  return frame.outer !== '' && isBelow(path, frame.outer) ? path : (fromInside(path, frame) ?? path);
}

function fromInside(path: string, { outer, inner }: PathFrame): string | undefined {
  return isBelow(path, inner) ? outer + path.slice(inner.length) || '/' : undefined;
}

/** A path alone, or with our origin where alone it would name another host (attack row R-1). */
function local(path: string, { origin }: Visit): string {
  return /^[/\\]{2}/.test(path) ? origin + path : path;
}

function split(reference: string): readonly [path: string, tail: string] {
  const end = reference.search(/[?#]/);
  return end < 0 ? [reference, ''] : [reference.slice(0, end), reference.slice(end)];
}

/** RFC 3986 §5.2.3 and §5.2.4, for a relative path. */
function resolvePath(base: string, path: string): string {
  const kept: string[] = [];
  const segments = [...base.split('/').slice(1, -1), ...path.split('/')];
  for (const [i, segment] of segments.entries()) {
    if (segment === '..') kept.pop();
    else if (segment !== '.') kept.push(segment);
    if (i === segments.length - 1 && (segment === '.' || segment === '..')) kept.push('');
  }
  return `/${kept.join('/')}`;
}

function namesUpstream(authority: string, { target, tls }: UpstreamTarget): boolean {
  const { host, port } = target;
  const name = host.includes(':') ? `[${host}]` : host.toLowerCase();
  return authority === `${name}:${port}` || (authority === name && port === (tls === undefined ? 80 : 443));
}
