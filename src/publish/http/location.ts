// Redirects of an upstream that name it by its inner address, turned into ones that a visitor can follow.
import type { Route, RouteTarget } from './routes.ts';

/** An absolute Location that names the upstream becomes one of the service, with the stripped prefix put back; all others stay. */
export function rewriteLocation(location: string, route: Route, target: RouteTarget, origin: string): string {
  const match = /^https?:\/\/([^/?#]+)([/?#].*)?$/i.exec(location);
  if (match === null || !namesUpstream((match[1] ?? '').toLowerCase(), target)) return location;
  let rest = match[2] ?? '';
  if (!rest.startsWith('/')) rest = `/${rest}`;
  const { basePath } = target;
  if (basePath !== '' && (rest === basePath || rest.startsWith(`${basePath}/`))) rest = rest.slice(basePath.length) || '/';
  return `${origin}${route.paths.inner === '' ? route.prefix : ''}${rest}`;
}

function namesUpstream(authority: string, { upstream }: RouteTarget): boolean {
  const { host, port } = upstream.target;
  const name = host.includes(':') ? `[${host}]` : host.toLowerCase();
  return authority === `${name}:${port}` || (authority === name && port === (upstream.tls === undefined ? 80 : 443));
}
