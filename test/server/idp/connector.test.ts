// Signing in with an account of somebody else's provider: a scripted issuer as the other side.
import { SignJWT, UnsecuredJWT } from 'jose';
import t, { type Test } from 'tap';
import { createTestCa } from '../../support/test-ca.ts';
import { createIdentityProvider } from '#server/idp/index.ts';
import { silentLogger } from '#lib/log.ts';
import { systemClock } from '#lib/clock.ts';
import type { Browser, Page } from './support/browser.ts';
import { findDex, startDex } from './support/dex.ts';
import { issuerClient, startTestIssuer, type TestIssuer } from '../../identity/support/test-issuer.ts';
import { createFakeDomain } from './support/fake-domain.ts';
import { authorize, credentials, gatewayClient, payloadOf, redirectUri, startHarness, trade, type Harness } from './support/harness.ts';

/** Our provider with another one as a connector. */
async function startPair(t: Test): Promise<{ readonly mesh: Harness; readonly corp: TestIssuer }> {
  const ca = await createTestCa();
  const corp = await startTestIssuer(t, ca);
  const mesh = await startHarness(t, {
    ca,
    connectors: () => [
      { id: 'corp', name: 'Corp <b>', issuer: corp.issuer, clientId: issuerClient.id, clientSecret: issuerClient.secret, ca: ca.caPem },
    ],
  });
  return { mesh, corp };
}

/** From our sign-in page to the other provider's; returns where the button leads. */
async function leave(browser: Browser, mesh: Harness, url = authorize(mesh.issuer).url): Promise<{ readonly form: Page; readonly away: Page }> {
  const form = await browser.follow(browser.get(url));
  const href = /<a\s+class="button quiet"\s+href="([^"]*)"/.exec(form.text)?.[1] ?? '';
  return { form, away: await browser.get(new URL(href, mesh.issuer)) };
}

t.test('the button leads to the other provider with PKCE, state and nonce', async (t) => {
  const { mesh, corp } = await startPair(t);
  mesh.domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const browser = mesh.browser();
  const { form, away } = await leave(browser, mesh);
  t.match(form.text, 'Sign in with Corp &lt;b&gt;');
  t.equal(away.location?.host, new URL(corp.issuer).host);
  const query = Object.fromEntries(away.location?.searchParams ?? []);
  t.match(query, {
    redirect_uri: `${mesh.issuer}/connectors/corp/callback`,
    code_challenge_method: 'S256',
    scope: 'openid email profile',
    response_type: 'code',
  });
  t.ok(query['state'] !== undefined && query['nonce'] !== undefined && query['code_challenge'] !== undefined);
  t.match(away.setCookies[0], /^__Secure-meshgate-ext-[\w-]+=[\w-]+; Path=\/oauth2\/; Max-Age=600; Secure; HttpOnly; SameSite=Lax$/);
});

// Attack row A-1.
t.test('an answer is taken only with the state of this browser', async (t) => {
  const { mesh, corp } = await startPair(t);
  mesh.domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const [mine, victim] = [mesh.browser(), mesh.browser()];
  const { away } = await leave(mine, mesh);
  const state = away.location?.searchParams.get('state') ?? '';
  const callback = `${mesh.issuer}/connectors/corp/callback`;
  t.equal((await victim.get(`${callback}?code=x&state=${state}`)).status, 400, 'another browser');
  t.equal((await mine.get(`${callback}?code=x&state=other`)).status, 400, 'another state');
  t.equal((await mine.get(`${callback}?code=x`)).status, 400, 'no state');
  t.equal((await mine.get(`${mesh.issuer}/connectors/unknown/callback?code=x&state=${state}`)).status, 400, 'another connector');
  const denied = await mine.get(
    `${callback}?error=access_denied&error_description=%3Cscript%3E&state=${state}&iss=${encodeURIComponent(corp.issuer)}`,
  );
  t.equal(denied.status, 403);
  t.match(denied.text, 'cancelled or refused');
  t.notMatch(denied.text.replace(/<script>\nfor/, ''), '<script');
  t.equal((await mine.get(`${callback}?code=x&state=${state}`)).status, 400, 'a state is used once');
  t.equal(mesh.domain.linked.size, 0);
});

