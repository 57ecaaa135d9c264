// The pages that a stock client sends its person to, in a real browser: the link with the code in it, the form for a code typed by hand, and
// the way back to a loopback port.
import { existsSync } from 'node:fs';
import { chromium, type Page } from 'playwright-core';
import t from 'tap';
import { LoginRequestSchema, LoginResponseSchema, ManagementService } from '#wire/proto/gen/management_pb.ts';
import { chromiumArgs, chromiumPath } from '../support/chromium.ts';
import { pkceConfig, startDevice, startPkce } from './stock-flows.ts';
import { owner, startPlane } from './stock-plane.ts';

const meta = { hostname: 'laptop', goOS: 'linux', netbirdVersion: '0.70.0' };
const setupKey = '00000000-0000-0000-0000-000000000000';

async function signIn(page: Page): Promise<void> {
  await page.fill('input[name=email]', owner.email);
  await page.fill('input[name=password]', owner.password);
  await page.click('button[type=submit]');
}

void t.test('Chromium signs peers in by device code and by PKCE', async (t) => {
  if (!existsSync(chromiumPath)) {
    t.plan(0, 'needs the Debian package chromium');
    return;
  }
  const plane = await startPlane(t);
  const browser = await chromium.launch({ executablePath: chromiumPath, args: [...chromiumArgs] });
  t.teardown(() => browser.close());
  const newPage = async (): Promise<Page> => (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
  const login = async (client: Awaited<ReturnType<typeof plane.client>>, jwtToken: string): Promise<string | undefined> =>
    (await client.call(ManagementService.method.login, LoginRequestSchema, { meta, setupKey, jwtToken }, LoginResponseSchema)).peerConfig?.fqdn;

  await t.test('the link with the code', async (t) => {
    const client = await plane.client();
    const device = await startDevice(t, plane, client);
    const page = await newPage();
    await page.goto(device.link);
    await page.waitForSelector('code');
    t.equal(await page.textContent('code'), device.userCode, 'the page sends the code by itself and asks the person to compare it');
    await page.click('button[type=submit]:not(.quiet)');
    await signIn(page);
    t.match(await page.textContent('h1'), 'The device is connected');
    t.match(await login(client, String((await device.poll()).body['access_token'])), /^laptop\./);
  });

  await t.test('the code by hand, in lower case, and a change of mind', async (t) => {
    const client = await plane.client();
    const device = await startDevice(t, plane, client);
    const page = await newPage();
    await page.goto(`${plane.origin}/oauth2/device`);
    await page.fill('#user_code', 'wrong');
    await page.click('button[type=submit]');
    t.match(await page.textContent('[role=alert]'), /not known/);
    await page.fill('#user_code', device.userCode.toLowerCase());
    await page.click('button[type=submit]');
    t.equal(await page.textContent('code'), device.userCode);
    await page.click('button[name=abort]');
    t.match(await page.textContent('[role=alert]'), /cancelled/);
    t.match((await device.poll()).body, { error: 'access_denied' });
  });

  await t.test('PKCE: back at the port of the client', async (t) => {
    const client = await plane.client();
    const attempt = await startPkce(t, plane, await pkceConfig(client));
    const page = await newPage();
    await page.goto(attempt.url.href);
    await signIn(page);
    await page.waitForURL((url) => url.href.startsWith(attempt.redirect));
    t.match(await login(client, await attempt.trade(t, await attempt.query)), /^laptop-/);
  });
});
