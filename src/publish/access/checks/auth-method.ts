// A proof that this gateway cannot ask for must not be skipped: without sign-in beside it nobody could pass, so the request is denied.
import { deny, type Check } from '../check.ts';

export const authSupported: Check = ({ subject }) => {
  const auth = subject.service?.mapping.auth;
  if (auth === undefined) return deny('internal_error', 'no service');
  return auth.unsupported.length > 0 && !auth.oidc ? deny('auth_method_unsupported', auth.unsupported.join(', ')) : undefined;
};
