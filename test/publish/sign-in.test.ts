// Sign-in at a published host with identity/'s own parts: leave for the provider, come back, be let in, sign out.
import t from 'tap';
import { AssertionSigner } from '#identity/assertion.ts';
import { identityError } from '#identity/errors.ts';
import type { AuthorizationRequest, CodeExchange, OidcClient } from '#identity/oidc-client.ts';
import { SessionCache } from '#identity/session-cache.ts';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import type { ProofAuthority, Session, SessionAuthority, SessionGrant } from '#model/identity.ts';
import type { SessionId } from '#model/ids.ts';
import { createAccessBackend, createIdentityHeaders, createLoginStates, createSignIn } from '#publish/index.ts';
import { decodeJwt, createLocalJWKSet, jwtVerify, type JSONWebKeySet } from 'jose';
import { exchange, mapping, path, session, startEcho, startFixture, withLogin } from './harness.ts';

/** An identity provider that says yes to the code `good`, and keeps what it was asked. */
class FakeProvider implements Omit<OidcClient, 'verifyLogoutToken'> {
  asked: AuthorizationRequest | undefined;
  async authorizationUrl(request: AuthorizationRequest): Promise<URL> {
    this.asked = request;
    return new URL(`https://idp.test/authorize?state=${request.state}`);
  }
  async exchange(answer: CodeExchange): Promise<{ idToken: string; claims: { sub: string } }> {
    const code = answer.callbackUrl.searchParams.get('code');
    if (code === 'down') throw identityError('IDENTITY_PROVIDER_UNREACHABLE');
    if (code === 'no') throw identityError('IDENTITY_SIGN_IN_REFUSED');
    if (code !== 'good' || answer.nonce !== this.asked?.nonce) throw identityError('IDENTITY_SIGN_IN_INVALID');
    return { idToken: 'id-token', claims: { sub: 'u-alice' } };
  }
  async endSessionUrl(): Promise<undefined> {
    return undefined;
  }
  async close(): Promise<void> {}
}

class FakeAuthority implements SessionAuthority, ProofAuthority {
  readonly sessions = new Map<string, Session>();
  refuse: 'group_not_allowed' | 'user_blocked' | undefined;
  async createSession(serviceId: Session['serviceId']): Promise<SessionGrant> {
    if (this.refuse !== undefined) return { kind: 'refused', why: this.refuse };
    const made = session(`session-${this.sessions.size}`, serviceId);
    this.sessions.set(made.id, made);
    return { kind: 'granted', session: made };
  }
  async findSession(id: SessionId): ReturnType<SessionAuthority['findSession']> {
    const found = this.sessions.get(id);
    return found === undefined ? { kind: 'none', why: 'unknown' } : { kind: 'live', session: found };
  }
  verifyPeer(): ReturnType<SessionAuthority['verifyPeer']> {
    return Promise.resolve({ kind: 'denied', why: 'token_invalid' });
  }

  async endSession(id: SessionId): Promise<void> {
    this.sessions.delete(id);
  }
  async prove(): ReturnType<ProofAuthority['prove']> {
    return { kind: 'refused', why: 'not_asked', retryAfterMs: 0 };
  }
  async verifyServiceToken(): ReturnType<SessionAuthority['verifyServiceToken']> {
    return { kind: 'denied', why: 'token_invalid' };
  }
}

