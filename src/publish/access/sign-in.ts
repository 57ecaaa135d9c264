// Sign-in at a published host, put together from identity/: the OIDC client, the state in the browser's cookies, and the authority's sessions.
import type { AssertionSigner } from '#identity/assertion.ts';
import { identityHeaders, isIdentityHeader } from '#identity/identity-headers.ts';
import { LoginStates, type FinishedLogin } from '#identity/login-state.ts';
import type { OidcClient } from '#identity/oidc-client.ts';
import type { CredentialCache } from '#identity/credential-cache.ts';
import { sessionKey, type SessionCache } from '#identity/session-cache.ts';
import type { Clock } from '#lib/clock.ts';
import { describeError, MeshgateError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { Identity, ProofAuthority, SessionAuthority } from '#model/identity.ts';
import type { SessionId } from '#model/ids.ts';
import { publishError } from '../errors.ts';
import type { AccessBackend, IdentityHeaders, ProveResult, SignIn, SignInPlace, SignInResult, SignInStart } from './backend.ts';
import { claimedSessionId, clearCookie, knownCookie, loginCookiePrefix, ownCookie, readOwnCookies, sessionCookie } from './cookies.ts';
import { callbackPath } from './place.ts';

/** A relying party that is ready: made anew where the control plane tells another configuration. */
export interface RelyingParty {
  readonly oidc: Pick<OidcClient, 'authorizationUrl' | 'exchange' | 'endSessionUrl' | 'close'>;
  readonly states: LoginStates;
}

export interface SignInDeps {
  /** Undefined while the control plane has not told how to sign in; nobody can then. */
  readonly relyingParty: () => RelyingParty | undefined;
  /** Rejects where the authority cannot be asked now: a browser that was sent to sign in would find nobody there, or could not come back. */
  readonly reachable?: (signal: AbortSignal) => Promise<void>;
  readonly authority: Pick<SessionAuthority, 'createSession' | 'endSession'> & ProofAuthority;
  readonly sessions: Pick<SessionCache, 'remember' | 'revision' | 'revoke'>;
  readonly clock: Clock;
  readonly log: Logger;
}

const scope = 'openid profile email';

/** What the authority says no with → what the visitor and the log are told. */
const refusals = {
  group_not_allowed: 'group_not_allowed',
  user_blocked: 'login_denied',
  issuer_not_allowed: 'issuer_not_allowed',
  token_invalid: 'login_invalid',
} as const;

/** The control plane decides how long a browser counts as known; the cookie may outlive that. */
const knownSeconds = 90 * 86_400;

/** The login states of a gateway, with the cookies that publish/ knows as its own. Throws IDENTITY_BAD_KEY. */
export function createLoginStates(stateKey: Uint8Array, clock: Clock): LoginStates {
  return new LoginStates({ key: stateKey, clock, cookie: { prefix: loginCookiePrefix, path: '/' } });
}

/** Its calls reject where the identity provider or the authority cannot be asked. */
export function createSignIn(deps: SignInDeps): SignIn {
  const ready = (): RelyingParty => {
    const party = deps.relyingParty();
    if (party === undefined) throw publishError('PUBLISH_SIGN_IN_NOT_READY');
    return party;
  };

  /** A session that the browser had before is of no use to it any more, only to whoever may have stolen it (attack row C-3). */
  const endPrevious = async (cookieHeader: string | undefined, signal: AbortSignal): Promise<void> => {
    const sessionId = claimedSessionId(readOwnCookies(cookieHeader === undefined ? [] : [cookieHeader]));
    if (sessionId === undefined) return;
    deps.sessions.revoke({ kind: 'session', digest: sessionKey(sessionId) });
    try {
      await deps.authority.endSession(sessionId, signal);
    } catch (error) {
      deps.log.warn('the session before a sign-in could not be ended', { error: describeError(error) });
    }
  };

  return {
    async start(place, returnTo, cookieHeader, signal): Promise<SignInStart> {
      const { oidc, states } = ready();
      await deps.reachable?.(signal);
      const { setCookies, ...login } = states.begin(returnTo, cookieHeader);
      const url = await oidc.authorizationUrl({ ...login, redirectUri: place.origin + callbackPath, scope }, signal);
      return { location: url.href, setCookies };
    },

    async finish(place, query, cookieHeader, visitor, signal): Promise<SignInResult> {
      const { oidc, states } = ready();
      const given = new URLSearchParams(query).getAll('state');
      const login = given.length === 1 ? states.finish(given[0] ?? '', cookieHeader) : undefined;
      if (login === undefined) return { kind: 'refused', reason: 'login_invalid', setCookies: [] };
      const setCookies = login.setCookies;
      const idToken = await trade(oidc, login, place, query, signal);
      if (typeof idToken !== 'string') return { kind: 'refused', reason: idToken.refused, setCookies };
      const revision = deps.sessions.revision;
      const previous = claimedSessionId(readOwnCookies(cookieHeader === undefined ? [] : [cookieHeader]));
      const grant = await deps.authority.createSession(place.serviceId, idToken, login.nonce, visitor, previous, signal);
      if (grant.kind === 'refused') {
        return { kind: 'refused', reason: refusals[grant.why], setCookies };
      }
      deps.sessions.remember(grant.session, revision);
      await endPrevious(cookieHeader, signal);
      const seconds = (grant.session.expiresAt - deps.clock.wall()) / 1_000;
      return { kind: 'signed-in', returnTo: login.target, setCookies: [...setCookies, ownCookie(sessionCookie, grant.session.id, seconds)] };
    },

    async prove(place, { kind, secret, address, userAgent }, cookies, signal): Promise<ProveResult> {
      const { revision } = deps.sessions;
      const sessionId = claimedSessionId(cookies);
      const attempt = { serviceId: place.serviceId, kind, secret, sessionId, knownBrowser: cookies.known, address, userAgent };
      const grant = await deps.authority.prove(attempt, signal);
      if (grant.kind === 'refused') return grant;
      const { session, knownBrowser } = grant;
      deps.sessions.remember(session, revision);
      if (sessionId !== undefined) deps.sessions.revoke({ kind: 'session', digest: sessionKey(sessionId) });
      const seconds = (session.expiresAt - deps.clock.wall()) / 1_000;
      return { kind: 'proven', setCookies: [ownCookie(sessionCookie, session.id, seconds), ownCookie(knownCookie, knownBrowser, knownSeconds)] };
    },

    async everywhere(place, signal): Promise<string | undefined> {
      return (await deps.relyingParty()?.oidc.endSessionUrl(`${place.origin}/`, signal))?.href;
    },

    async logout(_place: SignInPlace, session: SessionId | undefined, signal): Promise<readonly string[]> {
      if (session !== undefined) {
        deps.sessions.revoke({ kind: 'session', digest: sessionKey(session) });
        await deps.authority.endSession(session, signal);
      }
      return [clearCookie(sessionCookie)];
    },
  };
}

/** What the checks ask, out of a gateway's caches. */
export function createAccessBackend(
  sessions: Pick<SessionCache, 'findSession' | 'verifyPeer' | 'verifyServiceToken'>,
  credentials: Pick<CredentialCache, 'verifyCredential' | 'keyOf'>,
): AccessBackend {
  return {
    findSession: (id, serviceId, signal) => sessions.findSession(id, serviceId, signal),
    verifyPeer: (key, serviceId, signal) => sessions.verifyPeer(key, serviceId, signal),
    verifyServiceToken: (plain, serviceId, signal) => sessions.verifyServiceToken(plain, serviceId, signal),
    verifyCredential: (credential, serviceId, address, signal) => credentials.verifyCredential(credential, serviceId, address, signal),
    credentialKey: (credential) => credentials.keyOf(credential),
  };
}

/** The ID token, or why there is none; rejects where the provider cannot be asked. */
async function trade(
  oidc: RelyingParty['oidc'],
  login: FinishedLogin,
  place: SignInPlace,
  query: string,
  signal: AbortSignal,
): Promise<string | { readonly refused: 'login_invalid' | 'login_denied' }> {
  const redirectUri = place.origin + callbackPath;
  const { state, nonce, codeVerifier } = login;
  try {
    const { idToken } = await oidc.exchange({ state, nonce, codeVerifier, callbackUrl: new URL(redirectUri + query), redirectUri }, signal);
    return idToken;
  } catch (error) {
    if (error instanceof MeshgateError && error.code === 'IDENTITY_SIGN_IN_REFUSED') return { refused: 'login_denied' };
    if (error instanceof MeshgateError && error.code === 'IDENTITY_SIGN_IN_INVALID') return { refused: 'login_invalid' };
    throw error;
  }
}

/** Identity headers with a signed assertion. Lines are made once for each identity, host and assertion, not for each request. */
export function createIdentityHeaders(signer: AssertionSigner): IdentityHeaders {
  const made = new WeakMap<Identity, { readonly assertion: string; readonly lines: string }>();
  const write = (identity: Identity, assertion: string): string => {
    const known = made.get(identity);
    if (known?.assertion === assertion) return known.lines;
    const lines = identityHeaders(identity, assertion)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('');
    made.set(identity, { assertion, lines });
    return lines;
  };
  return {
    isReserved: isIdentityHeader,
    lines(identity, place) {
      if (identity === undefined) return '';
      // Issuer and audience are the host itself, so an assertion of one service is none for another.
      const assertion = signer.assertion(identity, `https://${place.domain}`);
      return typeof assertion === 'string' ? write(identity, assertion) : assertion.then((signed) => write(identity, signed));
    },
    jwks: () => JSON.stringify(signer.jwks()),
  };
}
