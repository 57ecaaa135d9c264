// The service's address ranges, countries and CrowdSec.
import { deny, type Check } from '../check.ts';
import { judgeAddress } from '../restrictions.ts';

export const addressAllowed: Check = (input) => {
  const { subject, around } = input;
  const restrictions = subject.service?.restrictions;
  if (restrictions === undefined) return deny('internal_error', 'no service');
  const denied = judgeAddress(restrictions, subject.address, around, (what) => input.observe?.(what));
  return denied === undefined ? undefined : deny(denied.reason, denied.detail);
};
