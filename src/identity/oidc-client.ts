// The relying party's side of OpenID Connect: code flow with PKCE, state and nonce against one issuer.
import { Backoff, sleep } from '#lib/backoff.ts';
import { MeshgateError } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { createRemoteJWKSet, customFetch, jwtVerify, type FetchImplementation, type JWTPayload } from 'jose';
import * as oidc from 'openid-client';
import { untilAborted } from './abort.ts';
import {
  clockToleranceSeconds,
  discoveryMs,
  discoveryRetryMs,
  discoveryTries,
  logoutTokenLength,
  logoutTokenSeconds,
  oidcRequestMs,
} from './constants.ts';
import { identityError } from './errors.ts';
import { createIssuerFetch } from './issuer-fetch.ts';
import type { LoginState } from './login-state.ts';

/** In the Authorization header or in the body of the token request. */
export type ClientAuthMethod = 'basic' | 'post';

export interface OidcClientOptions {
  /** An https URL. */
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** How the secret is sent where the issuer lists both ways; default `post`. */
  readonly clientAuth?: ClientAuthMethod | undefined;
  /** PEM of a private authority that is trusted besides the system's. */
  readonly ca?: string | undefined;
  readonly log: Logger;
}

export interface AuthorizationRequest extends LoginState {
  readonly redirectUri: string;
  /** Space-separated; must contain `openid`. */
  readonly scope: string;
}

export interface CodeExchange extends LoginState {
  /** The URL that the browser came back to; only its query counts. */
  readonly callbackUrl: URL;
  /** Exactly as in the authorization request. */
  readonly redirectUri: string;
  /** Claims that are asked for at the userinfo endpoint where the ID token lacks one (OpenID Connect Core §5.4); default none. */
  readonly wanted?: readonly string[];
}

export interface ExchangeResult {
  /** As received; signature, issuer, audience, times and nonce have been checked. */
  readonly idToken: string;
  readonly claims: { readonly sub: string; readonly [claim: string]: unknown };
}

/** Whom the issuer has signed out: one of both is there. */
export interface LogoutToken {
  readonly sub: string | undefined;
  readonly sid: string | undefined;
  readonly jti: string;
}

/** Every call rejects with a row of identity/errors.ts, or with the signal's reason. */
export interface OidcClient extends Closable {
  /** Where the browser is sent. */
  authorizationUrl(request: AuthorizationRequest, signal: AbortSignal): Promise<URL>;
  /**
   * Trades the code. IDENTITY_SIGN_IN_REFUSED where the issuer says no, IDENTITY_CLIENT_REFUSED where our id or secret is wrong there,
   * IDENTITY_SIGN_IN_INVALID where anything does not fit.
   */
  exchange(answer: CodeExchange, signal: AbortSignal): Promise<ExchangeResult>;
  /** A logout token of the issuer (OpenID Connect Back-Channel Logout 1.0 §2.4), checked as §2.6 asks. IDENTITY_LOGOUT_INVALID. */
  verifyLogoutToken(token: string, signal: AbortSignal): Promise<LogoutToken>;
  /** Where the browser is sent to end the sign-in at the issuer too, or undefined where the issuer has no such page. */
  endSessionUrl(postLogoutRedirectUri: string, signal: AbortSignal): Promise<URL | undefined>;
}

/** Makes a client; asks nothing before the first call. Throws IDENTITY_BAD_ISSUER. */
export function createOidcClient(options: OidcClientOptions): OidcClient {
  return new Client(options);
}

