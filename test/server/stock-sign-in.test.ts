// A stock client signs its peer in through our identity provider, as netbird-wire §2.12 has it: both flows over real HTTPS and gRPC against a
// whole control plane. The browser is scripted; Chromium walks the
// same pages in stock-chromium.test.ts.
import t, { type Test } from 'tap';
import { request } from 'undici';
import {
  ExtendAuthSessionRequestSchema,
  ExtendAuthSessionResponseSchema,
  LoginRequestSchema,
  LoginResponseSchema,
  ManagementService,
  type ProviderConfig,
} from '#wire/proto/gen/management_pb.ts';
import type { Page } from './idp/support/browser.ts';
import type { StockClient } from './management/stock-client.ts';
import { pkceConfig, startDevice, startPkce, type Device } from './stock-flows.ts';
import { other, owner, startPlane, type Json, type Plane } from './stock-plane.ts';

const api = ManagementService.method;
const meta = { hostname: 'laptop', goOS: 'linux', netbirdVersion: '0.70.0' };
/** What stock clients send for "no setup key". */
const noKey = '00000000-0000-0000-0000-000000000000';

/** The whole PKCE flow; the person signs in with these. Returns the access token. */
async function pkce(t: Test, plane: Plane, config: ProviderConfig, who: typeof owner, redirect?: string): Promise<string> {
  const attempt = await startPkce(t, plane, config, redirect);
  const browser = plane.browser();
  const form = await browser.follow(browser.get(attempt.url));
  const back = await browser.follow(browser.post(form, who));
  t.ok(back.location?.href.startsWith(attempt.redirect), 'the browser is sent to the client');
  if (redirect !== undefined) return attempt.trade(t, back.location?.searchParams ?? new URLSearchParams());
  await request(String(back.location).replace('localhost', '127.0.0.1')).then(({ body }) => body.dump());
  return attempt.trade(t, await attempt.query);
}

const login = (client: StockClient, jwtToken: string) =>
  client.call(api.login, LoginRequestSchema, { meta, setupKey: noKey, jwtToken }, LoginResponseSchema);
const plainLogin = (client: StockClient) => client.call(api.login, LoginRequestSchema, { meta }, LoginResponseSchema);

