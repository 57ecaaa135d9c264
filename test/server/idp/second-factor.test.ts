// The second factor, over the real domain: as its user and as somebody who knows the password go through it (attack rows A-12, C-7).
import t from 'tap';
import { totpCode, totpStep } from '#crypto/totp.ts';
import { systemClock } from '#lib/clock.ts';
import { accountKey, FailedAttempts } from '#server/idp/attempts.ts';
import { accountDelayMaxMs, attemptsFree, knownBrowserSeconds } from '#server/idp/constants.ts';
import { KnownBrowsers } from '#server/idp/known-browsers.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { createFakeDomain } from './support/fake-domain.ts';
import { authorize, payloadOf, signIn, trade } from './support/harness.ts';
import { ada, isDone, ready, system } from './support/real.ts';

t.test('a password alone opens nothing where there is a second factor; the code that follows does, once', async (t) => {
  const { issuer, clock, enrol, browser: newBrowser, provider } = await ready(t);
  const { code } = await enrol();
  const browser = newBrowser();
  const attempt = authorize(issuer);
  const second = await signIn(browser, attempt.url, ada);
  t.equal(second.status, 200);
  t.match(second.text, 'Second step');
  t.notMatch(second.text, 'name="password"');
  t.notOk(
    browser.cookies.some(({ name }) => name.startsWith('__Host-meshgate-idp')),
    'no session yet',
  );

  // What somebody with the password could try instead of the code.
  t.match((await browser.follow(browser.get(authorize(issuer).url))).text, 'name="password"', 'another sign-in begins anew');
  const early = newBrowser();
  const half = await signIn(early, authorize(issuer).url, ada);
  const resumed = await early.follow(early.get(`${issuer}/auth/${half.url.pathname.split('/').at(-1)}`));
  t.notOk(isDone(resumed), 'resuming too early');
  t.equal((await newBrowser().get(second.url)).status, 400, 'another browser');
  t.equal((await newBrowser().postTo(second.url, { step: 'code', code: code() })).status, 400, 'another browser with a right code');
  t.equal((await browser.follow(browser.post(second, { step: 'enrol', code: code() }))).status, 401, 'one who has a factor sets none up here');
  t.match((await browser.follow(browser.post(second, { step: 'enrolled' }))).text, 'Second step');
  for (const wrong of ['', '000000', 'AAAA-AAAA-AAAA-AAAA']) t.equal((await browser.post(second, { step: 'code', code: wrong })).status, 401, wrong);

  clock.advance(60_000);
  const used = code();
  const end = await browser.follow(browser.post(second, { step: 'code', code: used }));
  t.ok(isDone(end), end.text);
  const tokens = await trade(browser, issuer, end, attempt);
  t.match(payloadOf(tokens.id_token), { methods: ['pwd', 'otp', 'mfa'] });
  t.match(await provider().verifyIdToken(tokens.id_token, attempt.nonce, 'gateway'), { methods: ['pwd', 'otp', 'mfa'] });

  const again = newBrowser();
  const replay = await again.post(await signIn(again, authorize(issuer).url, ada), { step: 'code', code: used });
  t.equal(replay.status, 401, 'the same code again');
});

t.test('a half sign-in ends with the password that began it, and when its user says so', async (t) => {
  const { issuer, clock, real, userId, enrol, browser: newBrowser, provider } = await ready(t);
  const { code } = await enrol();
  const browser = newBrowser();
  const second = await signIn(browser, authorize(issuer).url, ada);
  await provider().endSessionsOf(userId); // as after a new password
  clock.advance(60_000);
  const refused = await browser.follow(browser.post(second, { step: 'code', code: code() }));
  t.notOk(isDone(refused));
  t.match(refused.text, 'name="password"');

  const other = await signIn(browser, authorize(issuer).url, ada);
  t.match((await browser.follow(browser.post(other, { step: 'restart' }))).text, 'name="password"');
  const blocked = await signIn(browser, authorize(issuer).url, ada);
  await real.users.create({ email: 'bob@x.test', name: 'B', role: 'owner', autoGroups: [], service: false, password: 'another password' }, system);
  await real.users.update(userId, { blocked: true }, system);
  clock.advance(60_000);
  t.notOk(isDone(await browser.follow(browser.post(blocked, { step: 'code', code: code() }))), 'blocked meanwhile');
});

t.test('wrong codes have to wait, longer each time, from whatever address', async (t) => {
  const { issuer, clock, enrol, browser: newBrowser } = await ready(t);
  const { code } = await enrol();
  const browser = newBrowser();
  const second = await signIn(browser, authorize(issuer).url, ada);
  let page = second;
  for (let i = 0; i < attemptsFree; i++) page = await browser.post(second, { step: 'code', code: '000000' });
  t.equal(page.status, 401);
  page = await browser.post(second, { step: 'code', code: code() });
  t.equal(page.status, 429);
  t.match(page.text, 'Wait 1 second');
  clock.advance(60_000);
  t.ok(isDone(await browser.follow(browser.post(second, { step: 'code', code: code() }))));
});

