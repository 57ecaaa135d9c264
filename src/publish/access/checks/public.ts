// A service that asks for no proof is open to everybody who came this far.
import { allow, type Check } from '../check.ts';

export const publicService: Check = ({ subject }) => {
  const auth = subject.service?.mapping.auth;
  return auth !== undefined && !auth.oidc && auth.unsupported.length === 0 ? allow('public_service', undefined) : undefined;
};
