// The whole product with an external OpenID provider: Chromium signs in through Canaille to the published app.
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import t from 'tap';
import { openApi } from '#cli/api-client.ts';
import { installCanaille, startCanaille, type Canaille } from '../support/canaille.ts';
import { chromiumArgs, chromiumPath } from '../support/chromium.ts';
import { startMesh, type Mesh } from '../support/mesh.ts';
import { until } from '../support/parts.ts';
import { createTestCa } from '../support/test-ca.ts';

/** Writes the connector into the server's configuration and has the server start again with it. */
async function addConnector(mesh: Mesh, corp: Canaille, caPem: string): Promise<void> {
  const caFile = join(mesh.stateDir, 'corp-ca.pem');
  await writeFile(caFile, caPem);
  const file = join(mesh.stateDir, 'server', 'config.json');
  const { issuer, clientId, clientSecret } = corp;
  const connectors = [{ id: 'corp', name: 'Corp', issuer, clientId, clientSecret, caFile, trustsEmail: true }];
  await writeFile(file, JSON.stringify({ ...(JSON.parse(await readFile(file, 'utf8')) as object), connectors }));
  const before = await mesh.pidOf('server');
  process.kill(before, 'SIGTERM');
  const isNew = (): Promise<boolean> =>
    mesh.pidOf('server').then(
      (pid) => pid !== before,
      () => false,
    );
  await until('the server runs again', isNew, 20_000);
}

/** A browser of its own opens the app and goes through Canaille; resolves where the way ends. */
async function signInThroughCorp(browser: Browser, mesh: Mesh, corp: Canaille, path: string): Promise<Page> {
  const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
  await page.goto(`${mesh.url}${path}`);
  await page.getByRole('link', { name: 'Sign in with Corp' }).click();
  await page.waitForURL(`${corp.issuer}/**`);
  await page.fill('input[name=login]', corp.dana.login);
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.fill('input[name=password]', corp.dana.password);
  await page.press('input[name=password]', 'Enter');
  await page.waitForURL((url) => url.origin !== corp.issuer);
  return page;
}

void t.test('a person signs in with an account of another provider', async (t) => {
  if (!existsSync(chromiumPath)) {
    t.plan(0, 'needs the Debian package chromium');
    return;
  }
  const installed = await installCanaille();
  if ('missing' in installed) {
    t.plan(0, installed.missing);
    return;
  }
  const mesh = await startMesh();
  t.teardown(() => mesh.stop());
  const ca = await createTestCa();
  const corp = await startCanaille(installed.folder, ca, [`${mesh.controlUrl}/oauth2/connectors/corp/callback`]);
  t.teardown(() => corp.stop());
  await addConnector(mesh, corp, ca.caPem);
  const { token } = JSON.parse(await readFile(join(mesh.stateDir, 'start.json'), 'utf8')) as { readonly token: string };
  const api = await openApi({ api: mesh.controlUrl, ca: mesh.caFile, token }, AbortSignal.timeout(60_000));
  t.teardown(() => api.close());
  const dana = async (): Promise<{ readonly id: string; readonly [field: string]: unknown }[]> =>
    ((await api.call('GET', '/api/users')) as { readonly id: string; readonly email: string }[]).filter(({ email }) => email === corp.dana.email);
  const browser = await chromium.launch({ executablePath: chromiumPath, args: [...chromiumArgs] });
  t.teardown(() => browser.close());

  const first = await signInThroughCorp(browser, mesh, corp, '/first?q=1');
  t.equal(first.url(), `${mesh.url}/first?q=1`, 'back at the page that was asked for');
  t.equal(await first.textContent('#email'), corp.dana.email);
  t.equal(await first.textContent('#name'), corp.dana.name);
  t.equal(await first.textContent('#assertion'), 'signed');
  const [made, ...others] = await dana();
  t.match(made, { name: corp.dana.name, role: 'user', status: 'active', is_blocked: false });

  const second = await signInThroughCorp(browser, mesh, corp, '/');
  t.equal(await second.textContent('#user'), await first.textContent('#user'), 'the same user at the second sign-in');
  t.same([...others, ...(await dana()).slice(1)], [], 'one user, not two');

  await api.call('PUT', `/api/users/${made?.id ?? ''}`, { role: 'user', auto_groups: [], is_blocked: true });
  await until('the session ends', async () => {
    // One that is under way when trust ends is cut.
    await first.goto(`${mesh.url}/`).catch(() => undefined);
    return first.url().startsWith(mesh.controlUrl);
  });
  t.equal(await first.textContent('h1'), 'Sign in', 'the block ends what was signed in');
  const third = await signInThroughCorp(browser, mesh, corp, '/');
  t.ok(third.url().startsWith(mesh.controlUrl), 'a blocked user does not get in again');
  t.match(await third.textContent('[role=alert]'), 'blocked');
});
