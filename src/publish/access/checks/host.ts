// The host is one that we publish, and the path one of its routes.
import { deny, type Check } from '../check.ts';

export const hostKnown: Check = ({ subject }) => (subject.service === undefined ? deny('unknown_host', subject.host) : undefined);
