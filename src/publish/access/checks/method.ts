// Methods that make a server repeat the request or open a tunnel are never forwarded. The method on the wire counts, not an override.
import { deny, type Check } from '../check.ts';

const refused = new Set(['TRACE', 'TRACK', 'CONNECT']);

export const methodAllowed: Check = ({ subject }) =>
  refused.has(subject.method) || subject.path === '*' ? deny('method_not_allowed', subject.method) : undefined;
