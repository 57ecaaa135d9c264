// The sign-in page as a person and as an attacker use it.
import t from 'tap';
import {
  accountDelayMaxMs,
  attemptDelayMs,
  attemptForgetMs,
  attemptTableSize,
  attemptsFree,
  formBytes,
  startsPerMinute,
} from '#server/idp/constants.ts';
import { FailedAttempts, StartLimit, accountKey, addressKey } from '#server/idp/attempts.ts';
import { userGone } from '#server/idp/provider.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { authorize, credentials, redirectUri, signIn, startHarness, trade } from './support/harness.ts';

// Attack rows C-10, C-11.
t.test('the page works without scripts, is labelled, and keeps to itself', async (t) => {
  const { issuer, domain, browser: newBrowser } = await startHarness(t);
  domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const browser = newBrowser();
  const page = await browser.follow(browser.get(authorize(issuer).url));
  t.equal(page.status, 200);
  t.match(page.text, /<form[^>]* data-passkey="get"[^>]* hidden>/, 'what needs a script is hidden without one');
  for (const id of ['email', 'password']) t.match(page.text, new RegExp(`<label for="${id}">[\\s\\S]*<input\\s+id="${id}"\\s+name="${id}"`));
  t.match(page.text, 'to continue to app.localhost:8443');
  const policy = String(page.headers['content-security-policy']);
  t.match(
    policy,
    /^default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'; form-action 'self' https:\/\/app\.localhost:8443; frame-ancestors 'none'; base-uri 'none'$/,
  );
  t.match(page.headers, {
    'cache-control': 'no-store',
    'x-frame-options': 'DENY',
    'cross-origin-opener-policy': 'same-origin',
    'x-content-type-options': 'nosniff',
  });
});

// Attack row C-1.
t.test('cookies are bound to TLS, to scripts not at all, and to where they are needed', async (t) => {
  const { issuer, domain, browser: newBrowser } = await startHarness(t);
  domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const browser = newBrowser();
  const attempt = authorize(issuer);
  const redirect = await browser.get(attempt.url);
  const form = await browser.get(redirect.location ?? '');
  const done = await browser.get((await browser.post(form, credentials)).location ?? '');
  const all = [...redirect.setCookies, ...done.setCookies].filter((text) => !/expires=Thu, 01 Jan 1970/i.test(text));
  t.ok(all.length >= 6);
  for (const text of all)
    t.match(
      text,
      /^(?:__Host-meshgate-idp(?:\.sig)?=.*path=\/;|__Secure-meshgate-\w+(?:\.sig)?=.*path=\/oauth2\/).*samesite=lax; secure; httponly/i,
      text,
    );
  t.notOk(all.some((text) => /domain=/i.test(text)));
});

t.test('a wrong password says so and works as long for an unknown name', async (t) => {
  const { issuer, domain, browser: newBrowser } = await startHarness(t);
  domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const browser = newBrowser();
  const wrong = await signIn(browser, authorize(issuer).url, { ...credentials, password: 'wrong' });
  const unknown = await browser.post(wrong, { email: 'nobody@example.com', password: 'wrong' });
  for (const page of [wrong, unknown]) {
    t.equal(page.status, 401);
    t.match(page.text, 'The e-mail or the password is wrong');
    t.match(page.text, 'role="alert"');
    t.notMatch(page.text, /value="wrong"/, 'a password never comes back');
  }
  const plain = (text: string): string => text.replace(/&quot;challenge&quot;:&quot;[\w-]+/, '');
  t.equal(plain(wrong.text.replace(credentials.email, '')), plain(unknown.text.replace('nobody@example.com', '')));
  t.equal(domain.passwordChecks, 2);
  const right = await browser.follow(browser.post(unknown, credentials));
  t.ok(right.location?.href.startsWith(redirectUri), 'the same form goes on to the same place');
});

t.test('after five failures an address has to wait, and the right password does not help', async (t) => {
  const clock = new ManualClock(Date.now());
  const { issuer, domain, browser: newBrowser } = await startHarness(t, { clock });
  domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const browser = newBrowser();
  let page = await browser.follow(browser.get(authorize(issuer).url));
  for (let i = 0; i < attemptsFree; i++) page = await browser.post(page, { ...credentials, password: 'wrong' });
  t.equal(page.status, 401);
  page = await browser.post(page, credentials);
  t.equal(page.status, 429);
  t.match(page.text, 'Too many attempts. Wait 1 second and try again.');
  t.equal(page.headers['retry-after'], '1');
  t.equal(domain.passwordChecks, attemptsFree, 'a refused attempt is not checked');
  clock.advance(attemptDelayMs);
  t.ok((await browser.follow(browser.post(page, credentials))).location?.href.startsWith(redirectUri));
});

