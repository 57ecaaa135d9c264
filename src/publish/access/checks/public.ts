// A service that asks for no proof is open to everybody who came this far.
import { allow, type Check } from '../check.ts';

export const publicService: Check = ({ subject }) => {
  const access = subject.service?.mapping.access;
  return access !== undefined && access.proofs.length === 0 && access.otherwise === 'allow' ? allow('public_service', undefined) : undefined;
};
