// A service token, for machines. One that is wrong denies, whatever cookie comes beside it.
import { asksFor } from '#model/access.ts';
import type { TokenCheck } from '#model/identity.ts';
import { type Check, type CheckInput, deny, type Verdict } from '../check.ts';
import { admit } from '../rules/admit.ts';

export const serviceToken: Check = (input) => {
  const { subject, backend, signal } = input;
  const { token, service } = subject;
  if (token === undefined || service === undefined || !asksFor(service.mapping.access, 'token')) return undefined;
  const found = backend.verifyServiceToken(token.plain, service.id, signal);
  return found instanceof Promise ? found.then((check) => decide(check, input)) : decide(found, input);
};

function decide(found: TokenCheck, input: CheckInput): Verdict {
  return found.kind === 'valid' ? admit(input, 'service_token', { identity: found.identity, proofs: ['token'] }) : deny(found.why, '');
}