t.test('a provider that is away is said to be, and the password still works', async (t) => {
  const { mesh } = await startPair(t);
  const ca = mesh.ca.caPem;
  const lone = await startHarness(t, {
    ca: mesh.ca,
    connectors: () => [{ id: 'gone', name: 'Gone', issuer: 'https://gone.localhost:1/', clientId: 'a', clientSecret: 'b', ca }],
  });
  lone.domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const browser = lone.browser();
  const { form, away } = await leave(browser, lone);
  t.equal(away.status, 502);
  t.match(away.text, 'The external sign-in does not answer');
  t.ok((await browser.follow(browser.post(form, credentials))).location?.href.startsWith(redirectUri));
});

t.test('connectors and clients are checked at the start', async (t) => {
  const make = (change: object) =>
    createIdentityProvider({
      issuer: 'https://mesh.localhost/oauth2',
      domain: createFakeDomain(systemClock),
      issuersAt: async () => [],
      gatewayRedirectAllowed: async () => false,
      gatewayClient,
      connectors: [],
      clock: systemClock,
      log: silentLogger,
      ...change,
    });
  const connector = { id: 'a', name: 'A', issuer: 'https://a.test', clientId: 'a', clientSecret: 'b' };
  await t.rejects(make({ connectors: [{ ...connector, id: 'A/b' }] }), { code: 'IDP_BAD_CONNECTOR' });
  await t.rejects(make({ connectors: [connector, connector] }), { code: 'IDP_BAD_CONNECTOR' });
  await t.rejects(make({ connectors: [{ ...connector, issuer: 'http://a.test' }] }), { code: 'IDP_BAD_CONNECTOR' });
  await t.rejects(make({ issuer: 'http://mesh.localhost/oauth2' }), { code: 'IDP_BAD_ISSUER' });
  await t.rejects(make({ issuer: 'https://mesh.localhost/other' }), { code: 'IDP_BAD_ISSUER' });
  await t.rejects(make({ gatewayClient: { id: 'gateway', secret: 'short' } }), { code: 'IDP_BAD_CLIENT' });
});

t.test('a user of the other provider becomes one of ours, once, and is told when blocked', async (t) => {
  const { mesh } = await startPair(t);
  mesh.domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const attempt = authorize(mesh.issuer);
  const browser = mesh.browser();
  const end = await throughCorp(browser, mesh, attempt.url);
  t.ok(end.location?.href.startsWith(redirectUri), end.text);
  const tokens = await trade(browser, mesh.issuer, end, attempt);
  const claims = JSON.parse(Buffer.from(tokens.id_token.split('.')[1] ?? '', 'base64url').toString()) as object;
  t.match(claims, { sub: 'ext-1', email: 'carol@corp.test', name: 'Carol', iss: mesh.issuer });

  const elsewhere = mesh.browser();
  await throughCorp(elsewhere, mesh, authorize(mesh.issuer).url);
  t.equal(mesh.domain.linked.size, 1, 'the same user at the second sign-in');

  const [id] = [...mesh.domain.linked.values()];
  if (id !== undefined) mesh.domain.change(id, { blocked: true });
  const blocked = await throughCorp(mesh.browser(), mesh, authorize(mesh.issuer).url);
  t.equal(blocked.status, 403);
  t.match(blocked.text, 'This user is blocked.');
});

async function throughCorp(browser: Browser, mesh: Harness, url: URL): Promise<Page> {
  const { away } = await leave(browser, mesh, url);
  const back = await browser.get(away.location ?? '');
  return browser.follow(browser.get(back.location ?? ''));
}

