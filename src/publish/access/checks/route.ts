// Some target of the service serves this path.
import { deny, type Check } from '../check.ts';

export const routeKnown: Check = ({ subject }) => (subject.route === undefined ? deny('no_route', '') : undefined);
