// Requests that must not end in a code or a token.
import t from 'tap';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { text as readText } from 'node:stream/consumers';
import { SignJWT, UnsecuredJWT, exportJWK, generateKeyPair } from 'jose';
import { systemClock } from '#lib/clock.ts';
import { idTokenSeconds, startsPerMinute } from '#server/idp/constants.ts';
import { parseCallback } from '#server/idp/redirects.ts';
import { authorize, credentials, gatewayClient, payloadOf, redirectUri, signIn, startHarness, trade } from './support/harness.ts';

t.test('a redirect goes to enabled services at the callback path only', async (t) => {
  const { issuer, services, browser: newBrowser } = await startHarness(t);
  const browser = newBrowser();
  for (const uri of [
    'https://evil.test/.meshgate/callback',
    'https://app.localhost:8443.evil.test/.meshgate/callback',
    'https://app.localhost:8443@evil.test/.meshgate/callback',
    'https://evil.test#app.localhost:8443/.meshgate/callback',
    'https://evil.test\\@app.localhost:8443/.meshgate/callback',
    'http://app.localhost:8443/.meshgate/callback',
    'https://app.localhost:8443/.meshgate/callback/',
    'https://app.localhost:8443/.meshgate/callback?x=1',
    'https://app.localhost:8443/.meshgate/../.meshgate/callback',
    'https://app.localhost:8443/other',
    'https://APP.localhost:8443/.meshgate/callback',
    'https://u:p@app.localhost:8443/.meshgate/callback',
    '//app.localhost:8443/.meshgate/callback',
    'https://gateway.invalid/.meshgate/callback',
    'javascript:alert(1)',
    '',
  ]) {
    const page = await browser.get(authorize(issuer, { redirect_uri: uri }).url);
    t.equal(page.status, 400, uri);
    t.equal(page.location, undefined, uri);
    t.notMatch(page.text, 'evil.test', 'what came is not on the page');
  }
  const twice = authorize(issuer).url;
  twice.searchParams.append('redirect_uri', redirectUri);
  t.equal((await browser.get(twice)).status, 400, 'two redirects');
  services.delete('app.localhost:8443');
  t.equal((await browser.get(authorize(issuer).url)).status, 400, 'a service that was switched off');
  t.equal(parseCallback(`https://a.test/.meshgate/callback${'?'.padEnd(3000, 'x')}`), undefined);
});

// Attack row A-3.
t.test('without PKCE, or with plain, there is no code', async (t) => {
  const { issuer, browser: newBrowser } = await startHarness(t);
  const browser = newBrowser();
  for (const change of [
    { code_challenge: undefined, code_challenge_method: undefined },
    { code_challenge_method: 'plain' },
    { code_challenge_method: undefined },
  ]) {
    const page = await browser.get(authorize(issuer, change).url);
    t.equal(page.location?.searchParams.get('error'), 'invalid_request');
    t.equal(page.location?.searchParams.get('code'), null);
  }
  for (const response of ['token', 'id_token', 'code id_token']) {
    const page = await browser.get(authorize(issuer, { response_type: response }).url);
    t.match(page.location?.searchParams.get('error') ?? page.location?.hash ?? String(page.status), /unsupported_response_type|400/);
  }
});

t.test('a code is worth nothing with another verifier, client, secret or redirect, and only once', async (t) => {
  const { issuer, domain, services, browser: newBrowser } = await startHarness(t);
  domain.add({ id: 'u1', name: 'Ada', ...credentials });
  services.add('other.localhost:8443');
  const browser = newBrowser();
  const fresh = async () => {
    const attempt = authorize(issuer);
    const form = await browser.follow(browser.get(attempt.url));
    return { attempt, page: form.location === undefined ? await browser.follow(browser.post(form, credentials)) : form };
  };
  for (const change of [
    { code_verifier: 'x'.repeat(43) },
    { client_secret: 'wrong'.repeat(10) },
    { client_id: 'netbird-cli' },
    { redirect_uri: 'https://other.localhost:8443/.meshgate/callback' },
    { code: 'guess' },
  ]) {
    const { attempt, page } = await fresh();
    t.match(await trade(browser, issuer, page, attempt, change), { error: /invalid_/ }, JSON.stringify(change));
  }
  const { attempt, page } = await fresh();
  t.match(await trade(browser, issuer, page, attempt), { status: 200 });
  t.match(await trade(browser, issuer, page, attempt), { status: 400, error: 'invalid_grant' });
});

t.test('of twenty requests with one code one gets tokens', async (t) => {
  const { issuer, domain, browser: newBrowser } = await startHarness(t);
  domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const browser = newBrowser();
  const attempt = authorize(issuer);
  const page = await signIn(browser, attempt.url);
  const answers = await Promise.all(Array.from({ length: 20 }, () => trade(browser, issuer, page, attempt)));
  t.equal(answers.filter(({ status }) => status === 200).length, 1);
  t.ok(answers.every(({ status, error }) => status === 200 || error === 'invalid_grant'));
});

t.test('requests are bounded in length and method', async (t) => {
  const { issuer, browser: newBrowser } = await startHarness(t);
  const browser = newBrowser();
  t.equal((await browser.get(authorize(issuer, { state: 'x'.repeat(9000) }).url)).status, 414);
  t.equal((await browser.postTo(`${issuer}/connectors/x/callback`, {})).status, 405);
  let status = 0;
  for (let i = 0; i <= startsPerMinute; i++) status = (await browser.get(`${issuer}/auth`)).status;
  t.equal(status, 429, 'an address may start only so many');
});