t.test('an address that the other provider has not verified, or none, is nobody here', async (t) => {
  const { mesh, corp } = await startPair(t);
  mesh.domain.add({ id: 'u1', name: 'Ada', ...credentials });
  for (const [change, status, text] of [
    [{ email_verified: false }, 403, 'no verified e-mail'],
    [{ email_verified: undefined }, 403, 'no verified e-mail'],
    [{ email: undefined }, 403, 'no verified e-mail'],
    [{ nonce: 'other' }, 502, 'did not work'],
  ] as const) {
    corp.bend.claims = (claims) => ({ ...claims, ...change }) as typeof claims;
    const page = await throughCorp(mesh.browser(), mesh, authorize(mesh.issuer).url);
    t.equal(page.status, status, JSON.stringify(change));
    t.match(page.text, text);
    t.match(page.text, 'name="password"', 'back on the sign-in page');
  }
  t.equal(mesh.domain.linked.size, 0);
});

t.test('address and name come from the userinfo endpoint where the ID token lacks them', async (t) => {
  const { mesh, corp } = await startPair(t);
  mesh.domain.add({ id: 'u1', name: 'Ada', ...credentials });
  corp.bend.claims = (claims) => ({ ...claims, email: undefined, name: undefined });
  corp.bend.info = { email: 'carol@info.test', email_verified: false, name: 'Carol of Info' };
  t.match((await throughCorp(mesh.browser(), mesh, authorize(mesh.issuer).url)).text, 'no verified e-mail');
  corp.bend.info = { ...corp.bend.info, email_verified: true, sub: 'somebody-else' };
  t.match((await throughCorp(mesh.browser(), mesh, authorize(mesh.issuer).url)).text, 'did not work', 'of another subject');
  t.equal(mesh.domain.linked.size, 0);

  corp.bend.info = { ...corp.bend.info, sub: 'carol' };
  const attempt = authorize(mesh.issuer);
  const browser = mesh.browser();
  const tokens = await trade(browser, mesh.issuer, await throughCorp(browser, mesh, attempt.url), attempt);
  t.match(payloadOf(tokens.id_token), { sub: 'ext-1', email: 'carol@info.test', name: 'Carol of Info' });
});

t.test('the secret is sent as the issuer lists it', async (t) => {
  const { mesh, corp } = await startPair(t);
  mesh.domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const methods: (readonly string[] | undefined)[] = [
    undefined,
    ['client_secret_post'],
    ['client_secret_post', 'client_secret_basic'],
    ['private_key_jwt'],
  ];
  for (const listed of methods) {
    corp.tokenMethods = listed;
    await mesh.restart();
    t.ok((await throughCorp(mesh.browser(), mesh, authorize(mesh.issuer).url)).location?.href.startsWith(redirectUri));
  }
  t.same(
    corp.tokenRequests.map((form) => form.has('client_secret')),
    [false, true, false, false],
  );
});

t.test('a service shows the ways that it takes, in its order, and goes the only one by itself', async (t) => {
  const ca = await createTestCa();
  const corp = await startTestIssuer(t, ca);
  let wanted: readonly string[] = [];
  const base = { issuer: corp.issuer, clientId: issuerClient.id, clientSecret: issuerClient.secret, ca: ca.caPem };
  const mesh = await startHarness(t, {
    ca,
    connectors: () => [
      { ...base, id: 'corp', name: 'Corp' },
      { ...base, id: 'other', name: 'Other' },
    ],
    issuersAt: () => wanted,
  });
  mesh.domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const open = (browser = mesh.browser()): Promise<Page> => browser.follow(browser.get(authorize(mesh.issuer).url));
  const buttons = (page: Page): string[] => [...page.text.matchAll(/Sign in with (Corp|Other)/g)].map(([, name = '']) => name);
  t.same(buttons(await open()), ['Corp', 'Other']);
  wanted = ['other', 'local', 'corp'];
  t.same(buttons(await open()), ['Other', 'Corp']);
  wanted = ['local'];
  t.same(buttons(await open()), []);
  wanted = ['other', 'corp'];
  const form = await open();
  t.same(buttons(form), ['Other', 'Corp']);
  t.notMatch(form.text, 'name="password"');

  const browser = mesh.browser();
  wanted = ['local'];
  const local = await open(browser);
  wanted = ['corp'];
  t.equal((await browser.post(local, credentials)).status, 403, 'a password where it is not asked for');
  wanted = ['local'];
  t.equal((await browser.get(new URL(`${local.url.pathname}/corp`, mesh.issuer))).status, 403, 'an issuer where it is not asked for');
  t.ok((await browser.follow(browser.post(local, credentials))).location?.href.startsWith(redirectUri));
  wanted = ['corp'];
  const away = await open(browser);
  t.equal(away.location?.host, new URL(corp.issuer).host, 'who is signed in otherwise signs in again, without a choice to make');
  const back = await browser.get(away.location ?? '');
  t.ok((await browser.follow(browser.get(back.location ?? ''))).location?.href.startsWith(redirectUri));
});