class Client implements OidcClient {
  readonly #options: OidcClientOptions;
  readonly #issuer: URL;
  readonly #net: ReturnType<typeof createIssuerFetch>;
  readonly #stop = new AbortController();
  #known: { readonly configuration: oidc.Configuration; readonly at: number } | undefined;
  #asking: Promise<oidc.Configuration> | undefined;
  #keys: { readonly uri: string; readonly find: ReturnType<typeof createRemoteJWKSet> } | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: OidcClientOptions) {
    const issuer = URL.parse(options.issuer);
    if (issuer === null || issuer.protocol !== 'https:') throw identityError('IDENTITY_BAD_ISSUER', options.issuer);
    this.#options = options;
    this.#issuer = issuer;
    this.#net = createIssuerFetch(options.ca);
  }

  async authorizationUrl(request: AuthorizationRequest, signal: AbortSignal): Promise<URL> {
    const configuration = await this.#configuration(signal);
    return oidc.buildAuthorizationUrl(configuration, {
      redirect_uri: request.redirectUri,
      scope: request.scope,
      state: request.state,
      nonce: request.nonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(request.codeVerifier),
      code_challenge_method: 'S256',
    });
  }

  async exchange(answer: CodeExchange, signal: AbortSignal): Promise<ExchangeResult> {
    const configuration = await this.#configuration(signal);
    // The redirect URI is what we sent, whatever host and path the request seems to have come in on.
    const url = new URL(answer.redirectUri);
    url.search = answer.callbackUrl.search;
    try {
      const checks = { expectedState: answer.state, expectedNonce: answer.nonce, pkceCodeVerifier: answer.codeVerifier, idTokenExpected: true };
      const tokens = await untilAborted(oidc.authorizationCodeGrant(configuration, url, checks), signal);
      const claims = tokens.claims();
      if (tokens.id_token === undefined || claims === undefined) throw identityError('IDENTITY_SIGN_IN_INVALID', 'no ID token');
      const lacking = (answer.wanted ?? []).some((name) => claims[name] === undefined);
      if (!lacking || configuration.serverMetadata().userinfo_endpoint === undefined) return { idToken: tokens.id_token, claims };
      const more = await untilAborted(oidc.fetchUserInfo(configuration, tokens.access_token, claims.sub), signal);
      // Whether an address is verified says only who says the address.
      const { email_verified: verified, ...own } = claims;
      const kept = claims['email'] === undefined ? own : { ...own, email_verified: verified };
      return { idToken: tokens.id_token, claims: { ...more, ...kept } };
    } catch (error) {
      throw translate(error, signal);
    }
  }

  async verifyLogoutToken(token: string, signal: AbortSignal): Promise<LogoutToken> {
    const configuration = await this.#configuration(signal);
    const uri = configuration.serverMetadata().jwks_uri;
    if (uri === undefined || token.length > logoutTokenLength) throw identityError('IDENTITY_LOGOUT_INVALID');
    if (this.#keys?.uri !== uri) {
      const fetchKeys: FetchImplementation = (url, asked) =>
        this.#net.fetch(url, { ...asked, headers: Object.fromEntries(asked.headers), body: undefined });
      const options = { [customFetch]: fetchKeys, timeoutDuration: oidcRequestMs };
      this.#keys = { uri, find: createRemoteJWKSet(new URL(uri), options) };
    }
    try {
      const { payload, protectedHeader } = await untilAborted(
        jwtVerify(token, this.#keys.find, {
          issuer: configuration.serverMetadata().issuer,
          audience: this.#options.clientId,
          algorithms: logoutAlgorithms,
          clockTolerance: clockToleranceSeconds,
          maxTokenAge: logoutTokenSeconds,
          requiredClaims: ['iat', 'exp', 'jti', 'events'],
        }),
        signal,
      );
      return readLogoutToken(payload, protectedHeader.typ);
    } catch (error) {
      if (error instanceof MeshgateError || (signal.aborted && error === signal.reason)) throw error;
      throw identityError('IDENTITY_LOGOUT_INVALID', error instanceof Error ? error.message : '', error);
    }
  }

  async endSessionUrl(postLogoutRedirectUri: string, signal: AbortSignal): Promise<URL | undefined> {
    const configuration = await this.#configuration(signal);
    if (configuration.serverMetadata().end_session_endpoint === undefined) return undefined;
    return oidc.buildEndSessionUrl(configuration, { post_logout_redirect_uri: postLogoutRedirectUri });
  }

  close(): Promise<void> {
    this.#stop.abort(identityError('IDENTITY_CLOSED'));
    this.#closing ??= this.#net.close();
    return this.#closing;
  }

  /** What the issuer says about itself: asked for once, then again each hour; the last good answer serves while it is away. */
  async #configuration(signal: AbortSignal): Promise<oidc.Configuration> {
    this.#stop.signal.throwIfAborted();
    const known = this.#known;
    if (known !== undefined && performance.now() - known.at < discoveryMs) return known.configuration;
    this.#asking ??= this.#discover().finally(() => (this.#asking = undefined));
    if (known === undefined) return untilAborted(this.#asking, signal);
    this.#asking.catch(() => this.#options.log.warn('an identity provider did not answer; its last answer is used', { issuer: this.#issuer.href }));
    return known.configuration;
  }

  async #discover(): Promise<oidc.Configuration> {
    const { clientId, clientSecret, log } = this.#options;
    const backoff = new Backoff({ firstMs: discoveryRetryMs, factor: 2, maxMs: 2000, jitter: 0.2, random: Math.random });
    for (let left = discoveryTries; ; left--) {
      try {
        const configuration = await oidc.discovery(
          this.#issuer,
          clientId,
          { [oidc.clockTolerance]: clockToleranceSeconds },
          clientAuth(clientSecret, this.#options.clientAuth ?? 'post'),
          { [oidc.customFetch]: this.#net.fetch, timeout: oidcRequestMs / 1000, execute: [oidc.enableNonRepudiationChecks] },
        );
        this.#known = { configuration, at: performance.now() };
        return configuration;
      } catch (error) {
        if (left <= 1 || this.#stop.signal.aborted) throw identityError('IDENTITY_PROVIDER_UNREACHABLE', this.#issuer.href, error);
        log.debug('discovery failed, trying again', { issuer: this.#issuer.href });
        await sleep(backoff.next(), this.#stop.signal);
      }
    }
  }
}

/** Only signatures by key pairs: with a shared secret the client could have made it itself. */
const logoutAlgorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];
const logoutEvent = 'http://schemas.openid.net/event/backchannel-logout';

/** §2.6: it says that it is one, is no ID token, and names somebody. */
function readLogoutToken(payload: JWTPayload, typ: string | undefined): LogoutToken {
  const { sub, sid, jti, events } = payload as JWTPayload & { readonly sid?: unknown; readonly events?: unknown };
  const event: unknown = typeof events === 'object' && events !== null ? (events as Record<string, unknown>)[logoutEvent] : undefined;
  const typed = typ === undefined || /^(?:application\/)?(?:logout\+jwt|jwt)$/i.test(typ);
  const named = (sub !== undefined && sub !== '') || (typeof sid === 'string' && sid !== '');
  if (!typed || typeof event !== 'object' || event === null || payload['nonce'] !== undefined || !named || jti === undefined || jti === '')
    throw identityError('IDENTITY_LOGOUT_INVALID');
  return { sub, sid: typeof sid === 'string' ? sid : undefined, jti };
}

/** Whether the issuer answered that something is wrong on its own side. */
function isServerFailure(cause: unknown): boolean {
  return cause instanceof Response && cause.status >= 500;
}

/** Whether the token endpoint says that our own id or secret is wrong: in the body, or by asking for them again (RFC 6749 §5.2). */
function isClientRefused(error: unknown): boolean {
  if (error instanceof oidc.ResponseBodyError) return error.error === 'invalid_client' || error.error === 'unauthorized_client';
  return error instanceof oidc.WWWAuthenticateChallengeError && error.cause.some(({ scheme }) => scheme === 'basic');
}

/**
 * The client's id and secret in the form that the issuer lists, else in the Authorization header, which every issuer must take
 * (RFC 6749 §2.3.1, OpenID Connect Discovery §3). `preferred` decides where both are listed: some issuers take one per client.
 */
function clientAuth(secret: string, preferred: ClientAuthMethod): oidc.ClientAuth {
  const methods = { basic: oidc.ClientSecretBasic(secret), post: oidc.ClientSecretPost(secret) };
  return (server, ...rest) => {
    const listed = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic'];
    const other = preferred === 'basic' ? 'post' : 'basic';
    const method = !listed.includes(`client_secret_${preferred}`) && listed.includes(`client_secret_${other}`) ? other : preferred;
    return methods[method](server, ...rest);
  };
}

/** A row of our table for whatever openid-client throws. */
function translate(error: unknown, signal: AbortSignal): unknown {
  if (error instanceof MeshgateError || (signal.aborted && error === signal.reason)) return error;
  if (isClientRefused(error)) return identityError('IDENTITY_CLIENT_REFUSED', '', error);
  if (error instanceof oidc.AuthorizationResponseError) return identityError('IDENTITY_SIGN_IN_REFUSED', error.error, error);
  // What the network throws comes wrapped; everything else is an answer that does not fit.
  const network =
    error instanceof TypeError || (error instanceof oidc.ClientError && (error.code === 'OAUTH_TIMEOUT' || isServerFailure(error.cause)));
  return network
    ? identityError('IDENTITY_PROVIDER_UNREACHABLE', 'token endpoint', error)
    : identityError('IDENTITY_SIGN_IN_INVALID', error instanceof Error ? error.message : '', error);
}
