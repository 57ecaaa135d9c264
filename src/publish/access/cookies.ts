// The two cookies that are ours: read from what a browser sends, taken out of what goes upstream, set by answers of our own.

/** `__Host-` binds a cookie to this host, to TLS and to the path `/` (RFC 6265bis §4.1.3.2). */
export const sessionCookie = '__Host-meshgate';
/** Binds a sign-in under way to the browser that began it. */
export const loginCookie = '__Host-meshgate-login';

const ours = new Set([sessionCookie, loginCookie]);

export interface OwnCookies {
  readonly session: string | undefined;
  readonly login: string | undefined;
  /** Whether any of ours is there and has to be taken out. */
  readonly present: boolean;
}

const none: OwnCookies = { session: undefined, login: undefined, present: false };

/** Finds our cookies in the Cookie fields. Two cookies of one name are nobody's: then there is none (cookie tossing). */
export function readOwnCookies(cookieValues: readonly string[]): OwnCookies {
  let session: string | undefined;
  let login: string | undefined;
  let sessions = 0;
  let logins = 0;
  for (const value of cookieValues) {
    if (!value.includes('__Host-meshgate')) continue;
    for (const pair of value.split(';')) {
      const { name, text } = splitPair(pair);
      if (name === sessionCookie) {
        session = text;
        sessions++;
      } else if (name === loginCookie) {
        login = text;
        logins++;
      }
    }
  }
  if (sessions + logins === 0) return none;
  return { session: sessions === 1 ? session : undefined, login: logins === 1 ? login : undefined, present: true };
}

/** One Cookie value without our cookies; the others keep bytes and order. Undefined where nothing is left. */
export function stripOwnCookies(value: string): string | undefined {
  if (!value.includes('__Host-meshgate')) return value;
  const kept = value.split(';').filter((pair) => !ours.has(splitPair(pair).name));
  const text = kept.join(';').trim();
  return text === '' ? undefined : text;
}

/** Whether a Set-Cookie value of an upstream would set one of our cookies (attack row H-19). */
export function setsOwnCookie(setCookie: string): boolean {
  const end = setCookie.indexOf(';');
  return ours.has(splitPair(end < 0 ? setCookie : setCookie.slice(0, end)).name);
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