t.test('waits double, differ by account and address, and are forgotten', async (t) => {
  const clock = new ManualClock();
  const attempts = new FailedAttempts(clock);
  const [address, account] = [addressKey('192.0.2.1'), accountKey('ada@example.com')];
  const fail = (times: number): void => {
    for (let i = 0; i < times; i++) attempts.failed([address, account]);
  };
  fail(attemptsFree - 1);
  t.equal(attempts.waitMs([address]), 0);
  fail(1);
  t.equal(attempts.waitMs([address]), attemptDelayMs);
  fail(3);
  t.equal(attempts.waitMs([address]), 8 * attemptDelayMs);
  fail(20);
  t.equal(attempts.waitMs([account]), accountDelayMaxMs, 'a stranger cannot lock somebody out for long');
  t.equal(attempts.waitMs([addressKey('192.0.2.2'), accountKey('bob@example.com')]), 0);
  attempts.succeeded(account, address);
  t.equal(attempts.waitMs([account]), 0);
  clock.advance(attemptForgetMs + 1);
  t.equal(attempts.waitMs([address]), 0);
  t.equal(accountKey(' ADA@Example.com '), account);
  t.equal(addressKey('::ffff:192.0.2.1'), address);
  t.equal(addressKey('2001:db8::1'), addressKey('2001:db8::ffff'), 'one customer, one key');
  for (let i = 0; i < attemptTableSize + 100; i++) attempts.failed([`address:${i}`]);
  t.equal(attempts.size, attemptTableSize);
});

t.test('an address may start only so many sign-ins in a minute', async (t) => {
  const clock = new ManualClock();
  const limit = new StartLimit(clock);
  for (let i = 0; i < startsPerMinute; i++) t.ok(limit.take('a') || i);
  t.notOk(limit.take('a'));
  t.ok(limit.take('b'));
  clock.advance(60_000);
  t.ok(limit.take('a'));
  for (let i = 0; i < attemptTableSize + 100; i++) limit.take(`x${i}`);
  t.equal(limit.size, attemptTableSize);
});

t.test('the form belongs to the browser and the site that asked for it', async (t) => {
  const { issuer, domain, browser: newBrowser } = await startHarness(t);
  domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const [mine, victim] = [newBrowser(), newBrowser()];
  const page = await mine.follow(mine.get(authorize(issuer).url));
  t.equal((await victim.get(page.url)).status, 400, 'a link to it opens nothing elsewhere');
  t.equal((await victim.postTo(page.url, credentials)).status, 400);
  t.equal((await mine.postTo(page.url, credentials, { origin: 'https://evil.test' })).status, 403);
  t.equal((await mine.postTo(page.url, credentials, { origin: 'null' })).status, 403);
  t.equal((await mine.postTo(page.url, credentials, { 'sec-fetch-site': 'cross-site' })).status, 403);
  t.equal((await mine.postTo(page.url, credentials, { 'content-type': 'text/plain' })).status, 400);
  t.equal((await mine.postTo(page.url, { ...credentials, password: 'x'.repeat(2000) })).status, 400);
  t.equal((await mine.postTo(page.url, { email: 'x'.repeat(formBytes) })).status, 413);
  const other = await mine.follow(mine.get(authorize(issuer).url));
  t.not(other.url.pathname, page.url.pathname);
  t.ok((await mine.follow(mine.post(page, credentials))).location, 'two tabs do not disturb each other');
});

t.test('what a stranger puts into the request is text on the page', async (t) => {
  const { issuer, domain, browser: newBrowser } = await startHarness(t);
  domain.add({ id: 'u1', name: 'Ada', ...credentials });
  const browser = newBrowser();
  const hint = `"><script>alert(1)</script>'&`;
  const page = await browser.follow(browser.get(authorize(issuer, { login_hint: hint }).url));
  t.match(page.text, 'value="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#39;&amp;"');
  t.notMatch(page.text, '<script>alert');
  const again = await browser.post(page, { email: hint, password: 'x' });
  t.notMatch(again.text, '<script>alert');
  const error = await browser.get(authorize(issuer, { client_id: hint }).url);
  t.notMatch(error.text, '<script>alert');
  t.equal((await browser.get(`${issuer}/nothing`)).status, 404);
  t.equal((await browser.get(`${issuer}/interaction/../../etc`)).status, 404);
});

t.test('a blocked user loses the session and is told', async (t) => {
  const { issuer, domain, browser: newBrowser } = await startHarness(t);
  const user = domain.add({ id: 'u1', name: 'Ada', ...credentials });
  domain.add({ id: 'u2', name: 'Bob', email: 'bob@example.com', password: 'other' });
  const browser = newBrowser();
  await signIn(browser, authorize(issuer).url);
  domain.change(user.id, { blocked: true });
  const page = await browser.follow(browser.get(authorize(issuer).url));
  t.equal(page.status, 200, userGone);
  t.match(page.text, 'This user has been blocked or removed');
  t.equal((await browser.post(page, credentials)).status, 401);
  const attempt = authorize(issuer);
  const bob = await signIn(browser, attempt.url, { email: 'bob@example.com', password: 'other' });
  t.equal(await (await startedBy(bob)).sub, 'u2', 'somebody else signs in in the same browser');

  async function startedBy(page: typeof bob): Promise<{ sub: unknown }> {
    const { id_token: token } = await trade(browser, issuer, page, attempt);
    return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { sub: unknown };
  }
});
