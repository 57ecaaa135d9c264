// The relying party against an issuer that lies.
import t, { type Test } from 'tap';
import { SignJWT, generateKeyPair } from 'jose';
import { request } from 'node:https';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { silentLogger } from '#lib/log.ts';
import { createOidcClient, type CodeExchange } from '#identity/oidc-client.ts';
import { oidcBodyBytes } from '#identity/constants.ts';
import { createTestCa, type TestCa } from '../support/test-ca.ts';
import { issuerClient, startTestIssuer, unsigned } from './support/test-issuer.ts';

const redirectUri = 'https://app.localhost:8443/.meshgate/callback';
const login = { state: 'state-of-the-attempt-0123456789', nonce: 'nonce-of-the-attempt-0123456789', codeVerifier: 'v'.repeat(43) };
const soon = (): AbortSignal => AbortSignal.timeout(10_000);

async function start(t: Test) {
  const ca = await createTestCa();
  const issuer = await startTestIssuer(t, ca);
  const client = createOidcClient({
    issuer: issuer.issuer,
    clientId: issuerClient.id,
    clientSecret: issuerClient.secret,
    ca: ca.caPem,
    log: silentLogger,
  });
  t.teardown(() => client.close());
  const answer = async (): Promise<CodeExchange> => {
    const url = await client.authorizationUrl({ ...login, redirectUri, scope: 'openid email' }, soon());
    return { ...login, redirectUri, callbackUrl: await visit(url, ca) };
  };
  return { ca, issuer, client, answer };
}

/** Where the issuer sends the browser. */
async function visit(url: URL, ca: TestCa): Promise<URL> {
  const asked = request({ host: '127.0.0.1', port: url.port, servername: url.hostname, path: url.pathname + url.search, ca: ca.caPem, agent: false });
  asked.end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  response.resume();
  return new URL(response.headers.location ?? '');
}

t.test('a code becomes checked claims', async (t) => {
  const { issuer, client, answer } = await start(t);
  const given = await answer();
  const { claims, idToken } = await client.exchange(given, soon());
  t.match(claims, { sub: 'carol', iss: issuer.issuer, email: 'carol@corp.test' });
  t.equal(idToken.split('.').length, 3);
  t.match(Object.fromEntries(issuer.tokenRequests[0] ?? []), { code_verifier: login.codeVerifier, redirect_uri: redirectUri });
  t.equal(issuer.discoveries, 1, 'asked once');
  const out = await client.endSessionUrl('https://app.localhost:8443/', soon());
  t.equal(out?.searchParams.get('post_logout_redirect_uri'), 'https://app.localhost:8443/');
});

t.test('only the query of the callback counts, not the host that it seems to have', async (t) => {
  const { client, answer } = await start(t);
  const given = await answer();
  t.match(await client.exchange({ ...given, callbackUrl: new URL(`https://evil.test/x${given.callbackUrl.search}`) }, soon()), {
    claims: { sub: 'carol' },
  });
});

t.test('state, verifier and redirect must be those of the attempt', async (t) => {
  const { client, answer } = await start(t);
  for (const change of [
    { state: 'other' },
    { codeVerifier: 'w'.repeat(43) },
    { nonce: 'other' },
    { redirectUri: 'https://other.localhost/.meshgate/callback' },
  ]) {
    await t.rejects(client.exchange({ ...(await answer()), ...change }, soon()), { code: 'IDENTITY_SIGN_IN_INVALID' }, JSON.stringify(change));
  }
});

t.test('an answer of another issuer, or without one, is refused', async (t) => {
  const { issuer, client, answer } = await start(t);
  for (const back of [(query: URLSearchParams) => query.set('iss', 'https://evil.test'), (query: URLSearchParams) => query.delete('iss')]) {
    issuer.bend.back = back;
    await t.rejects(client.exchange(await answer(), soon()), { code: 'IDENTITY_SIGN_IN_INVALID' });
  }
  t.equal(issuer.tokenRequests.length, 0, 'the code was sent nowhere');
});

