// The session of a browser that has signed in here.
import { sufficient } from '#model/access.ts';
import type { SessionLookup } from '#model/identity.ts';
import { fieldValue } from '#wire/http1-fields.ts';
import { authorityPort, canonicalHost } from '../../http/host.ts';
import { allow, challenge, deny, type Check, type Verdict } from '../check.ts';
import type { PublishedService } from '../../http/routes.ts';
import { claimedSessionId } from '../cookies.ts';
import { provenBy } from '../proofs.ts';
import type { Subject } from '../subject.ts';

export const liveSession: Check = ({ subject, backend, signal }) => {
  const id = claimedSessionId(subject.cookies);
  const service = subject.service;
  if (service === undefined) return deny('internal_error', 'no service');
  const asked = service.mapping.access.proofs;
  if (id === undefined) return challenge('not_signed_in', asked);
  // Pages of other sites may open WebSockets with this browser's cookie; such a request counts as made without it (attack row W-2).
  if (subject.request.upgrade !== undefined && foreignOrigin(subject)) return challenge('not_signed_in', asked);
  const found = backend.findSession(id, service.id, signal);
  return found instanceof Promise ? found.then((lookup) => decide(lookup, service)) : decide(found, service);
};

function decide(found: SessionLookup, { id, mapping }: PublishedService): Verdict {
  const asked = mapping.access.proofs;
  if (found.kind === 'live') {
    // The cookie of one service is worth nothing at another (attack row C-5), whatever the look-up says.
    const { session } = found;
    if (session.serviceId !== id) return challenge('not_signed_in', asked);
    // What lacks a proof grants nothing (attack row A-12).
    return sufficient(asked, provenBy(session)) ? allow('session', session.identity, session) : challenge('not_signed_in', asked, session);
  }
  return challenge(found.why === 'unknown' ? 'not_signed_in' : found.why === 'expired' ? 'session_expired' : 'session_revoked', asked);
}

function foreignOrigin(subject: Subject): boolean {
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
