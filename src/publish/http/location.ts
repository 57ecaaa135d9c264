// Redirects of an upstream that name it by its inner address, turned into ones that a visitor can follow.
import type { Route } from './routes.ts';

/** An absolute Location that names the upstream becomes one of the service, with the stripped prefix put back; all others stay. */
export function rewriteLocation(location: string, route: Route, origin: string): string {
  const match = /^https?:\/\/([^/?#]+)([/?#].*)?$/i.exec(location);
  if (match === null || !namesUpstream((match[1] ?? '').toLowerCase(), route)) return location;
  let rest = match[2] ?? '';
  if (!rest.startsWith('/')) rest = `/${rest}`;
  if (route.basePath !== '' && (rest === route.basePath || rest.startsWith(`${route.basePath}/`))) rest = rest.slice(route.basePath.length) || '/';
  return `${origin}${route.strip ? route.prefix : ''}${rest}`;
}

function namesUpstream(authority: string, route: Route): boolean {
  const { host, port } = route.upstream.target;
  const name = host.includes(':') ? `[${host}]` : host.toLowerCase();
  return authority === `${name}:${port}` || (authority === name && port === (route.upstream.tls === undefined ? 80 : 443));
}
