// The first user, made with the one-time code.
import t from 'tap';
import { authorize, redirectUri, startHarness } from './support/harness.ts';

// Attack row A-18.
t.test('somebody who comes first sets up the first user and goes on to where he wanted', async (t) => {
  const { issuer, domain, browser: newBrowser } = await startHarness(t);
  const browser = newBrowser();
  const signInPage = await browser.follow(browser.get(authorize(issuer).url));
  const link = /href="([^"]*\/setup\?continue=[^"]*)"/.exec(signInPage.text)?.[1] ?? '';
  const form = await browser.get(new URL(link, issuer));
  t.match(form.text, 'Set up the first user');

  const fields = { code: 'wrong', email: 'ada@example.com', name: '<Ada>', password: 'correct horse' };
  const wrong = await browser.post(form, fields);
  t.equal(wrong.status, 403);
  t.match(wrong.text, 'The one-time code is wrong.');
  t.match(wrong.text, 'value="&lt;Ada&gt;"', 'what was typed is still there');
  t.notMatch(wrong.text, 'correct horse');

  const done = await browser.post(wrong, { ...fields, code: ' one-time-code ' });
  t.equal(done.status, 200);
  const onward = /<a class="button" href="([^"]*)"/.exec(done.text)?.[1] ?? '';
  const back = await browser.get(new URL(onward, issuer));
  t.notMatch(back.text, '/setup');
  const end = await browser.follow(browser.post(back, { email: fields.email, password: fields.password }));
  t.ok(end.location?.href.startsWith(redirectUri));

  t.equal((await browser.get(`${issuer}/setup`)).status, 404, 'the page is gone');
  t.equal((await browser.postTo(`${issuer}/setup`, { ...fields, code: 'one-time-code' })).status, 404);
  t.equal((await domain.users.list()).length, 1);
});

t.test('the set-up leads nowhere else', async (t) => {
  const { issuer, browser: newBrowser } = await startHarness(t);
  const browser = newBrowser();
  for (const next of ['https://evil.test/', '//evil.test', '../x', '"><script>']) {
    const page = await browser.get(`${issuer}/setup?continue=${encodeURIComponent(next)}`);
    t.match(page.text, 'action="/oauth2/setup"');
    t.notMatch(page.text, 'evil');
  }
});
