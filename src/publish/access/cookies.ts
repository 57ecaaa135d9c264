// The cookies that are ours: read from what a browser sends, taken out of what goes upstream, set by answers of our own.
import { asId, type SessionId } from '#model/ids.ts';

/** `__Host-` binds a cookie to this host, to TLS and to the path `/` (RFC 6265bis §4.1.3.2). */
export const sessionCookie = '__Host-meshgate';
/** Characters of an id of a session that is looked up. */
const sessionIdLength = 256;

/** Begins the names of the cookies that bind sign-ins under way to the browser that began them: one for each attempt. */
export const loginCookiePrefix = '__Host-meshgate-login';

/** What leads the visitor of a sticky service to its target again; see http/balance/visitor.ts. It is no proof of anything. */
export const visitorCookie = '__Host-meshgate-visitor';

/** Binds the forms of our own pages to the browser that they were shown to. */
export const formCookie = '__Host-meshgate-form';

/** Of a browser that somebody has been let in with: it does not have to wait for what strangers got wrong. */
export const knownCookie = '__Host-meshgate-known';

/** Every name that begins like this is ours. */
const ownPrefix = sessionCookie;

export interface OwnCookies {
  readonly session: string | undefined;
  readonly visitor: string | undefined;
  readonly form: string | undefined;
  readonly known: string | undefined;
  /** Whether any of ours is there and has to be taken out. */
  readonly present: boolean;
}

const none: OwnCookies = { session: undefined, visitor: undefined, form: undefined, known: undefined, present: false };

/** Finds our cookies in the Cookie fields. Two session cookies are nobody's: then there is none (cookie tossing). */
export function readOwnCookies(cookieValues: readonly string[]): OwnCookies {
  let session: string | undefined;
  let visitor: string | undefined;
  let form: string | undefined;
  let known: string | undefined;
  let sessions = 0;
  let present = false;
  for (const value of cookieValues) {
    for (let at = value.indexOf(ownPrefix); at >= 0; at = value.indexOf(ownPrefix, pairEnd(value, at))) {
      present = true;
      const { name, text } = splitPair(value.slice(pairStart(value, at), pairEnd(value, at)));
      if (name === visitorCookie) visitor = text;
      if (name === formCookie) form = text;
      if (name === knownCookie) known = text;
      if (name !== sessionCookie) continue;
      session = text;
      sessions++;
    }
  }
  return present ? { session: sessions === 1 ? session : undefined, visitor, form, known, present } : none;
}

/** The session cookie's value as the id it claims to be. Any text may be claimed; what is too long to be one of ours is not worth a look-up. */
export function claimedSessionId({ session }: OwnCookies): SessionId | undefined {
  return session === undefined || session === '' || session.length > sessionIdLength ? undefined : asId<SessionId>(session);
}

/** One Cookie value without our cookies; the others keep bytes and order. Undefined where nothing is left. */
export function stripOwnCookies(value: string): string | undefined {
  let at = value.indexOf(ownPrefix);
  if (at < 0) return value;
  let kept: string | undefined;
  let from = 0;
  for (; at >= 0; at = value.indexOf(ownPrefix, pairEnd(value, at))) {
    const start = pairStart(value, at);
    if (!splitPair(value.slice(start, pairEnd(value, at))).name.startsWith(ownPrefix)) continue;
    if (start > from) kept = joinPairs(kept, value.slice(from, start - 1));
    from = pairEnd(value, at) + 1;
  }
  if (from <= value.length) kept = joinPairs(kept, value.slice(from));
  const text = kept?.trim() ?? '';
  return text === '' ? undefined : text;
}

/** The bounds of the pair in which `at` stands, without the semicolons. */
function pairStart(value: string, at: number): number {
  return value.lastIndexOf(';', at) + 1;
}

function pairEnd(value: string, at: number): number {
  const semicolon = value.indexOf(';', at);
  return semicolon < 0 ? value.length : semicolon;
}

function joinPairs(before: string | undefined, pairs: string): string {
  return before === undefined ? pairs : `${before};${pairs}`;
}

/**
 * Whether a Set-Cookie value of an upstream would set one of our cookies (attack row H-19). A cookie without a name is sent back as its value
 * alone, which may then read as ours.
 */
export function setsOwnCookie(setCookie: string): boolean {
  const { name, text } = splitPair(setCookie.split(';', 1)[0] ?? '');
  return (name === '' ? text : name).toLowerCase().startsWith(ownPrefix.toLowerCase());
}

/** A Set-Cookie value for one of our cookies (attack row C-1). Without an age it lasts as long as the browser runs. */
export function ownCookie(name: string, value: string, maxAgeSeconds: number | undefined): string {
  const age = maxAgeSeconds === undefined ? '' : `; Max-Age=${Math.max(0, Math.floor(maxAgeSeconds))}`;
  return `${name}=${value}; Path=/; Secure; HttpOnly; SameSite=Lax${age}`;
}

export function clearCookie(name: string): string {
  return ownCookie(name, '', 0);
}

function splitPair(pair: string): { name: string; text: string } {
  const equals = pair.indexOf('=');
  return equals < 0 ? { name: '', text: pair.trim() } : { name: pair.slice(0, equals).trim(), text: pair.slice(equals + 1).trim() };
}
