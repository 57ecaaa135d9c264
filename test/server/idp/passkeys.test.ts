// Passkeys over the pages: as the only proof, as the second one, and as somebody tries them who should not get in (attack row A-13).
import t from 'tap';
import { authorize, payloadOf, signIn, trade } from './support/harness.ts';
import { authenticator, type Authenticator } from './support/authenticator.ts';
import type { Browser, Page } from './support/browser.ts';
import { ada, isDone, ready, type Ready } from './support/real.ts';

function challengeOf(page: Page, kind: 'get' | 'create' = 'get'): string {
  const options = new RegExp(`data-passkey="${kind}" data-options="([^"]*)"`).exec(page.text)?.[1] ?? '';
  return /&quot;challenge&quot;:&quot;([\w-]+)/.exec(options)?.[1] ?? '';
}

/** Signs Ada in at the account page and adds the device there; resolves with the page that follows. */
async function addAt(browser: Browser, { issuer }: Ready, device: Authenticator, name = 'Phone'): Promise<Page> {
  let page = await browser.follow(browser.get(`${issuer}/account`));
  if (page.text.includes('name="password"')) page = await browser.follow(browser.post(page, ada));
  const credential = device.text(device.create(challengeOf(page, 'create')));
  return browser.follow(browser.post(page, { step: 'passkey-add', credential, name }));
}

function deviceFor({ issuer, userId }: Ready): Authenticator {
  const { hostname, origin } = new URL(issuer);
  return authenticator('ES256', userId, { id: hostname, origin });
}

t.test('a passkey signs in alone, where it has verified its user', async (t) => {
  const world = await ready(t);
  const { issuer, real, userId, browser: newBrowser } = world;
  const device = deviceFor(world);
  t.match((await addAt(newBrowser(), world, device)).text, 'Recovery codes');
  t.match(await real.factors.state(userId), { passkeys: [{ name: 'Phone', id: device.id }], recoveryLeft: 10 });

  const browser = newBrowser();
  const attempt = authorize(issuer);
  const page = await browser.follow(browser.get(attempt.url));
  t.notMatch(page.text, device.id, 'who has a passkey is not told');
  const unverified = await browser.post(page, { step: 'passkey', credential: device.text(device.get(challengeOf(page), { userVerified: false })) });
  t.equal(unverified.status, 401, 'nobody was verified');
  const answer = device.text(device.get(challengeOf(unverified)));
  const end = await browser.follow(browser.post(unverified, { step: 'passkey', credential: answer }));
  t.ok(isDone(end), end.text);
  t.match(payloadOf((await trade(browser, issuer, end, attempt)).id_token), { sub: userId, methods: ['hwk', 'user', 'mfa'] });

  const again = newBrowser();
  const other = await again.follow(again.get(authorize(issuer).url));
  t.equal((await again.post(other, { step: 'passkey', credential: answer })).status, 401, 'an answer to another challenge');
  const fresh = await again.follow(again.get(authorize(issuer).url));
  const used = device.text(device.get(challengeOf(fresh)));
  const stolen = await newBrowser().postTo(fresh.url, { step: 'passkey', credential: used });
  t.equal(stolen.status, 400, 'in another browser');
});

t.test('a challenge is answered once', async (t) => {
  const world = await ready(t);
  const { issuer, browser: newBrowser } = world;
  const device = deviceFor(world);
  await addAt(newBrowser(), world, device);
  const browser = newBrowser();
  const page = await browser.follow(browser.get(authorize(issuer).url));
  const [challenge, foreign] = [challengeOf(page), authenticator('ES256')];
  t.equal((await browser.post(page, { step: 'passkey', credential: foreign.text(foreign.get(challenge)) })).status, 401, 'an unknown one');
  t.equal((await browser.post(page, { step: 'passkey', credential: device.text(device.get(challenge)) })).status, 401, 'the challenge is gone');
  for (const credential of ['', '{}', 'x'.repeat(8000)]) t.equal((await browser.post(page, { step: 'passkey', credential })).status, 401);
  t.equal((await browser.post(page, { step: 'passkey', credential: 'x'.repeat(8193) })).status, 400, 'longer than any answer');
});

