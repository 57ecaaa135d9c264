// The service's address ranges: an allow list admits only its members, a block list wins over it. What cannot be checked denies.
import { prefixContains } from '#lib/ip.ts';
import { deny, type Check } from '../check.ts';

export const addressAllowed: Check = ({ subject }) => {
  const restrictions = subject.service?.restrictions;
  if (restrictions === undefined) return deny('internal_error', 'no service');
  const { allowed, blocked, unsupported } = restrictions;
  if (unsupported !== undefined) return deny('restriction_unsupported', unsupported);
  if (allowed.length === 0 && blocked.length === 0) return undefined;
  const address = subject.address;
  if (address === undefined) return deny('ip_denied', 'the address is not known');
  if (blocked.some((prefix) => prefixContains(prefix, address))) return deny('ip_denied', 'blocked');
  if (allowed.length > 0 && !allowed.some((prefix) => prefixContains(prefix, address))) return deny('ip_denied', 'not allowed');
  return undefined;
};
