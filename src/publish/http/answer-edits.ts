// What a service's configuration changes in the heads of answers: references, cookies, and fields removed, set and added. Made ready once for each route.
import type { ServiceMapping } from '#model/service.ts';
import type { Fields } from '#wire/http1-fields.ts';
import { compileResponseEdits, type ResponseEdits } from './header-edits.ts';
import { behindPrefix, type Behind, outwardCookiePath, rewriteReference, rewriteRefresh, type Visit } from './location.ts';

export interface AnswerEdits {
  readonly redirects: boolean;
  readonly cookies: boolean;
  readonly headers: ResponseEdits | undefined;
}

/** Undefined where answers pass as they are. */
export function compileAnswerEdits({ rewriteRedirects, web }: ServiceMapping, onProblem: (problem: string) => void): AnswerEdits | undefined {
  const headers = compileResponseEdits(web.responseHeaders, onProblem);
  if (!rewriteRedirects && !web.rewriteCookies && headers === undefined) return undefined;
  return { redirects: rewriteRedirects, cookies: web.rewriteCookies, headers };
}

/** Changes the fields of a final answer in place. What the configuration sets is its own and is not rewritten. */
export function editAnswer(fields: Fields, { redirects, cookies, headers }: AnswerEdits, visit: Visit): void {
  const { keys, values } = fields;
  for (let i = 0; i < keys.length; i++) {
    const value = values[i] ?? '';
    switch (keys[i] ?? '') {
      case 'location':
      case 'content-location':
        if (redirects) values[i] = rewriteReference(value, visit);
        break;
      case 'refresh':
        if (redirects) values[i] = rewriteRefresh(value, (reference) => rewriteReference(reference, visit));
        break;
      case 'set-cookie':
        if (cookies) values[i] = rewriteCookie(value, visit);
        break;
      default:
        break;
    }
  }
  if (headers !== undefined) addFields(fields, headers);
}

/** Keeps whoever came behind a prefix of ours there, where a final answer sends them on. */
export function keepBehind({ keys, values }: Fields, behind: Behind): void {
  for (let i = 0; i < keys.length; i++) {
    const value = values[i] ?? '';
    if (keys[i] === 'location' || keys[i] === 'content-location') values[i] = behindPrefix(value, behind);
    else if (keys[i] === 'refresh') values[i] = rewriteRefresh(value, (reference) => behindPrefix(reference, behind));
  }
}

/** Adds what is set and added; what they replace has been left out already. */
export function addFields(fields: Fields, { fields: written }: ResponseEdits): void {
  fields.names.push(...written.names);
  fields.keys.push(...written.keys);
  fields.values.push(...written.values);
}

/** Domain stays where the visitor's host is in it, else the cookie is the host's own; Path becomes the route's, but for `__Host-` cookies, which need `/`. */
function rewriteCookie(value: string, visit: Visit): string {
  const [pair = '', ...attributes] = value.split(';');
  const fixed = /^\s*__host-/i.test(pair);
  const { frame } = visit;
  const kept = attributes.flatMap((attribute) => {
    const equals = attribute.indexOf('=');
    const name = (equals < 0 ? attribute : attribute.slice(0, equals)).trim().toLowerCase();
    const text = equals < 0 ? '' : attribute.slice(equals + 1).trim();
    if (name === 'domain') {
      const domain = text.replace(/^\./, '').toLowerCase();
      return visit.host === domain || visit.host.endsWith(`.${domain}`) ? [attribute] : [];
    }
    return name === 'path' && !fixed && text.startsWith('/') ? [` Path=${outwardCookiePath(text, frame)}`] : [attribute];
  });
  return [pair, ...kept].join(';');
}