t.test('a recovery code signs in once', async (t) => {
  const { issuer, enrol, browser: newBrowser } = await ready(t);
  const { recovery } = await enrol();
  for (const [browser, done] of [
    [newBrowser(), true],
    [newBrowser(), false],
  ] as const) {
    const second = await signIn(browser, authorize(issuer).url, ada);
    t.equal(isDone(await browser.follow(browser.post(second, { step: 'code', code: ` ${recovery[0]?.toLowerCase()} ` }))), done);
  }
});

t.test('where a second factor is required it is set up on the way, and what was signed in without one asks again', async (t) => {
  const { issuer, clock, real, browser: newBrowser } = await ready(t);
  const browser = newBrowser();
  t.ok(isDone(await signIn(browser, authorize(issuer).url, ada)));
  t.ok(isDone(await browser.follow(browser.get(authorize(issuer).url))), 'the session serves');
  await real.settings.update({ secondFactorRequired: true }, system);
  const attempt = authorize(issuer);
  const form = await browser.follow(browser.get(attempt.url));
  t.match(form.text, 'name="password"', 'not any more');

  const page = await browser.follow(browser.post(form, ada));
  t.match(page.text, 'Set up an authenticator app');
  const secret = (/<code class="small">([A-Z2-7 ]+)</.exec(page.text)?.[1] ?? '').replaceAll(' ', '');
  t.equal(secret.length, 32);
  const code = (text: string): string => totpCode(fromBase32(text), totpStep(clock.wall()));
  const retry = await browser.post(page, { code: '000000' });
  t.equal(retry.status, 401);
  const renewed = (/<code class="small">([A-Z2-7 ]+)</.exec(retry.text)?.[1] ?? '').replaceAll(' ', '');
  const recovery = await browser.post(retry, { code: code(renewed) });
  t.match(recovery.text, 'Recovery codes');
  t.equal([...recovery.text.matchAll(/<li>[A-Z2-7-]{19}<\/li>/g)].length, 10);
  const end = await browser.follow(browser.post(recovery, {}));
  t.ok(isDone(end), end.text);
  t.match(payloadOf((await trade(browser, issuer, end, attempt)).id_token), { methods: ['pwd', 'otp', 'mfa'] });
  t.ok(isDone(await browser.follow(browser.get(authorize(issuer).url))), 'this session serves');
  t.match((await signIn(newBrowser(), authorize(issuer).url, ada)).text, 'Second step', 'from now on the code is asked for');
});

function fromBase32(text: string): Uint8Array {
  let bits = '';
  for (const char of text) bits += 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(char).toString(2).padStart(5, '0');
  return Uint8Array.from(bits.match(/.{8}/g) ?? [], (byte) => Number.parseInt(byte, 2));
}

// Attack row A-11.
t.test('strangers who fail in somebody’s name hold up other strangers, not the own browser', async (t) => {
  const domain = createFakeDomain(systemClock);
  const [issuer, clock] = [new URL('https://mesh.test/oauth2'), new ManualClock()];
  const browsers = new KnownBrowsers({ issuer, vault: domain.vault, clock });
  const attempts = new FailedAttempts(clock);
  const [mine, other] = [accountKey(ada.email), accountKey('bob@example.com')];
  for (const spelling of ['ADA@example.com', ' ada@EXAMPLE.com ', 'Ada@Example.Com']) t.equal(accountKey(spelling), mine);
  const cookie = (await browsers.remember(mine)).split(';', 1)[0] ?? '';
  const key = (await browsers.keyOf(`x=y; ${cookie}`, mine)) ?? '';
  t.match(key, /^browser:/);
  t.equal(await browsers.keyOf(cookie, other), undefined, 'it is a note of one account');
  for (const bad of [undefined, '', cookie.slice(0, -1), `${cookie}A`, `${cookie.slice(0, -4)}AAAA`])
    t.equal(await browsers.keyOf(bad, mine), undefined);
  t.not(await browsers.keyOf((await browsers.remember(mine)).split(';', 1)[0], mine), key, 'each browser is counted apart');

  for (let i = 0; i < 100; i++) attempts.failed([mine, `address:${i}`]);
  t.equal(attempts.waitMs([mine, 'address:mine']), accountDelayMaxMs, 'a new browser waits, but not long');
  t.equal(attempts.waitMs([key, 'address:mine']), 0, 'the own browser does not');
  for (let i = 0; i < attemptsFree; i++) attempts.failed([key]);
  t.ok(attempts.waitMs([key]) > 0, 'and a stolen note is no way around the count');
  clock.advance(knownBrowserSeconds * 1000 + 1);
  t.equal(await browsers.keyOf(cookie, mine), undefined, 'it ends');
});

t.test('whoever has signed in gets the note', async (t) => {
  const { issuer, browser: newBrowser } = await ready(t);
  const browser = newBrowser();
  t.ok(isDone(await signIn(browser, authorize(issuer).url, ada)));
  t.match(
    browser.cookies.find(({ name }) => name === '__Secure-meshgate-known'),
    { path: '/oauth2/' },
  );
});
