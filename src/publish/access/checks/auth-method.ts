// A policy that this gateway cannot hold in full must not be held in part: the request is denied.
import { deny, type Check } from '../check.ts';
import { policyProblem } from '../proofs.ts';

export const authSupported: Check = ({ subject }) => {
  const mapping = subject.service?.mapping;
  if (mapping === undefined) return deny('internal_error', 'no service');
  const problem = policyProblem(mapping.access, mapping.web.clientCertificate);
  return problem === undefined ? undefined : deny('auth_method_unsupported', problem);
};