// Attack row A-6.
t.test('the answer of one issuer is not taken for another’s', async (t) => {
  const ca = await createTestCa();
  const [corp, evil] = [await startTestIssuer(t, ca), await startTestIssuer(t, ca, 'evil.localhost')];
  const base = { clientId: issuerClient.id, clientSecret: issuerClient.secret, ca: ca.caPem };
  const mesh = await startHarness(t, {
    ca,
    connectors: () => [
      { ...base, id: 'corp', name: 'Corp', issuer: corp.issuer },
      { ...base, id: 'evil', name: 'Evil', issuer: evil.issuer },
    ],
  });
  mesh.domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const browser = mesh.browser();
  const begin = async (id: string): Promise<URL> => {
    const form = await browser.follow(browser.get(authorize(mesh.issuer, { prompt: 'login' }).url));
    return (await browser.get(new URL(`${form.url.pathname}/${id}`, mesh.issuer))).location ?? new URL('https://nowhere.test');
  };
  const answerOf = async (away: URL): Promise<URL> => (await browser.get(away)).location ?? new URL('https://nowhere.test');
  const callback = (id: string): string => `${mesh.issuer}/connectors/${id}/callback`;

  const code = await answerOf(await begin('corp'));
  const elsewhere = new URL(callback('evil'));
  elsewhere.search = code.search;
  t.equal((await browser.get(elsewhere)).status, 400, 'at the other’s redirect URI');
  for (const iss of [evil.issuer, '', undefined]) {
    const bent = await answerOf(await begin('corp'));
    if (iss === undefined) bent.searchParams.delete('iss');
    else bent.searchParams.set('iss', iss);
    const refused = await browser.get(bent);
    t.equal(refused.status, 502, `iss ${iss}`);
  }
  evil.bend.claims = (claims) => ({ ...claims, iss: corp.issuer });
  t.equal((await browser.get(await answerOf(await begin('evil')))).status, 502, 'a token in the other’s name');
  evil.bend.claims = (claims) => claims;
  await browser.follow(browser.get(await answerOf(await begin('corp'))));
  await browser.follow(browser.get(await answerOf(await begin('evil'))));
  t.same([...mesh.domain.linked.keys()], ['corp carol', 'evil carol'], 'the same subject of two issuers is two users');
});

