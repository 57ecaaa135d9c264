// What NetBird's CLI and the dashboard do: PKCE on a loopback redirect, the device flow, access tokens for the API.
import { mock } from 'node:test';
import t from 'tap';
import { systemClock } from '#lib/clock.ts';
import { authorize, credentials, payloadOf, signIn, startHarness, trade, type TokenAnswer } from './support/harness.ts';

const cli = { client_id: 'netbird-cli', redirect_uri: 'http://localhost:53000/', audience: 'netbird-cli', prompt: 'login' };
const ada = { id: 'u1', name: 'Ada', ...credentials };

t.test('the CLI signs in through the browser and its token opens the API', async (t) => {
  const { issuer, domain, provider, browser: newBrowser } = await startHarness(t);
  const user = domain.add(ada);
  const browser = newBrowser();
  const attempt = authorize(issuer, cli);
  const page = await signIn(browser, attempt.url);
  t.equal(page.location?.origin, 'http://localhost:53000');
  const tokens = await trade(browser, issuer, page, attempt, { client_id: 'netbird-cli', client_secret: '' });
  t.match(payloadOf(tokens.access_token), { iss: issuer, aud: 'netbird-cli', sub: 'u1' });
  t.match(payloadOf(tokens.id_token), { aud: 'netbird-cli', sub: 'u1', email: credentials.email });
  t.equal(await provider().verifyAccessToken(tokens.access_token), 'u1');
  t.equal(await provider().verifyAccessToken(tokens.id_token), undefined, 'an ID token is no access token');
  t.equal(await provider().verifyAccessToken(`${tokens.access_token.slice(0, -4)}AAAA`), undefined);

  const again = await browser.follow(browser.get(authorize(issuer, cli).url));
  t.match(again.text, 'name="password"', 'prompt=login asks although there is a session');
  domain.change(user.id, { blocked: true });
  t.equal(await provider().verifyAccessToken(tokens.access_token), undefined, 'blocked');
  domain.change(user.id, { blocked: false });
  await provider().endSessionsOf(user.id);
  t.equal(await provider().verifyAccessToken(tokens.access_token), undefined, 'revoked');
});

t.test('a logout ends the API token too, and an opaque token of the gateway never is one', async (t) => {
  const { issuer, domain, provider, browser: newBrowser } = await startHarness(t);
  domain.add(ada);
  const browser = newBrowser();
  const attempt = authorize(issuer, cli);
  const tokens = await trade(browser, issuer, await signIn(browser, attempt.url), attempt, { client_id: 'netbird-cli', client_secret: '' });
  const gateway = authorize(issuer);
  const other = await trade(browser, issuer, await browser.follow(browser.get(gateway.url)), gateway);
  t.equal(await provider().verifyAccessToken(other.access_token), undefined);
  t.equal(await provider().verifyAccessToken(tokens.access_token), 'u1');
  await browser.post(await browser.get(`${issuer}/logout`), { logout: 'yes' });
  t.equal(await provider().verifyAccessToken(tokens.access_token), undefined);
});

t.test('the CLI returns to loopback only', async (t) => {
  const { issuer, browser: newBrowser } = await startHarness(t);
  for (const redirect of ['http://evil.test:53000/', 'https://localhost:53000/', 'http://localhost:53000/x', 'http://localhost.evil.test:53000/']) {
    t.equal((await newBrowser().get(authorize(issuer, { ...cli, redirect_uri: redirect }).url)).status, 400, redirect);
  }
});

t.test('a device without a browser signs in with a code', async (t) => {
  const { issuer, domain, provider, browser: newBrowser } = await startHarness(t);
  domain.add(ada);
  const [device, browser] = [newBrowser(), newBrowser()];
  const json = { accept: 'application/json' };
  const started = await device.postTo(
    `${issuer}/device/code`,
    { client_id: 'netbird-cli', audience: 'netbird-cli', scope: 'openid profile email groups' },
    json,
  );
  const { device_code: code, user_code: userCode, ...rest } = JSON.parse(started.text) as Record<string, string>;
  t.match(rest, { verification_uri: `${issuer}/device`, expires_in: 600, interval: 5 });
  const poll = async (): Promise<TokenAnswer> => {
    const grant = { grant_type: 'urn:ietf:params:oauth:grant-type:device_code', device_code: code ?? '', client_id: 'netbird-cli' };
    return JSON.parse((await device.postTo(`${issuer}/token`, grant, json)).text) as TokenAnswer;
  };
  t.match(await poll(), { error: 'authorization_pending' });

  const ask = await browser.get(`${issuer}/device`);
  t.match(ask.text, '<label for="user_code">');
  const wrong = await browser.post(ask, { user_code: 'XXXX-XXXX' });
  t.match(wrong.text, 'This code is not known');
  const confirm = await browser.post(wrong, { user_code: userCode ?? '' });
  t.match(confirm.text, userCode ?? '-', 'the person compares the code');
  const form = await browser.follow(browser.post(confirm, {}));
  const done = await browser.follow(browser.post(form, credentials));
  t.match(done.text, 'The device is connected');

  const tokens = await poll();
  t.equal(payloadOf(tokens.access_token)['aud'], 'netbird-cli');
  t.equal(await provider().verifyAccessToken(tokens.access_token), 'u1');
  t.match(await poll(), { error: 'invalid_grant' }, 'only once');
});

