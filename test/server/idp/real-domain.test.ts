// The provider over the real domain and its database, as the server puts them together.
import t from 'tap';
import { randomBytes } from 'node:crypto';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { openControlDomain } from '#server/domain/index.ts';
import { authorize, gatewayClient, payloadOf, redirectUri, signIn, startHarness, trade } from './support/harness.ts';

t.test('set-up, sign-in, restart, block and unblock over the real domain', async (t) => {
  const domain = await openControlDomain({
    storeUrl: 'sqlite::memory:',
    masterKey: randomBytes(32),
    dnsDomain: 'mesh.internal',
    clock: systemClock,
    log: silentLogger,
  });
  t.teardown(() => domain.close());
  const { issuer, provider, restart, browser: newBrowser } = await startHarness(t, { domain });
  const browser = newBrowser();
  const owner = { email: 'ada@example.com', password: 'correct horse battery' };

  const form = await browser.get(`${issuer}/setup`);
  t.equal((await browser.post(form, { ...owner, name: 'Ada', code: 'wrong' })).status, 403);
  const weak = await browser.post(form, { ...owner, name: 'Ada', code: (await domain.users.setupCode()) ?? '', password: 'x' });
  t.equal(weak.status, 422, 'the domain says what is wrong, the page passes it on');
  t.equal((await browser.post(form, { ...owner, name: 'Ada', code: (await domain.users.setupCode()) ?? '' })).status, 200);
  const [user] = await domain.users.list();

  const attempt = authorize(issuer);
  const tokens = await trade(browser, issuer, await signIn(browser, attempt.url, owner), attempt);
  t.equal((await provider().verifyIdToken(tokens.id_token, attempt.nonce, gatewayClient.id)).userId, user?.id);
  t.match(payloadOf(tokens.id_token), { email: owner.email, name: 'Ada', groups: Array });
  await restart();
  t.ok((await browser.follow(browser.get(authorize(issuer).url))).location?.href.startsWith(redirectUri));

  const other = await domain.users.create(
    { email: 'bob@example.com', name: 'Bob', role: 'user', autoGroups: [], service: false, password: 'another password' },
    { kind: 'system' },
  );
  const bob = newBrowser();
  const bobs = { email: 'bob@example.com', password: 'another password' };
  t.ok((await signIn(bob, authorize(issuer).url, bobs)).location);
  await domain.users.update(other.user.id, { blocked: true }, { kind: 'system' });
  t.match((await bob.follow(bob.get(authorize(issuer).url))).text, 'This user has been blocked or removed');
  t.equal((await signIn(bob, authorize(issuer).url, bobs)).status, 401);
  await domain.users.delete(other.user.id, { kind: 'system' });
  t.match((await bob.follow(bob.get(authorize(issuer).url))).text, 'This user has been blocked or removed', 'a deleted one too');
});