void t.test('a visitor signs in, is known upstream by an assertion, and signs out', async (t) => {
  const provider = new FakeProvider();
  const authority = new FakeAuthority();
  const sessions = new SessionCache({ authority, clock: systemClock, log: silentLogger });
  let stored: string | undefined;
  const store = { load: async () => stored, save: async (text: string) => void (stored = text) };
  const signer = await AssertionSigner.open({ store, clock: systemClock, log: silentLogger });
  const states = createLoginStates(new Uint8Array(32).fill(3), systemClock);
  let ready = false;
  const signIn = createSignIn({
    relyingParty: () => (ready ? { oidc: provider, states } : undefined),
    authority,
    sessions,
    clock: systemClock,
    log: silentLogger,
  });
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)], withLogin)], {
    backend: createAccessBackend(sessions, { verifyCredential: () => Promise.reject(new TypeError('none')), keyOf: () => '' }),
    signIn,
    identityHeaders: createIdentityHeaders(signer),
  });
  t.teardown(() => Promise.all([fixture.close(), echo.close(), sessions.close()]));
  const ask = (target: string, cookie = ''): Promise<string> =>
    exchange(
      fixture,
      `GET ${target} HTTP/1.1\r\nHost: a.test:8443\r\nAccept: text/html\r\n${cookie === '' ? '' : `Cookie: ${cookie}\r\n`}Connection: close\r\n\r\n`,
    );
  const begin = async (target: string): Promise<{ state: string; cookie: string }> => {
    const away = await ask(target);
    return { state: /Location: .*state=(\S+)\r\n/.exec(away)?.[1] ?? '', cookie: /Set-Cookie: (__Host-meshgate-login[^;]+);/.exec(away)?.[1] ?? '' };
  };

  t.match(await ask('/x'), /^HTTP\/1\.1 503/, 'nobody can sign in before the control plane has told how');
  ready = true;

  const { state, cookie } = await begin('//deep%2Fpath?a=1&b=%20');
  t.match(provider.asked, { redirectUri: 'https://a.test:8443/.meshgate/callback', scope: /openid/ });
  t.match(await ask(`/.meshgate/callback?code=good&state=${state}`), /^HTTP\/1\.1 400/, 'another browser');
  t.match(await ask(`/.meshgate/callback?code=good&state=${state}&state=${state}`, cookie), /^HTTP\/1\.1 400/);
  t.match(await ask(`/.meshgate/callback?code=no&state=${state}`, cookie), /^HTTP\/1\.1 403/);
  t.match(await ask(`/.meshgate/callback?code=odd&state=${state}`, cookie), /^HTTP\/1\.1 400/);
  t.match(await ask(`/.meshgate/callback?code=down&state=${state}`, cookie), /^HTTP\/1\.1 503/);
  authority.refuse = 'group_not_allowed';
  t.match(await ask(`/.meshgate/callback?code=good&state=${state}`, cookie), /^HTTP\/1\.1 403/);
  authority.refuse = undefined;

  const back = await ask(`/.meshgate/callback?code=good&state=${state}`, cookie);
  t.match(back, /Location: https:\/\/a\.test:8443\/\/deep%2Fpath\?a=1&b=%20\r\n/);
  const own = /Set-Cookie: (__Host-meshgate=[^;]+); Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=(\d+)/.exec(back);
  t.ok(Number(own?.[2]) > 3_000);
  t.match(back, /Set-Cookie: __Host-meshgate-login[^=]+=; Path=\/; Max-Age=0/);

  t.match(await ask('/x', own?.[1]), /^HTTP\/1\.1 200/);
  const received = echo.received.at(-1) ?? '';
  t.match(received, /X-Meshgate-Email: alice@example\.test\r\n/);
  const assertion = /X-Meshgate-Assertion: (\S+)\r\n/.exec(received)?.[1] ?? '';
  const keys = await ask('/.meshgate/jwks.json');
  const jwks = JSON.parse(keys.slice(keys.indexOf('\r\n\r\n') + 4)) as JSONWebKeySet;
  const { payload } = await jwtVerify(assertion, createLocalJWKSet(jwks), { audience: 'https://a.test', issuer: 'https://a.test' });
  t.equal(payload.sub, 'u-alice');
  t.same(decodeJwt(assertion)['groups'], ['dev', 'ops']);

  t.match(await ask('/.meshgate/logout', own?.[1]), /^HTTP\/1\.1 200 Signed out\r\n[^]*Set-Cookie: __Host-meshgate=; [^\r]*Max-Age=0/);
  t.equal(authority.sessions.size, 0);
  t.match(await ask('/x', own?.[1]), /^HTTP\/1\.1 302/);
});
