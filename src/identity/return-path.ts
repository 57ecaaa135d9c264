// Where a sign-in returns to: a path of the host that it started at, and nothing that a browser could read as another place.
import { loginTargetLength } from './constants.ts';

/** Never resolved by anybody; only there to see whether the text stays on its host. */
const anywhere = 'https://host.invalid';

/**
 * The path and query of a request target, re-written by the URL parser, or `/` where the text is not plainly a path of the same host
 * (`//host`, `\`, control characters, a scheme). A query that makes it too long is dropped, then the path.
 */
export function safeReturnPath(text: string): string {
  // Browsers drop tabs and line ends and read `\` as `/`, so none of them may be there at all.
  if (!text.startsWith('/') || /^\/[/\\]/.test(text) || !/^[^\\\s\p{Cc}]*$/u.test(text)) return '/';
  const url = URL.parse(text, anywhere);
  if (url === null || url.origin !== anywhere) return '/';
  // Dot segments may have brought two slashes to the front.
  if (url.pathname.startsWith('//')) return '/';
  const full = url.pathname + url.search;
  if (full.length <= loginTargetLength) return full;
  return url.pathname.length <= loginTargetLength ? url.pathname : '/';
}
