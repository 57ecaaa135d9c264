// A passkey with a real browser: Chromium with an authenticator in software (CDP domain WebAuthn) registers one at the account page and signs in
// to the published app with it; an authenticator that cannot verify its user is good as the second step only.
import { createHash, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { connect } from 'node:tls';
import { chromium, type CDPSession, type Page } from 'playwright-core';
import t from 'tap';
import { chromiumArgs, chromiumPath } from '../support/chromium.ts';
import { startMesh } from '../support/mesh.ts';

/** SHA-256 of the public key that a port shows, as Chromium wants it. WebAuthn does not work on pages whose certificate it only puts up with. */
function keyHash(url: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: Number(port), servername: hostname, rejectUnauthorized: false }, () => {
      const { publicKey } = new X509Certificate(socket.getPeerCertificate().raw);
      resolve(
        createHash('sha256')
          .update(publicKey.export({ type: 'spki', format: 'der' }))
          .digest('base64'),
      );
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

void t.test('Chromium registers a passkey and signs in with it', { timeout: 120_000 }, async (t) => {
  if (!existsSync(chromiumPath)) {
    t.plan(0, 'needs the Debian package chromium');
    return;
  }
  const mesh = await startMesh();
  t.teardown(() => mesh.stop());
  const hashes = await Promise.all([mesh.url, mesh.controlUrl].map(keyHash));
  const trust = `--ignore-certificate-errors-spki-list=${hashes.join(',')}`;
  const browser = await chromium.launch({ executablePath: chromiumPath, args: [...chromiumArgs, trust] });
  t.teardown(() => browser.close());
  const context = await browser.newContext();

  /** An authenticator of its own for the page. */
  async function plugIn(page: Page, verifies: boolean): Promise<{ readonly cdp: CDPSession; readonly id: string }> {
    const cdp = await context.newCDPSession(page);
    await cdp.send('WebAuthn.enable');
    const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
      options: {
        protocol: 'ctap2',
        transport: verifies ? 'internal' : 'usb',
        hasResidentKey: verifies,
        hasUserVerification: verifies,
        isUserVerified: verifies,
        automaticPresenceSimulation: true,
      },
    });
    return { cdp, id: authenticatorId };
  }

  const page = await context.newPage();
  const device = await plugIn(page, true);
  await page.goto(`${mesh.controlUrl}/oauth2/account`);
  await page.fill('input[name=email]', mesh.email);
  await page.fill('input[name=password]', mesh.password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.waitForURL(`${mesh.controlUrl}/oauth2/account`);
  await page.fill('input#name', 'Laptop');
  await page.getByRole('button', { name: 'Add a passkey' }).click();
  await page.getByRole('heading', { name: 'Recovery codes' }).waitFor();
  t.equal(await page.locator('ul.codes li').count(), 10);
  const { credentials } = await device.cdp.send('WebAuthn.getCredentials', { authenticatorId: device.id });
  t.match(credentials, [{ rpId: 'mesh.localhost', isResidentCredential: true }]);
  await context.clearCookies();

  await page.goto(`${mesh.url}/hello?from=passkey`);
  t.match(page.url(), /^https:\/\/mesh\.localhost/);
  await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
  await page.waitForURL(`${mesh.url}/hello?from=passkey`);
  t.equal(await page.textContent('#email'), mesh.email);
  await context.clearCookies();

  await device.cdp.send('WebAuthn.setUserVerified', { authenticatorId: device.id, isUserVerified: false });
  await page.goto(`${mesh.url}/hello`);
  await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
  await page.getByText('That did not work. Try again, or choose another way.').waitFor();
  t.match(page.url(), /^https:\/\/mesh\.localhost/, 'a finger that is not the user’s opens nothing');
  await device.cdp.send('WebAuthn.setUserVerified', { authenticatorId: device.id, isUserVerified: true });

  await page.fill('input[name=email]', mesh.email);
  await page.fill('input[name=password]', mesh.password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByRole('heading', { name: 'Second step' }).waitFor();
  await page.goto(`${mesh.url}/hello`);
  t.match(page.url(), /^https:\/\/mesh\.localhost/, 'a password alone opens nothing any more');
  await page.fill('input[name=email]', mesh.email);
  await page.fill('input[name=password]', mesh.password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByRole('button', { name: 'Use a passkey or security key' }).click();
  await page.waitForURL(`${mesh.url}/hello`);
  t.equal(await page.textContent('#email'), mesh.email);
});