t.test('the limit of starts holds however a path is spelled', async (t) => {
  const { issuer, ca, browser: newBrowser } = await startHarness(t);
  const browser = newBrowser();
  for (let i = 0; i <= startsPerMinute; i++) await browser.get(`${issuer}/device`);
  const { hostname, port } = new URL(issuer);
  for (const path of [
    'device',
    'DEVICE',
    'device/',
    'Device/?x=1',
    'device#x',
    'device/code#x',
    'AUTH/',
    'device//',
    '/device',
    'x/../device',
    'device;x',
  ]) {
    for (const method of ['GET', 'POST']) {
      const headers = { 'content-type': 'application/x-www-form-urlencoded' };
      const where = { host: '127.0.0.1', port, servername: hostname, ca: ca.caPem, agent: false, path: `/oauth2/${path}` };
      const request = httpsRequest({ ...where, method, headers: { host: new URL(issuer).host, ...headers } });
      request.end();
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      response.resume();
      t.ok([404, 405, 429].includes(response.statusCode ?? 0), `${method} ${path}: ${response.statusCode}`);
    }
  }
});

t.test('an ID token is checked for nonce, audience, issuer, key, algorithm and time', async (t) => {
  const { issuer, domain, provider, browser: newBrowser } = await startHarness(t);
  domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const browser = newBrowser();
  const attempt = authorize(issuer);
  const { id_token: good, access_token: access } = await trade(browser, issuer, await signIn(browser, attempt.url), attempt);
  const check = (token: string, nonce = attempt.nonce, client = gatewayClient.id) => provider().verifyIdToken(token, nonce, client);
  const refused = (work: Promise<unknown>, why: string) => t.rejects(work, { code: 'IDP_TOKEN_INVALID' }, why);
  t.equal((await check(good)).userId, 'u1');

  await refused(check(good, 'other'), 'nonce');
  await refused(check(good, ''), 'no nonce');
  await refused(check(good, attempt.nonce, 'netbird-cli'), 'audience');
  await refused(check(access), 'an access token');
  await refused(check('x'.repeat(10_000)), 'too long');
  await refused(check(''), 'nothing');
  const [head = '', body = '', signature = ''] = good.split('.');
  await refused(
    check([head, Buffer.from(JSON.stringify({ ...payloadOf(good), sub: 'owner' })).toString('base64url'), signature].join('.')),
    'changed',
  );
  await refused(check([head, body, ''].join('.')), 'no signature');
  await refused(check(new UnsecuredJWT(payloadOf(good)).encode()), 'alg none');

  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true });
  const keys = JSON.parse((await browser.get(`${issuer}/keys`)).text) as { keys: { kid: string; n: string }[] };
  const kid = keys.keys[0]?.kid ?? '';
  await refused(check(await new SignJWT(payloadOf(good)).setProtectedHeader({ alg: 'RS256', kid }).sign(privateKey)), 'another key under our id');
  await refused(check(await new SignJWT(payloadOf(good)).setProtectedHeader({ alg: 'RS256', kid: 'unknown' }).sign(privateKey)), 'unknown key');
  const secret = new TextEncoder().encode(keys.keys[0]?.n ?? '');
  await refused(check(await new SignJWT(payloadOf(good)).setProtectedHeader({ alg: 'HS256', kid }).sign(secret)), 'a public key as a secret');
  const jwk = await exportJWK(publicKey);
  await refused(check(await new SignJWT(payloadOf(good)).setProtectedHeader({ alg: 'RS256', jwk }).sign(privateKey)), 'a key that the token brings');
});

t.test('an ID token is over after an hour', async (t) => {
  let offset = 0;
  const clock = { ...systemClock, wall: () => Date.now() + offset };
  const { issuer, domain, provider, browser: newBrowser } = await startHarness(t, { clock });
  domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const browser = newBrowser();
  const attempt = authorize(issuer);
  const { id_token: token } = await trade(browser, issuer, await signIn(browser, attempt.url), attempt);
  const check = () => provider().verifyIdToken(token, attempt.nonce, gatewayClient.id);
  offset = (idTokenSeconds - 10) * 1000;
  t.equal((await check()).userId, 'u1');
  offset = (idTokenSeconds + 10) * 1000;
  await t.rejects(check(), { code: 'IDP_TOKEN_INVALID' });
});

t.test('what the provider says about itself is the configured issuer, not the Host header', async (t) => {
  const { issuer, ca, browser: newBrowser } = await startHarness(t);
  const lie = async (path: string): Promise<{ readonly location: string | undefined; readonly text: string }> => {
    const { hostname, port } = new URL(issuer);
    const headers = { host: 'evil.test', 'x-forwarded-host': 'evil.test', 'x-forwarded-proto': 'http' };
    const request = httpsRequest({ host: '127.0.0.1', port, servername: hostname, ca: ca.caPem, path, headers, agent: false });
    request.end();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return { location: response.headers.location, text: await readText(response) };
  };
  t.match(JSON.parse((await lie('/oauth2/.well-known/openid-configuration')).text), {
    issuer,
    authorization_endpoint: `${issuer}/auth`,
    token_endpoint: `${issuer}/token`,
    jwks_uri: `${issuer}/keys`,
    device_authorization_endpoint: `${issuer}/device/code`,
    end_session_endpoint: `${issuer}/logout`,
    code_challenge_methods_supported: ['S256'],
    id_token_signing_alg_values_supported: ['RS256'],
  });
  const { url } = authorize(issuer);
  const { location = '' } = await lie(url.pathname + url.search);
  t.equal(new URL(location, issuer).host, new URL(issuer).host);
  const keys = JSON.parse((await newBrowser().get(`${issuer}/keys`)).text) as { keys: Record<string, unknown>[] };
  t.ok(keys.keys.length >= 2 && keys.keys.every((key) => key['kty'] === 'RSA' && key['d'] === undefined));
});
