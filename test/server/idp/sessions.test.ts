// How long a sign-in lasts: over restarts and new keys, not over a revocation or a logout.
import t from 'tap';
import { SignJWT, decodeProtectedHeader, importJWK } from 'jose';
import type { Clock } from '#lib/clock.ts';
import { keyCheckMs, keyPeriodMs, sessionMaxSeconds } from '#server/idp/constants.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { VaultRecords } from '#server/idp/vault-adapter.ts';
import { KeyStore } from '#server/idp/keys.ts';
import { createFakeDomain } from './support/fake-domain.ts';
import { authorize, credentials, gatewayClient, redirectUri, signIn, startHarness, trade } from './support/harness.ts';

const ada = { id: 'u1', name: 'Ada', ...credentials };

t.test('a restart signs nobody out and loses no sign-in under way', async (t) => {
  const { issuer, domain, restart, provider, browser: newBrowser } = await startHarness(t);
  domain.add(ada);
  const browser = newBrowser();
  const attempt = authorize(issuer);
  const form = await browser.follow(browser.get(attempt.url));
  await restart();
  const page = await browser.follow(browser.post(form, credentials));
  await restart();
  const tokens = await trade(browser, issuer, page, attempt);
  await restart();
  t.equal((await provider().verifyIdToken(tokens.id_token, attempt.nonce, gatewayClient.id)).userId, 'u1');
  t.ok((await browser.follow(browser.get(authorize(issuer).url))).location?.href.startsWith(redirectUri));
});

t.test('the vault holds no id that opens a session', async (t) => {
  const { issuer, domain, browser: newBrowser } = await startHarness(t);
  domain.add(ada);
  const browser = newBrowser();
  await signIn(browser, authorize(issuer).url);
  const session = browser.cookies.find(({ name }) => name === '__Host-meshgate-idp')?.value ?? '';
  t.ok(session.length > 20);
  t.notOk(
    [...domain.entries.keys()].some((key) => key.includes(session)),
    'keys are digests',
  );
  t.ok(
    [...domain.entries.entries()].every(([key, { expiresAt }]) => expiresAt !== undefined || key === 'idp/keys' || key === 'idp/known-browsers-key'),
    'every record has an end',
  );
});

