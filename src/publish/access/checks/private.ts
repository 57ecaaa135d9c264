// A private service is for peers of the mesh only, and who comes through the public listener is none.
import type { TokenCheck } from '#model/identity.ts';
import { deny, type Check, type Verdict } from '../check.ts';

export const notPrivate: Check = ({ subject }) =>
  subject.service?.mapping.private === false || subject.meshPeer !== undefined ? undefined : deny('private_service', '');

/**
 * And only for those of its groups: whatever its rules and proofs say, they are about these. A peer that reaches the gateway for another service
 * is none of them.
 */
export const memberOfPrivate: Check = ({ subject: { service, meshPeer }, backend, signal }) => {
  if (service?.mapping.private !== true) return undefined;
  if (meshPeer === undefined) return deny('private_service', '');
  const found = backend.verifyPeer(meshPeer, service.id, signal);
  return found instanceof Promise ? found.then(strangerDenied) : strangerDenied(found);
};

function strangerDenied(found: TokenCheck): Verdict | undefined {
  return found.kind === 'valid' ? undefined : deny(found.why === 'group_not_allowed' ? found.why : 'private_service', '');
}
