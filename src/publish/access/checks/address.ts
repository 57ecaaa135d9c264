// The service's address ranges.
import { deny, type Check } from '../check.ts';
import { judgeAddress } from '../restrictions.ts';

export const addressAllowed: Check = ({ subject }) => {
  const restrictions = subject.service?.restrictions;
  if (restrictions === undefined) return deny('internal_error', 'no service');
  const denied = judgeAddress(restrictions, subject.address);
  return denied === undefined ? undefined : deny(denied.reason, denied.detail);
};
