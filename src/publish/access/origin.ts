// Whether a page of another origin made the request.
import { fieldValue } from '#wire/http1-fields.ts';
import { authorityPort, canonicalHost } from '../http/host.ts';
import type { Subject } from './subject.ts';

/** False also where the request does not say: programs do not. */
export function foreignOrigin(subject: Subject): boolean {
  const origin = fieldValue(subject.request.fields, 'origin');
  if (origin === undefined) return false;
  const { authority } = subject.request;
  const match = /^(https?):\/\/([^/]+)$/.exec(origin);
  const [, scheme, host = ''] = match ?? [];
  // A page that came without TLS may be anybody's, and one of another port is another application's.
  if (scheme === undefined || (scheme === 'http' && subject.serverName !== undefined) || canonicalHost(host) !== subject.host) return true;
  const usual = scheme === 'https' ? '443' : '80';
  return host.endsWith('.') || (authorityPort(host) ?? usual) !== (authorityPort(authority) ?? usual);
}
