// Shared passwords with PINs, share links and paired devices through the whole product: forms in Chromium, apps over HTTP/1.1 and HTTP/2, and what the
// application received of each.
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { chromium, type Page } from 'playwright-core';
import t from 'tap';
import { ask, versions } from '../publish/ask.ts';
import { chromiumArgs, chromiumPath } from '../support/chromium.ts';
import { rawTls } from '../support/hostile.ts';
import { freePort } from '../support/mesh.ts';
import {
  call,
  cluster,
  findPeer,
  makeGroup,
  makeSetupKey,
  startAgentPart,
  startGatewayPart,
  startPlane,
  until,
  type Json,
} from '../support/parts.ts';

const services = '/api/reverse-proxies/services';
const host = `doors.${cluster}`;
const cutMs = 1_000;

void t.test('passwords with PINs, share links and devices, from the form to the application', { timeout: 110_000 }, async (t) => {
  if (!existsSync(chromiumPath)) {
    t.plan(0, 'needs the Debian package chromium');
    return;
  }
  const plane = await startPlane(t);
  const { certPem, keyPem } = await plane.ca.issue([`*.${cluster}`]);
  await mkdir(join(plane.folder, 'certs'), { recursive: true });
  await writeFile(join(plane.folder, 'certs', 'all.key'), keyPem, { mode: 0o600 });
  await writeFile(join(plane.folder, 'certs', 'all.crt'), certPem);
  const port = await freePort();
  await startGatewayPart(t, plane, { listen: `127.0.0.1:${port}`, publicPort: port });
  await until('the gateway is known', async () => ((await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).length > 0);
  await startAgentPart(t, plane, 'office', await makeSetupKey(plane, [await makeGroup(plane, 'office')]), {});
  await until('the agent has joined', async () => ((await plane.api.call('GET', '/api/peers?name=office')) as readonly Json[]).length > 0);
  const received: IncomingMessage[] = [];
  const app = createServer((request, response) => {
    received.push(request);
    if (request.url === '/open') response.write('begun');
    else if (request.url === '/away') response.writeHead(302, { location: '/home' }).end();
    else response.writeHead(200, { 'content-type': 'text/html' }).end(`<p id="path">${request.url ?? ''}</p>`);
  });
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
  t.teardown(() => {
    app.closeAllConnections();
    app.close();
  });
  const last = (): string => JSON.stringify([received.at(-1)?.url, received.at(-1)?.rawHeaders]);
  const { id } = await call(plane, 'POST', services, {
    name: 'doors',
    domain: host,
    mode: 'http',
    enabled: true,
    auth: {
      bearer_auth: { enabled: true, distribution_groups: [] },
      password_auth: { enabled: true, password: 'open sesame' },
      pin_auth: { enabled: true, pin: '482915' },
      link_auth: { enabled: true },
    },
    access: { proofs: [['oidc'], ['password', 'pin'], ['link']], devices: true },
    targets: [
      {
        target_id: String((await findPeer(plane, 'office'))['id']),
        target_type: 'peer',
        protocol: 'http',
        port: (app.address() as AddressInfo).port,
        path: '/',
        enabled: true,
      },
    ],
  });
  const door = {
    connect: (name: string, protocols?: readonly string[]) => rawTls({ port, caFile: plane.caFile, servername: name }, protocols),
  };
  await until('the door is there', async () => (await ask(door, 'h2', { host })).status === 401, 20_000);
  const browser = await chromium.launch({ executablePath: chromiumPath, args: [...chromiumArgs] });
  t.teardown(() => browser.close());
  const visit = async (url: string): Promise<Page> => {
    const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
    await page.goto(url);
    return page;
  };
  const url = `https://${host}:${port}`;

  await t.test('half of a password with a PIN opens nothing, both open what was asked for', async (t) => {
    const page = await visit(`${url}/report?x=1`);
    const fill = async (kind: string, secret: string): Promise<void> => {
      const form = page.locator('form', { has: page.locator(`input[value=${kind}]`) });
      await form.locator('input[name=secret]').fill(secret);
      await form.locator('button').click();
    };
    await fill('password', 'open sesame');
    await page.getByText('One more step').waitFor();
    t.equal(received.length, 0, 'the application has heard of nobody');
    await fill('pin', '482915');
    await page.waitForURL(`${url}/report?x=1`);
    t.equal(await page.textContent('#path'), '/report?x=1');
    t.notMatch(last(), /__Host-meshgate|sesame|482915/);
  });

  await t.test('a share link opens at its URL once, and ends by hand', async (t) => {
    const links = `${services}/${String(id)}/links`;
    const made = await call(plane, 'POST', links, { label: 'for Bob', expires_in: '1h', uses: 1 });
    t.match(made, { label: 'for Bob', uses: 1, used: 0, url: `${url}/.meshgate/link#${String(made['code'])}` });
    const open = async (): Promise<Page> => {
      const page = await visit(String(made['url']));
      await page.click('button');
      await page.waitForLoadState();
      return page;
    };
    const first = await open();
    t.equal(await first.textContent('#path'), '/');
    t.match(last(), /"X-Meshgate-User","link:[^]*"X-Meshgate-Name","for Bob"/i);
    t.notMatch(last(), String(made['code']));
    t.match((await (await open()).textContent('body')) ?? '', /That was wrong/);
    const [listed] = (await plane.api.call('GET', links)) as readonly Json[];
    t.match(listed, { id: made['id'], used: 1, revoked: false });
    t.notMatch(JSON.stringify(listed), String(made['code']));
    await call(plane, 'DELETE', `${links}/${String(made['id'])}`);
    await until('its session is over', async () => (await first.goto(`${url}/again`))?.status() === 401);
    t.match(await plane.api.call('GET', links), [{ revoked: true }]);
    await t.rejects(call(plane, 'DELETE', `${links}/unknown`));
    await t.rejects(call(plane, 'POST', links, { label: 'x', expires_in: '1h', uses: 1, host: 'other.test' }));
  });

  await t.test('a device that was paired comes in by every way, and is cut when it is revoked', async (t) => {
    const page = await visit(`${url}/.meshgate/devices`);
    await page.getByText('Sign in with your account').click();
    await page.fill('input[name=email]', 'owner@example.com');
    await page.fill('input[name=password]', 'a long enough one');
    await page.click('button[type=submit]');
    await page.waitForURL(`${url}/.meshgate/devices`);
    await page.fill('input[name=name]', 'TV');
    await page.getByRole('button', { name: 'Pair a device' }).click();
    const secret = (await page.locator('pre').textContent()) ?? '';
    t.match(secret, /^nbd_\w{36}$/);
    const basic = Buffer.from(`any:${secret}`).toString('base64');
    const byBasic = { host, headers: [['Authorization', `Basic ${basic}`]] } as const;
    const prefix = `/.meshgate/d/${secret}`;
    for (const version of versions) {
      for (const question of [
        { ...byBasic, path: '/feed?n=1' },
        { host, path: `${prefix}/feed?n=1` },
      ]) {
        received.length = 0;
        t.equal((await ask(door, version, question)).status, 200, version);
        t.match(last(), /^\["\/feed\?n=1",[^]*"X-Meshgate-Email","owner@example\.com"/i);
        t.notMatch(last(), new RegExp(`${secret}|${basic}`));
      }
      t.equal((await ask(door, version, { host, path: `${prefix}/away` })).header('location'), `${prefix}/home`);
    }
    const [device] = (await plane.api.call('GET', '/api/devices')) as readonly Json[];
    t.match(device, { name: 'TV', domain: host, user_email: 'owner@example.com', last_used: String });
    t.notMatch(JSON.stringify(device), secret);
    t.match(await plane.api.call('GET', '/api/devices?scope=own'), [{ name: 'TV' }]);
    t.match(await plane.api.call('GET', '/api/sessions'), [{ domain: host }, { domain: host }]);
    received.length = 0;
    const open = versions.flatMap((version) => [
      ask(door, version, { ...byBasic, path: '/open' }),
      ask(door, version, { host, path: `${prefix}/open` }),
    ]);
    await until('four requests are open', async () => received.length === 4);
    const begun = performance.now();
    await call(plane, 'DELETE', `/api/devices/${String(device?.['id'])}`);
    await Promise.all(open);
    const ms = performance.now() - begun;
    t.comment(`figure: four open requests of a device were cut ${ms.toFixed(0)} ms after its revocation was asked for`);
    t.ok(ms < cutMs, `${ms}`);
    received.length = 0;
    for (const version of versions) {
      t.equal((await ask(door, version, { ...byBasic, path: '/feed' })).status, 401);
      t.equal((await ask(door, version, { host, path: `${prefix}/feed` })).status, 401);
    }
    t.equal(received.length, 0);
    t.same(await plane.api.call('GET', '/api/devices'), []);
    await t.rejects(call(plane, 'DELETE', `/api/devices/${String(device?.['id'])}`));

    const sessions = (await plane.api.call('GET', '/api/sessions?scope=own')) as readonly Json[];
    t.equal(sessions.length, 1);
    await call(plane, 'DELETE', `/api/sessions/${String(sessions[0]?.['id'])}`);
    await until('the browser is signed out', async () => (await page.goto(`${url}/x`))?.status() === 401);
  });
});
