// Some route of the service takes this request; where only its method finds none, that is told.
import { deny, type Check } from '../check.ts';

export const routeKnown: Check = ({ subject }) => {
  if (subject.route !== undefined) return undefined;
  return subject.methods === undefined ? deny('no_route', '') : deny('method_not_allowed', subject.methods.join(', '));
};
