// Which requests a route may ask for.
import type { RouteMatch } from '#model/web.ts';
import { invalid } from './errors.ts';

/** A field name (RFC 9110 §5.1). */
export const headerName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;

/** Which requests a route takes, canonical: names of fields in lower case, methods and fields in order. */
export function checkMatch(match: RouteMatch): RouteMatch {
  for (const method of match.methods) {
    if (!/^[A-Z][A-Z-]*$/.test(method)) throw invalid(`"${method}" is not a method.`);
    if (method === 'CONNECT' || method === 'TRACE' || method === 'TRACK') throw invalid(`The method ${method} is never served.`);
  }
  const headers = match.headers.map(({ name, value }) => {
    if (!headerName.test(name)) throw invalid(`"${name}" is not the name of a header.`);
    if (value !== undefined && /[^\t\x20-\x7e]/.test(value)) throw invalid(`The value that the header ${name} has to have is not plain text.`);
    return { name: name.toLowerCase(), value };
  });
  if (new Set(headers.map(({ name }) => name)).size !== headers.length) throw invalid('A route asks for one header twice.');
  return {
    exact: match.exact,
    methods: [...new Set(match.methods)].toSorted(),
    headers: headers.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
  };
}