t.test('keys rotate with overlap; tokens and cookies from before go on', async (t) => {
  // Timers by hand, wall time as it is: the library counts the life of its records by the system's clock.
  const timers = new ManualClock();
  const clock: Clock = { now: () => timers.now(), wall: () => Date.now(), after: (ms, fire) => timers.after(ms, fire) };
  const { issuer, domain, provider, browser: newBrowser } = await startHarness(t, { clock });
  domain.add(ada);
  const browser = newBrowser();
  const published = async (): Promise<string[]> =>
    (JSON.parse((await browser.get(`${issuer}/keys`)).text) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
  const attempt = authorize(issuer);
  const before = await trade(browser, issuer, await signIn(browser, attempt.url), attempt);
  const [first = '', next = ''] = await published();
  t.equal(decodeProtectedHeader(before.id_token).kid, first);

  const store = new KeyStore(domain.vault, { ...clock, wall: () => Date.now() + keyPeriodMs });
  const rotated = await store.current();
  t.equal(rotated.keys[0]?.kid, next, 'the announced key signs');
  timers.advance(keyCheckMs);
  for (let i = 0; (await published())[0] !== next && i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
  t.match(await published(), [next, String, first], 'a running process takes over what another one rotated');

  const again = authorize(issuer);
  const after = await trade(browser, issuer, await browser.follow(browser.get(again.url)), again);
  t.equal(after.status, 200, 'the session cookie, signed with the old key, still counts');
  t.equal(decodeProtectedHeader(after.id_token).kid, next);
  t.equal((await provider().verifyIdToken(before.id_token, attempt.nonce, gatewayClient.id)).userId, 'u1');
  t.equal((await provider().verifyIdToken(after.id_token, again.nonce, gatewayClient.id)).userId, 'u1');
});

t.test('a token of a key that another process made is recognised at once', async (t) => {
  const { domain, issuer, provider, browser: newBrowser } = await startHarness(t);
  domain.add(ada);
  const browser = newBrowser();
  const attempt = authorize(issuer);
  const old = provider();
  const saved = domain.entries.get('idp/keys');
  domain.entries.delete('idp/keys');
  const other = new KeyStore(domain.vault, { now: () => 0, wall: () => Date.now(), after: () => ({ cancel: () => undefined }) });
  const fresh = await other.current();
  t.not(Buffer.from(saved?.value ?? []).toString(), JSON.stringify(fresh));
  const key = await importJWK(fresh.keys[0] ?? {}, 'RS256');
  const jwt = await new SignJWT({ nonce: attempt.nonce })
    .setProtectedHeader({ alg: 'RS256', kid: fresh.keys[0]?.kid ?? '' })
    .setIssuer(issuer)
    .setAudience(gatewayClient.id)
    .setSubject('u1')
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(key);
  t.equal((await old.verifyIdToken(jwt, attempt.nonce, gatewayClient.id)).userId, 'u1');
  t.equal((await browser.get(`${issuer}/keys`)).text.includes(fresh.keys[0]?.kid ?? '-'), true);
});

t.test('ending the sessions of a user ends sign-ins, codes and tokens, and the next sign-in counts at once', async (t) => {
  const { issuer, domain, provider, browser: newBrowser } = await startHarness(t);
  const user = domain.add(ada);
  const browser = newBrowser();
  const attempt = authorize(issuer);
  const tokens = await trade(browser, issuer, await signIn(browser, attempt.url), attempt);
  const pending = authorize(issuer);
  const withCode = await browser.follow(browser.get(pending.url));
  await provider().endSessionsOf(user.id);

  await t.rejects(provider().verifyIdToken(tokens.id_token, attempt.nonce, gatewayClient.id), { code: 'IDP_TOKEN_INVALID' });
  t.match(await trade(browser, issuer, withCode, pending), { error: 'invalid_grant' });
  const page = await browser.follow(browser.get(authorize(issuer).url));
  t.match(page.text, 'name="password"', 'the browser has to sign in again');

  const again = authorize(issuer);
  const fresh = await trade(browser, issuer, await signIn(browser, again.url), again);
  t.equal((await provider().verifyIdToken(fresh.id_token, again.nonce, gatewayClient.id)).userId, 'u1', 'in the same second');
});

t.test('a sign-in has an end though it is used every day', async (t) => {
  const clock = new ManualClock(Date.now());
  const records = new VaultRecords(createFakeDomain(clock).vault, clock);
  const sessions = records.adapter('Session');
  const loginTs = Math.floor(clock.wall() / 1000);
  const day = 24 * 3_600_000;
  for (let i = 0; i < 29; i++) {
    await sessions.upsert('id', { uid: 'uid', accountId: 'u1', loginTs, exp: Math.floor(clock.wall() / 1000) + 7 * 86_400 }, 7 * 86_400);
    clock.advance(day);
    t.ok(await sessions.find('id'));
  }
  clock.advance(sessionMaxSeconds * 1000 - 29 * day + 1000);
  t.equal(await sessions.find('id'), undefined);
});

t.test('a logout asks first, ends the session and returns to the service', async (t) => {
  const { issuer, domain, browser: newBrowser } = await startHarness(t);
  domain.add(ada);
  const browser = newBrowser();
  await signIn(browser, authorize(issuer).url);
  const url = new URL(`${issuer}/logout`);
  url.searchParams.set('client_id', gatewayClient.id);
  url.searchParams.set('post_logout_redirect_uri', 'https://evil.test/');
  t.equal((await browser.get(url)).status, 400, 'only to a service');
  url.searchParams.set('post_logout_redirect_uri', 'https://app.localhost:8443/');

  const ask = await browser.get(url);
  t.match(ask.text, 'Sign out?');
  t.match(String(ask.headers['content-security-policy']), 'https://app.localhost:8443');
  const stay = await browser.post(ask, {});
  t.equal(stay.location?.href, 'https://app.localhost:8443/');
  t.ok((await browser.follow(browser.get(authorize(issuer).url))).location, 'who stays is still signed in');

  const out = await browser.post(await browser.get(url), { logout: 'yes' });
  t.equal(out.location?.href, 'https://app.localhost:8443/');
  t.match((await browser.follow(browser.get(authorize(issuer).url))).text, 'name="password"');
});

// Attack row C-7.
t.test('who signs out here signs out of the services that this sign-in has opened, or of all', async (t) => {
  const { issuer, domain, browser: newBrowser, provider } = await startHarness(t);
  domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const [browser, other] = [newBrowser(), newBrowser()];
  const attempt = authorize(issuer);
  const tokens = await trade(browser, issuer, await signIn(browser, attempt.url), attempt);
  const { signIn: here } = await provider().verifyIdToken(tokens.id_token, attempt.nonce, gatewayClient.id);
  t.match(here, /.{20,}/);
  await signIn(other, authorize(issuer).url);
  await browser.post(await browser.get(`${issuer}/logout`), {});
  t.same(domain.endedSignIns, [], 'who stays signed in');
  await browser.post(await browser.get(`${issuer}/logout`), { logout: 'yes' });
  t.same(domain.endedSignIns, [here]);
  t.same(domain.endedUsers, []);
  t.ok((await other.follow(other.get(authorize(issuer).url))).location?.href.startsWith(redirectUri), 'the other browser is signed in');
  await other.post(await other.get(`${issuer}/logout`), { logout: 'everywhere' });
  t.same(domain.endedUsers, ['u1']);
  await other.post(await other.get(`${issuer}/logout`), { logout: 'everywhere' });
  t.same(domain.endedUsers, ['u1'], 'nobody is signed in any more');
});