void t.test("PKCE: a peer that nobody knows becomes its user's", async (t) => {
  const plane = await startPlane(t);
  const client = await plane.client();
  await t.rejects(plainLogin(client), { code: 'RPC_PERMISSION_DENIED' }, 'what makes a stock client start to register');
  const config = await pkceConfig(client);
  t.match(config, {
    ClientID: 'netbird-cli',
    Audience: 'netbird-cli',
    AuthorizationEndpoint: `${plane.origin}/oauth2/auth`,
    TokenEndpoint: `${plane.origin}/oauth2/token`,
    Scope: 'openid profile email groups',
    RedirectURLs: ['http://localhost:53000/', 'http://localhost:54000/'],
    UseIDToken: false,
    LoginFlag: 0,
  });
  const fixed = await pkce(t, plane, config, owner, config.RedirectURLs[0]);
  const before = Date.now();
  const answer = await login(client, fixed);
  t.match(answer, { netbirdConfig: { signal: { uri: new URL(plane.origin).host } }, peerConfig: { address: /^100\.\d+\.\d+\.\d+\/16$/ } });
  const ends = Number(answer.sessionExpiresAt?.seconds) * 1000;
  t.ok(ends >= before + 86_390_000 && ends <= Date.now() + 86_410_000, 'a day from now, unless the settings say otherwise');

  const sync = await client.sync(meta);
  const first = await sync.next();
  t.equal(first.NetworkMap?.peerConfig?.address, answer.peerConfig?.address);
  t.equal(Number(first.sessionExpiresAt?.seconds) * 1000, ends);
  sync.cancel();
  t.equal((await plainLogin(client)).peerConfig?.address, answer.peerConfig?.address, 'known from now on, without a token');
  const users = (await plane.call('GET', '/users')) as unknown as readonly Json[];
  const ada = users.find((user) => user['email'] === owner.email)?.['id'];
  t.match(await plane.call('GET', '/peers'), [{ name: 'laptop', user_id: ada, login_expiration_enabled: true, login_expired: false }]);

  await t.test('a token counts once', async (t) => {
    await t.rejects(login(client, fixed), { code: 'RPC_UNAUTHENTICATED' }, 'of the same peer');
    await t.rejects(login(await plane.client(), fixed), { code: 'RPC_UNAUTHENTICATED' }, 'and of another');
  });
  await t.test("the peer is nobody else's", async (t) => {
    const bobs = await pkce(t, plane, config, other);
    await t.rejects(login(client, bobs), { code: 'RPC_PERMISSION_DENIED' });
    const answer = await login(await plane.client(), bobs);
    t.ok(answer.peerConfig, 'a refused login has not used the token up');
  });
  await t.test('tokens that are none', async (t) => {
    const good = await pkce(t, plane, config, owner);
    const [head = '', body = '', signature = ''] = good.split('.');
    const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as Json;
    const changed = Buffer.from(JSON.stringify({ ...claims, sub: 'somebody' })).toString('base64url');
    const unsigned = Buffer.from(JSON.stringify({ alg: 'none', typ: 'at+jwt' })).toString('base64url');
    for (const [name, token] of [
      ['another subject', `${head}.${changed}.${signature}`],
      ['no signature', `${unsigned}.${body}.`],
      ['no token', 'jwt'],
    ] as const) {
      await t.rejects(login(await plane.client(), token), { code: 'RPC_INVALID_ARGUMENT' }, name);
    }
    t.ok(await login(await plane.client(), good), 'the good one still is');
  });
  await t.test('a login that ends, and one that goes on', async (t) => {
    const stream = await client.sync(meta);
    await stream.next();
    const account = (await plane.call('GET', '/accounts')) as unknown as readonly Json[];
    const put = (change: Json): Promise<Json> => plane.call('PUT', `/accounts/${String(account[0]?.['id'])}`, { settings: change });
    const extended = await client.call(
      api.extendAuthSession,
      ExtendAuthSessionRequestSchema,
      { jwtToken: await pkce(t, plane, config, owner), meta },
      ExtendAuthSessionResponseSchema,
    );
    t.ok(Number(extended.sessionExpiresAt?.seconds) * 1000 >= ends, 'signing in again moves the end');
    t.equal((await stream.next()).sessionExpiresAt?.seconds, extended.sessionExpiresAt?.seconds, 'and the stream says so');
    await put({ peer_login_expiration_enabled: false, peer_login_expiration: 3600 });
    t.equal((await plainLogin(client)).sessionExpiresAt?.seconds, 0n, 'switched off: the message says never');
    await t.rejects(put({ peer_login_expiration: 60 }), /an hour/);
  });
});

/** The person opens the link, compares the code and confirms; then signs in. */
async function confirm(t: Test, plane: Plane, device: Device): Promise<Page> {
  const browser = plane.browser();
  const page = await browser.get(device.link);
  // The page with the code in its link submits itself; without a script it is a form.
  const asked = await browser.post(page, { user_code: device.userCode });
  t.match(asked.text, device.userCode, 'the person sees the code');
  const form = await browser.follow(browser.post(asked, {}));
  return browser.follow(browser.post(form, owner));
}

void t.test('device flow: the code is entered elsewhere', async (t) => {
  const plane = await startPlane(t);
  const client = await plane.client();
  const device = await startDevice(t, plane, client);
  t.match(await device.poll(), { body: { error: 'authorization_pending' } });

  const browser = plane.browser();
  const wrong = await browser.post(await browser.get(`${plane.origin}/oauth2/device`), { user_code: 'BBBB-BBBB' });
  t.match(wrong.text, 'This code is not known');
  t.match((await confirm(t, plane, device)).text, 'The device is connected');
  const tokens = await device.poll();
  t.match(tokens, { status: 200, body: { access_token: String, id_token: String } });
  const answer = await login(client, String(tokens.body['access_token']));
  t.match(answer.peerConfig?.fqdn, /^laptop\./);
  t.match(await device.poll(), { body: { error: 'invalid_grant' } }, 'the code is used up');

  await t.test('denied: the client gets a sentence to show', async (t) => {
    const device = await startDevice(t, plane, await plane.client());
    const browser = plane.browser();
    const asked = await browser.post(await browser.get(`${plane.origin}/oauth2/device`), { user_code: device.userCode });
    await browser.post(asked, { abort: 'yes' });
    t.match(await device.poll(), { body: { error: 'access_denied', error_description: /.+/ } });
  });
});