t.test('a sign-in token is for the CLI alone and has its time', async (t) => {
  let offset = 0;
  const { issuer, domain, provider, browser: newBrowser } = await startHarness(t, { clock: { ...systemClock, wall: () => Date.now() + offset } });
  const user = domain.add(ada);
  const tokens = async (change: Readonly<Record<string, string>> = cli): Promise<TokenAnswer> => {
    const [browser, attempt] = [newBrowser(), authorize(issuer, change)];
    let page = await browser.post(await browser.follow(browser.get(attempt.url)), credentials);
    while (page.location?.pathname.startsWith('/oauth2/') === true) page = await browser.get(page.location);
    return trade(browser, issuer, page, attempt, { client_id: change['client_id'] ?? '', client_secret: '' });
  };
  const { access_token: token, id_token: idToken } = await tokens();
  const first = await provider().verifyLoginToken(token);
  t.match(first, { userId: 'u1', digest: /^[\w+/]{43}=$/ });
  t.same(await provider().verifyLoginToken(token), first, 'who counts uses is the domain');
  // The last character of a signature has bits that say nothing: the same token in other letters is no second one.
  const signature = token.slice(token.lastIndexOf('.') + 1);
  const same = (last: string): boolean =>
    Buffer.from(signature.slice(0, -1) + last, 'base64url').equals(Buffer.from(signature, 'base64url')) && last !== signature.at(-1);
  for (const spelling of [
    ...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
      .split('')
      .filter(same)
      .map((last) => token.slice(0, -1) + last),
    `${token}=`,
    `${token}==`,
    `${token} `,
  ]) {
    const again = await provider()
      .verifyLoginToken(spelling)
      .catch(() => undefined);
    t.equal(again?.digest ?? first.digest, first.digest, 'another spelling');
  }
  const origin = new URL(issuer).origin;
  const dashboard = await tokens({ client_id: 'netbird-dashboard', redirect_uri: `${origin}/auth` });
  t.equal(await provider().verifyAccessToken(dashboard.access_token), 'u1');
  for (const foreign of [idToken, dashboard.access_token, 'x', '', `${token.slice(0, -4)}AAAA`]) {
    await t.rejects(provider().verifyLoginToken(foreign), { code: 'IDP_LOGIN_TOKEN_INVALID' });
  }
  domain.change(user.id, { blocked: true });
  await t.rejects(provider().verifyLoginToken(token), { code: 'IDP_LOGIN_TOKEN_ENDED' }, 'blocked');
  domain.change(user.id, { blocked: false });
  offset = 3_600_000 + 10_000;
  await t.rejects(provider().verifyLoginToken(token), { code: 'IDP_LOGIN_TOKEN_ENDED' }, 'an hour later');
});

t.test('a device code that nobody confirmed in time', async (t) => {
  const { issuer, browser: newBrowser } = await startHarness(t);
  const device = newBrowser();
  const json = { accept: 'application/json' };
  const started = await device.postTo(`${issuer}/device/code`, { client_id: 'netbird-cli', scope: 'openid' }, json);
  const { device_code: code = '', user_code: userCode = '' } = JSON.parse(started.text) as Record<string, string>;
  mock.timers.enable({ apis: ['Date'], now: Date.now() + 601_000 });
  t.teardown(() => mock.timers.reset());
  const grant = { grant_type: 'urn:ietf:params:oauth:grant-type:device_code', device_code: code, client_id: 'netbird-cli' };
  t.match(JSON.parse((await device.postTo(`${issuer}/token`, grant, json)).text), { error: 'expired_token', error_description: /.+/ });
  const browser = newBrowser();
  t.match((await browser.post(await browser.get(`${issuer}/device`), { user_code: userCode })).text, 'This code has expired');
});