t.test('a refusal of the issuer is told apart', async (t) => {
  const { issuer, client, answer } = await start(t);
  issuer.bend.back = (query) => {
    query.delete('code');
    query.set('error', 'access_denied');
  };
  await t.rejects(client.exchange(await answer(), soon()), { code: 'IDENTITY_SIGN_IN_REFUSED' });
});

// Attack rows.
t.test('an ID token must fit in nonce, issuer, audience, time, key and algorithm', async (t) => {
  const { issuer, client, answer } = await start(t);
  const now = Math.floor(Date.now() / 1000);
  const refused = async (why: string): Promise<void> => {
    await t.rejects(client.exchange(await answer(), soon()), { code: 'IDENTITY_SIGN_IN_INVALID' }, why);
  };
  for (const change of [
    { nonce: 'other' },
    { nonce: undefined },
    { iss: 'https://evil.test' },
    { aud: 'somebody-else' },
    { aud: [issuerClient.id, 'somebody-else'] },
    { exp: now - 60 },
    { exp: undefined },
    { nbf: now + 600 },
    { sub: undefined },
  ]) {
    issuer.bend.claims = (claims) => ({ ...claims, ...change }) as typeof claims;
    await refused(JSON.stringify(change));
  }
  issuer.bend.claims = (claims) => claims;
  issuer.bend.sign = unsigned;
  await refused('alg none');
  const { privateKey } = await generateKeyPair('RS256');
  issuer.bend.sign = (claims) => new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: 'k1' }).sign(privateKey);
  await refused('another key under the same id');
  issuer.bend.sign = (claims) =>
    new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: 'k1' }).sign(new TextEncoder().encode(issuerClient.secret.padEnd(32, 'x')));
  await refused('a symmetric algorithm');
  issuer.bend.sign = undefined;
  t.match(await client.exchange(await answer(), soon()), { claims: { sub: 'carol' } }, 'the client is none the worse');
});

t.test('an issuer that is away for a moment is asked again; one that stays away is named', async (t) => {
  const { issuer, client } = await start(t);
  let failures = 2;
  issuer.bend.answer = (_path, res) => {
    if (failures-- <= 0) return false;
    res.writeHead(503).end();
    return true;
  };
  t.ok(await client.authorizationUrl({ ...login, redirectUri, scope: 'openid' }, soon()));
  t.equal(issuer.discoveries, 3);
});

t.test('an endless or foreign discovery is not believed', async (t) => {
  for (const body of ['x'.repeat(oidcBodyBytes + 1), JSON.stringify({ issuer: 'https://evil.test' }), '[]']) {
    const { issuer, client } = await start(t);
    issuer.bend.answer = (_path, res) => {
      res.writeHead(200, { 'content-type': 'application/json' }).end(body);
      return true;
    };
    await t.rejects(client.authorizationUrl({ ...login, redirectUri, scope: 'openid' }, soon()), { code: 'IDENTITY_PROVIDER_UNREACHABLE' });
  }
});

t.test('a certificate of an unknown authority is not trusted', async (t) => {
  const { issuer } = await start(t);
  const client = createOidcClient({ issuer: issuer.issuer, clientId: 'a', clientSecret: 'b', log: silentLogger });
  t.teardown(() => client.close());
  await t.rejects(client.authorizationUrl({ ...login, redirectUri, scope: 'openid' }, soon()), { code: 'IDENTITY_PROVIDER_UNREACHABLE' });
});

t.test('a caller that gives up is let go at once, and a closed client asks nobody', async (t) => {
  const { issuer, client } = await start(t);
  issuer.bend.answer = () => true; // never answers
  const impatient = new AbortController();
  const asked = client.authorizationUrl({ ...login, redirectUri, scope: 'openid' }, impatient.signal);
  impatient.abort(new TypeError('gone'));
  await t.rejects(asked, { message: 'gone' });
  issuer.bend.answer = () => false;
  await t.rejects(client.authorizationUrl({ ...login, redirectUri, scope: 'openid' }, AbortSignal.abort(new TypeError('gone'))), { message: 'gone' });
  t.throws(() => createOidcClient({ issuer: 'http://a.test', clientId: 'a', clientSecret: 'b', log: silentLogger }), { code: 'IDENTITY_BAD_ISSUER' });
});
