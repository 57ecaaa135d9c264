// What the access checks need from the identity side, stated by the one who needs it. `sign-in.ts` fills it from identity/; tests by hand.
import type { TypedProof } from '#model/access.ts';
import type { Credential, CredentialCheck, Identity, SessionLookup, TokenCheck, Visitor } from '#model/identity.ts';
import type { PublicKey, ServiceId, SessionId } from '#model/ids.ts';
import type { OwnCookies } from './cookies.ts';

/** A value at hand, or one that has to be waited for: what is cached costs no promise. */
export type Soon<T> = T | Promise<T>;

export interface AccessBackend {
  /** Looks up the value of the session cookie. A rejection denies. */
  findSession(id: SessionId, serviceId: ServiceId, signal: AbortSignal): Soon<SessionLookup>;
  /** Who a peer that came over the mesh stands for. */
  verifyPeer(key: PublicKey, serviceId: ServiceId, signal: AbortSignal): Soon<TokenCheck>;
  verifyServiceToken(plain: string, serviceId: ServiceId, signal: AbortSignal): Soon<TokenCheck>;
  verifyCredential(credential: Credential, serviceId: ServiceId, address: string, signal: AbortSignal): Soon<CredentialCheck>;
  /** The name of the trust that a credential stands for, as it is told when it ends. */
  credentialKey(credential: Credential): string;
}

/** Where a sign-in happens and where it leads back to. */
export interface SignInPlace {
  readonly serviceId: ServiceId;
  /** Canonical host name of the service. */
  readonly domain: string;
  /** `https://host[:port]`, as the visitor's browser sees it. */
  readonly origin: string;
}

export type SignInResult =
  /** `setCookies` are whole Set-Cookie values; `returnTo` is the target that was asked for, path and query. */
  | { readonly kind: 'signed-in'; readonly returnTo: string; readonly setCookies: readonly string[] }
  | {
      readonly kind: 'refused';
      readonly reason: 'login_invalid' | 'login_denied' | 'group_not_allowed' | 'issuer_not_allowed' | 'auth_unavailable';
      readonly setCookies: readonly string[];
    };

export interface SignInStart {
  readonly location: string;
  readonly setCookies: readonly string[];
}

/** What somebody has typed at a page of ours. */
export interface TypedSecret {
  readonly kind: TypedProof;
  readonly secret: string;
  readonly address: string;
  readonly userAgent: string;
}

export type ProveResult =
  | { readonly kind: 'proven'; readonly setCookies: readonly string[] }
  | { readonly kind: 'refused'; readonly why: 'wrong' | 'wait' | 'not_asked'; readonly retryAfterMs: number };

export interface SignIn {
  /** Begins a sign-in that ends at `returnTo`; the cookies bind it to this browser. `cookieHeader` is what the browser sent. */
  start(place: SignInPlace, returnTo: string, cookieHeader: string | undefined, signal: AbortSignal): Promise<SignInStart>;
  /** Ends it at the callback. `query` includes its question mark. */
  finish(place: SignInPlace, query: string, cookieHeader: string | undefined, visitor: Visitor, signal: AbortSignal): Promise<SignInResult>;
  /** Trades a secret, and the session of before, for a session. */
  prove(place: SignInPlace, typed: TypedSecret, cookies: OwnCookies, signal: AbortSignal): Promise<ProveResult>;
  /** Where one can sign out everywhere, at the identity provider, and comes back from; undefined where there is no such page. */
  everywhere?(place: SignInPlace, signal: AbortSignal): Promise<string | undefined>;
  /** Ends the session; returns the cookies that clear it. */
  logout(place: SignInPlace, session: SessionId | undefined, signal: AbortSignal): Promise<readonly string[]>;
}

/** How upstreams learn who calls. */
export interface IdentityHeaders {
  /** Whether a field name in lower case is one that only the gateway may set, in any spelling that an upstream might fold together. */
  isReserved(key: string): boolean;
  /** Field lines, each with CRLF, checked for what may stand in them; empty without an identity. */
  lines(identity: Identity | undefined, place: SignInPlace): Soon<string>;
  /** The keys that verify signed assertions for this host, as JSON text. */
  jwks(place: SignInPlace): string;
}
