// Which requests a route may ask for.
import { routeMatchProblem } from '#model/web-rules.ts';
import type { RouteMatch } from '#model/web.ts';
import { invalid, invalidBy } from './errors.ts';

/** A field name (RFC 9110 §5.1). */
export const headerName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;

/** Which requests a route takes, canonical: names of fields in lower case, methods and fields in order. */
export function checkMatch(match: RouteMatch): RouteMatch {
  const problem = routeMatchProblem(match);
  if (problem !== undefined) throw invalidBy(problem);
  const headers = match.headers.map(({ name, value }) => ({ name: name.toLowerCase(), value }));
  if (new Set(headers.map(({ name }) => name)).size !== headers.length) throw invalid('A route asks for one header twice.');
  return {
    exact: match.exact,
    methods: [...new Set(match.methods)].toSorted(),
    headers: headers.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
  };
}
