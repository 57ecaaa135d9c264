// The head of a request for its upstream, as far as it is the client's own.
import { spentFields } from '../access/credentials.ts';
import type { Subject } from '../access/subject.ts';
import { requestLines, type RequestFieldPolicy } from './headers.ts';
import type { Route, RouteTarget } from './routes.ts';

/** Request line, Host, and the client's fields without claims. `innerPath` is below the target's base path. */
export function upstreamHead(subject: Subject, route: Route, target: RouteTarget, innerPath: string, policy: RequestFieldPolicy): string {
  const { request, query, cookies } = subject;
  const host = route.service.mapping.passHostHeader ? request.authority : target.host;
  return (
    `${request.method} ${target.basePath}${innerPath}${query} HTTP/1.1\r\nHost: ${host}\r\n` +
    requestLines(request.fields, policy, route.customKeys, spentKeys(subject, route), cookies.present)
  );
}

const noKeys: readonly string[] = [];

/** The fields that brought secrets for us. */
function spentKeys({ token, request }: Subject, { service }: Route): readonly string[] {
  const spent = service.credentials === undefined ? noKeys : spentFields(service.credentials, request.fields);
  return token === undefined ? spent : [...spent, token.key];
}

/** An upgrade to another version of HTTP would carry requests past the checks (attack row S-12); such a request is an ordinary one. */
export function allowedUpgrade(protocols: string | undefined): string | undefined {
  return protocols === undefined || /(?:^|[\s,])(?:h2c?|http|tls)(?:$|[\s,/])/i.test(protocols) ? undefined : protocols;
}
