// The session of a browser that has signed in here.
import type { SessionLookup } from '#model/identity.ts';
import { challenge, deny, type Check, type CheckInput, type Verdict } from '../check.ts';
import { claimedSessionId } from '../cookies.ts';
import { foreignOrigin } from '../origin.ts';
import { provenBy } from '../proofs.ts';
import { admit, askedOf } from '../rules/admit.ts';

export const liveSession: Check = (input) => {
  const { subject, backend, signal } = input;
  const id = claimedSessionId(subject.cookies);
  const service = subject.service;
  if (service === undefined) return deny('internal_error', 'no service');
  // Pages of other sites may open WebSockets with this browser's cookie; such a request counts as made without it (attack row W-2).
  const foreign = subject.request.upgrade !== undefined && foreignOrigin(subject);
  if (id === undefined || foreign) return challenge('not_signed_in', askedOf(input));
  const found = backend.findSession(id, service.id, signal);
  return found instanceof Promise ? found.then((lookup) => decide(lookup, input)) : decide(found, input);
};

function decide(found: SessionLookup, input: CheckInput): Verdict {
  if (found.kind === 'live') {
    // The cookie of one service is worth nothing at another (attack row C-5), whatever the look-up says.
    const { session } = found;
    if (session.serviceId !== input.subject.service?.id) return challenge('not_signed_in', askedOf(input));
    if (input.proven === undefined) return admit(input, 'session', { identity: session.identity, proofs: provenBy(session) }, session);
    const { proofs, trustKeys } = input.proven;
    return { ...admit(input, 'session', { identity: session.identity, proofs: [...provenBy(session), ...proofs] }, session), trustKeys };
  }
  const why = found.why === 'unknown' ? 'not_signed_in' : found.why === 'expired' ? 'session_expired' : 'session_revoked';
  return { ...challenge(why, askedOf(input)), proven: input.proven?.proofs };
}
