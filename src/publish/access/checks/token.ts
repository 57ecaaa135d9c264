// A service token, for machines. One that is wrong denies, whatever cookie comes beside it.
import { sufficient } from '#model/access.ts';
import type { Decision } from '#model/decision.ts';
import type { TokenCheck } from '#model/identity.ts';
import { allow, deny, type Check } from '../check.ts';

export const serviceToken: Check = ({ subject, backend, signal }) => {
  const { token, service } = subject;
  if (token === undefined || service === undefined || !sufficient(service.mapping.access.proofs, ['token'])) return undefined;
  const found = backend.verifyServiceToken(token.plain, service.id, signal);
  return found instanceof Promise ? found.then(decide) : decide(found);
};

function decide(found: TokenCheck): Decision {
  return found.kind === 'valid' ? allow('service_token', found.identity) : deny(found.why, '');
}
