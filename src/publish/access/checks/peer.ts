// Who comes over the mesh is known by the peer, without signing in: WireGuard has proven its key.
import { asksFor } from '#model/access.ts';
import type { TokenCheck } from '#model/identity.ts';
import { fieldValue } from '#wire/http1-fields.ts';
import { deny, type Check, type CheckInput, type Verdict } from '../check.ts';
import { foreignOrigin } from '../origin.ts';
import { admit } from '../rules/admit.ts';
import type { Subject } from '../subject.ts';

export const meshPeer: Check = (input) => {
  const { subject, backend, signal } = input;
  const { meshPeer: key, service } = subject;
  if (key === undefined || service === undefined || !asksFor(service.mapping.access, 'peer')) return undefined;
  if (madeElsewhere(subject)) return deny('not_signed_in', 'a page of another site made this request');
  const found = backend.verifyPeer(key, service.id, signal);
  return found instanceof Promise ? found.then((check) => decide(check, input)) : decide(found, input);
};

/** Who is no member may still sign in, where the service has other ways. */
function decide(found: TokenCheck, input: CheckInput): Verdict | undefined {
  return found.kind === 'valid' ? admit(input, 'mesh_peer', { identity: found.identity, proofs: ['peer'] }) : undefined;
}

/**
 * The machine is the credential, so any page that its browser shows could use it. A browser says where a request was made: what another site made is
 * taken for a stranger's, but for following a link (Fetch Metadata, W3C).
 */
function madeElsewhere(subject: Subject): boolean {
  const { fields, upgrade } = subject.request;
  if (upgrade !== undefined || subject.method !== 'GET') return foreignOrigin(subject) || fieldValue(fields, 'sec-fetch-site') === 'cross-site';
  if (fieldValue(fields, 'sec-fetch-site') !== 'cross-site') return false;
  // A frame navigates, too, but nobody sees where it is.
  return fieldValue(fields, 'sec-fetch-mode') !== 'navigate' || fieldValue(fields, 'sec-fetch-dest') !== 'document';
}
