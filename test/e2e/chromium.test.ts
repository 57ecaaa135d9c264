// Sign-in with a real browser: Chromium, driven through playwright-core, from the published URL to the app's page and out again.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import t from 'tap';
import { chromiumArgs, chromiumPath } from '../support/chromium.ts';
import { startMesh } from '../support/mesh.ts';

void t.test('a person signs in with Chromium and reads the app’s page', async (t) => {
  if (!existsSync(chromiumPath)) {
    t.plan(0, 'needs the Debian package chromium');
    return;
  }
  const mesh = await startMesh();
  t.teardown(() => mesh.stop());
  const browser = await chromium.launch({ executablePath: chromiumPath, args: [...chromiumArgs] });
  t.teardown(() => browser.close());
  const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
  await page.goto(`${mesh.url}/hello?from=chromium`);
  t.match(page.url(), /^https:\/\/mesh\.localhost/, 'sent to the sign-in page');

  await page.fill('input[name=email]', mesh.email);
  await page.fill('input[name=password]', 'wrong password');
  await page.click('button[type=submit]');
  t.match((await page.textContent('body')) ?? '', /wrong|match|incorrect/i, 'a wrong password is told');

  await page.fill('input[name=email]', mesh.email);
  await page.fill('input[name=password]', mesh.password);
  await page.click('button[type=submit]');
  await page.waitForURL(`${mesh.url}/hello?from=chromium`);
  t.equal(await page.textContent('#email'), mesh.email);
  t.equal(await page.textContent('#assertion'), 'signed');

  const cookies = await page.context().cookies(mesh.url);
  const session = cookies.find(({ name }) => name === '__Host-meshgate');
  t.match(session, { httpOnly: true, secure: true, path: '/', sameSite: 'Lax' });

  await page.goto(`${mesh.url}/.meshgate/logout`);
  t.notOk(
    (await page.context().cookies(mesh.url)).some(({ name }) => name === '__Host-meshgate'),
    'the session cookie is gone',
  );
  await page.goto(`${mesh.controlUrl}/oauth2/logout`);
  await page.click('button[type=submit]');
  await page.goto(`${mesh.url}/hello`);
  t.match(page.url(), /^https:\/\/mesh\.localhost/, 'after signing out at the identity provider too, the sign-in page is back');
});
