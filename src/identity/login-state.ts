// A sign-in under way, kept by the browser that started it: one sealed cookie per attempt holds state, nonce and PKCE verifier. Nothing
// is kept here, so an attacker who starts many fills no table, and any gateway of a cluster can finish what another began.
import { createHash, randomBytes } from 'node:crypto';
import { equalBytes, toBase64Url, utf8 } from '#lib/bytes.ts';
import type { Clock } from '#lib/clock.ts';
import { cookieHeaderLength, loginMs, loginTargetLength, loginsParallel } from './constants.ts';
import { identityError } from './errors.ts';
import { seal, unseal } from './seal.ts';

export interface LoginStatesOptions {
  /** 32 bytes that everybody who may finish a sign-in shares. */
  readonly key: Uint8Array;
  readonly clock: Clock;
  /** `prefix` names the cookies of attempts and must begin with `__Host-` (path `/`) or `__Secure-`. */
  readonly cookie: { readonly prefix: string; readonly path: string };
}

export interface LoginState {
  /** Sent along and expected back; 256 random bits. */
  readonly state: string;
  /** Expected in the ID token. */
  readonly nonce: string;
  /** PKCE (RFC 7636), method S256. */
  readonly codeVerifier: string;
}

export interface BegunLogin extends LoginState {
  /** Set-Cookie values of the answer that sends the browser away; may clear older attempts. */
  readonly setCookies: readonly string[];
}

export interface FinishedLogin extends LoginState {
  /** As given to `begin`. */
  readonly target: string;
  /** Set-Cookie values that end the attempt. */
  readonly setCookies: readonly string[];
}

/** What the seal is for: text sealed with the same key for something else does not open here. */
const purpose = 'meshgate sign-in';

interface Sealed extends LoginState {
  readonly target: string;
  readonly expiresAt: number;
}

export class LoginStates {
  readonly #options: LoginStatesOptions;

  constructor(options: LoginStatesOptions) {
    if (options.key.length !== 32) throw identityError('IDENTITY_BAD_KEY');
    this.#options = options;
  }

  /** Starts a sign-in and seals it; the caller keeps `value` in a cookie of its own. `target` comes back; beyond 2048 characters it is `/`. */
  seal(target: string): LoginState & { readonly value: string } {
    const now = this.#options.clock.wall();
    const login: LoginState = { state: `${timeTag(now)}.${random()}`, nonce: random(), codeVerifier: random() };
    const content: Sealed = { ...login, target: target.length > loginTargetLength ? '/' : target, expiresAt: now + loginMs };
    return { ...login, value: seal(this.#options.key, purpose, JSON.stringify(content)) };
  }

  /** What was sealed for this state, or undefined: not ours, expired, or another attempt's. */
  open(value: string, state: string): (LoginState & { readonly target: string }) | undefined {
    const text = value.length > cookieHeaderLength ? undefined : unseal(this.#options.key, purpose, value);
    if (text === undefined) return undefined;
    const { target, expiresAt, ...login } = JSON.parse(text) as Sealed; // sealed by us, so of our shape
    if (expiresAt <= this.#options.clock.wall() || !equalBytes(utf8(login.state), utf8(state))) return undefined;
    return { ...login, target };
  }

  /** Starts a sign-in with a cookie of its own, so that several can be under way in one browser. */
  begin(target: string, cookieHeader: string | undefined): BegunLogin {
    const { value, ...login } = this.seal(target);
    // A name begins with the time, so the order of names is the order of age.
    const older = this.#attempts(cookieHeader).sort((a, b) => (a.name < b.name ? -1 : 1));
    const surplus = older.slice(0, Math.max(0, older.length - loginsParallel + 1));
    return { ...login, setCookies: [...surplus.map((cookie) => this.#clear(cookie.name)), this.#set(this.#cookieName(login.state), value)] };
  }

  /** The sign-in that this browser began with this state, or undefined: unknown, expired, used, or another browser's. */
  finish(state: string, cookieHeader: string | undefined): FinishedLogin | undefined {
    if (!/^[0-9a-z]{9}\.[\w-]{43}$/.test(state)) return undefined;
    const name = this.#cookieName(state);
    const cookie = this.#attempts(cookieHeader).find((one) => one.name === name);
    const login = cookie === undefined ? undefined : this.open(cookie.value, state);
    return login === undefined ? undefined : { ...login, setCookies: [this.#clear(name)] };
  }

  /** Whether a cookie of this name is ours: gateways keep it from the services behind them. */
  owns(cookieName: string): boolean {
    return cookieName.startsWith(this.#options.cookie.prefix);
  }

  #cookieName(state: string): string {
    return `${this.#options.cookie.prefix}${state.slice(0, 9)}${createHash('sha256').update(state).digest('base64url').slice(0, 12)}`;
  }

  #set(name: string, value: string): string {
    return `${name}=${value}; Path=${this.#options.cookie.path}; Max-Age=${loginMs / 1000}; Secure; HttpOnly; SameSite=Lax`;
  }

  #clear(name: string): string {
    return `${name}=; Path=${this.#options.cookie.path}; Max-Age=0; Secure; HttpOnly; SameSite=Lax`;
  }

  #attempts(header: string | undefined): { readonly name: string; readonly value: string }[] {
    if (header === undefined || header.length > cookieHeaderLength) return [];
    const found = [];
    for (const part of header.split(';')) {
      const equals = part.indexOf('=');
      const name = part.slice(0, equals).trim();
      if (equals > 0 && this.owns(name) && /^[\w-]+$/.test(name)) found.push({ name, value: part.slice(equals + 1).trim() });
    }
    return found;
  }
}

/** The time in 9 characters of base 36, so that attempts sort by age. */
function timeTag(now: number): string {
  return Math.floor(now).toString(36).padStart(9, '0');
}

function random(): string {
  return toBase64Url(randomBytes(32));
}