// Attack row C-7.
t.test('the issuer signs somebody out, once and only by a token that is for that', async (t) => {
  const { mesh, corp } = await startPair(t);
  mesh.domain.add({ id: 'u1', name: 'Ada', ...credentials });
  corp.bend.claims = (claims) => ({ ...claims, sid: 'session-1' }) as typeof claims;
  const browser = mesh.browser();
  await throughCorp(browser, mesh, authorize(mesh.issuer).url);
  const server = mesh.browser();
  let count = 0;
  const now = Math.floor(Date.now() / 1000);
  const claims = (change: object = {}): Record<string, unknown> => ({
    iss: corp.issuer,
    aud: issuerClient.id,
    sub: 'carol',
    iat: now,
    exp: now + 120,
    jti: `j${count++}`,
    events: { 'http://schemas.openid.net/event/backchannel-logout': {} },
    ...change,
  });
  const send = (token: string, id = 'corp'): Promise<Page> =>
    server.postTo(`${mesh.issuer}/connectors/${id}/backchannel-logout`, { logout_token: token });
  for (const [what, change] of [
    ['another issuer', { iss: 'https://evil.test' }],
    ['another audience', { aud: 'other' }],
    ['a nonce: it is an ID token', { nonce: 'n' }],
    ['no event', { events: {} }],
    ['another event', { events: { 'http://schemas.openid.net/event/other': {} } }],
    ['an event that is no object', { events: { 'http://schemas.openid.net/event/backchannel-logout': true } }],
    ['nobody', { sub: undefined }],
    ['no id', { jti: undefined }],
    ['old', { iat: now - 3600, exp: now + 60 }],
    ['expired', { exp: now - 60 }],
    ['without an end', { exp: undefined }],
  ] as const) {
    const refused = await send(await corp.signed(claims(change)));
    t.equal(refused.status, 400, what);
  }
  t.equal((await send(await corp.signed(claims(), 'at+jwt'))).status, 400, 'an access token');
  t.equal((await send(new UnsecuredJWT(claims()).encode())).status, 400, 'alg none');
  t.equal(
    (await send(await new SignJWT(claims()).setProtectedHeader({ alg: 'HS256', kid: 'k1' }).sign(Buffer.from(issuerClient.secret)))).status,
    400,
    'HS256',
  );
  for (const text of ['', 'x', 'x'.repeat(8000)]) t.equal((await send(text)).status, 400);
  t.equal((await send(await corp.signed(claims()), 'unknown')).status, 400);
  t.equal((await server.get(`${mesh.issuer}/connectors/corp/backchannel-logout`)).status, 405);
  t.same(mesh.domain.endedUsers, []);
  t.ok((await browser.follow(browser.get(authorize(mesh.issuer).url))).location?.href.startsWith(redirectUri), 'still signed in');

  const good = await corp.signed(claims());
  const { endedUsers } = mesh.domain;
  endedUsers.push = () => {
    Reflect.deleteProperty(endedUsers, 'push');
    throw new TypeError('the database is away');
  };
  t.equal((await send(good)).status, 500, 'it could not be done');
  const done = await send(good);
  t.equal(done.status, 200, done.text);
  t.same(mesh.domain.endedUsers, ['ext-1']);
  t.match((await browser.follow(browser.get(authorize(mesh.issuer).url))).text, 'name="password"', 'signed out here too');
  t.equal((await send(good)).status, 400, 'the same again');
  t.equal((await send(await corp.signed(claims({ sub: undefined, sid: 'session-1' })))).status, 200, 'by the session');
  t.equal((await send(await corp.signed(claims({ sub: 'stranger' })))).status, 200, 'somebody who was never here');
  t.same(mesh.domain.endedUsers, ['ext-1', 'ext-1']);
});

const dexProgram = await findDex();
const noDex = "needs the Dex identity provider as `dex`; Debian's package dex is a desktop-entry launcher of the same name";

t.test('an account of Dex signs in', { skip: dexProgram === undefined ? noDex : false }, async (t) => {
  const ca = await createTestCa();
  const dex = await startDex(t, dexProgram ?? '', ca);
  const mesh = await startHarness(t, {
    ca,
    connectors: () => [{ id: 'dex', name: 'Dex', issuer: dex.issuer, clientId: dex.clientId, clientSecret: dex.clientSecret, ca: ca.caPem }],
  });
  await dex.start(`${mesh.issuer}/connectors/dex/callback`);
  mesh.domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const browser = mesh.browser();
  const { away } = await leave(browser, mesh);
  const form = await browser.follow(browser.get(away.location ?? ''));
  const back = await browser.follow(browser.postTo(form.url, { login: dex.email, password: dex.password }));
  const end = await browser.follow(browser.get(back.location ?? ''));
  t.ok(end.location?.href.startsWith(redirectUri), end.text);
  t.equal(mesh.domain.linked.size, 1);
});