t.test('after a password a touch is enough, of a device of this user', async (t) => {
  const world = await ready(t);
  const { issuer, browser: newBrowser } = world;
  const device = deviceFor(world);
  await addAt(newBrowser(), world, device);
  const browser = newBrowser();
  const second = await signIn(browser, authorize(issuer).url, ada);
  t.match(second.text, 'Second step');
  const foreign = deviceFor(world);
  const refused = await browser.post(second, { step: 'passkey', credential: foreign.text(foreign.get(challengeOf(second))) });
  t.equal(refused.status, 401);
  const touched = device.text(device.get(challengeOf(refused), { userVerified: false }));
  t.ok(isDone(await browser.follow(browser.post(refused, { step: 'passkey', credential: touched }))));
});

t.test('a copy of an authenticator gives itself away by its counter', async (t) => {
  const world = await ready(t);
  const { issuer, browser: newBrowser, real } = world;
  const device = deviceFor(world);
  await addAt(newBrowser(), world, device);
  const use = async (counter: number): Promise<boolean> => {
    const browser = newBrowser();
    const page = await browser.follow(browser.get(authorize(issuer).url));
    return isDone(await browser.follow(browser.post(page, { step: 'passkey', credential: device.text(device.get(challengeOf(page), { counter })) })));
  };
  t.equal(await use(10), true);
  t.equal(await use(10), false);
  t.equal(await use(3), false);
  t.equal(await use(0), false, 'nor one that does not count any more');
  t.ok((await real.events.audit()).some(({ activityCode }) => activityCode === 'user.passkey.cloned'));
  t.equal(await use(11), true);
});

t.test('the account page is its user’s alone, and changes factors soon after a sign-in only', async (t) => {
  const world = await ready(t);
  const { issuer, clock, real, userId, browser: newBrowser } = world;
  const stranger = newBrowser();
  t.equal((await stranger.get(`${issuer}/account`)).status, 303);
  t.match((await stranger.follow(stranger.postTo(`${issuer}/account`, { step: 'totp' }))).text, 'name="password"');

  const browser = newBrowser();
  const device = deviceFor(world);
  await addAt(browser, world, device);
  const page = await browser.follow(browser.get(`${issuer}/account`));
  t.match(page.text, 'name="password"', 'the session of a password alone does not count any more');
  const second = await browser.follow(browser.post(page, ada));
  const mine = await browser.follow(browser.post(second, { step: 'passkey', credential: device.text(device.get(challengeOf(second))) }));
  t.match(mine.text, 'Your sign-in');
  t.equal(
    (await browser.post(mine, { step: 'passkey-rename', id: device.id, name: 'Key' }, { origin: 'https://evil.test' })).status,
    403,
    'another site',
  );
  await browser.follow(browser.post(mine, { step: 'passkey-rename', id: device.id, name: 'My <b> key' }));
  t.match(await real.factors.state(userId), { passkeys: [{ name: 'My <b> key' }] });
  t.match((await browser.get(`${issuer}/account`)).text, 'My &lt;b&gt; key');
  t.equal((await browser.post(mine, { step: 'passkey-delete', id: 'unknown' })).status, 404);
  t.match((await browser.post(mine, { step: 'recovery' })).text, 'Recovery codes');

  clock.advance(16 * 60_000);
  const late = await browser.follow(browser.post(mine, { step: 'passkey-delete', id: device.id }));
  t.match(late.text, 'name="password"', 'asked to sign in again first');
  t.match(await real.factors.state(userId), { passkeys: [{}] });
  const out = await browser.post(mine, { step: 'sign-out' });
  t.match(out.text, 'Signed out everywhere');
  t.equal((await browser.get(`${issuer}/account`)).status, 303, 'here too');
});
