// What a browser meets beyond the plain sign-in: tabs side by side, streams, large forms, history, an admin's block, pages without scripts.
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import t, { type Test } from 'tap';
import { openApi, type ApiClient } from '#cli/api-client.ts';
import { chromiumArgs, chromiumPath } from '../support/chromium.ts';
import { freePort, startMesh, type Mesh } from '../support/mesh.ts';
import { startPart, until } from '../support/parts.ts';
import { createTestCa } from '../support/test-ca.ts';

/** Where pictures of our pages go, for somebody to look at; none are made without it. */
const pictures = process.env['MESHGATE_TEST_PICTURES'];
const formBytes = 8 * 1024 * 1024;

/** An app behind the gateway: a page, an echo over WebSocket, server-sent events, and a form that answers with the digest of what came. */
function startApp(): Promise<{ readonly server: Server; readonly url: string }> {
  const server = createServer((req, res) => {
    if (req.url === '/events') {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      let sent = 0;
      // The next event goes out when the page asks for it, so one that waits for the end of the answer would never see any.
      const next = (): boolean => res.write(`data: ${++sent}\n\n`);
      server.on('next', next);
      res.on('close', () => server.off('next', next));
      next();
    } else if (req.url === '/next') {
      server.emit('next');
      res.end('sent');
    } else if (req.method === 'POST') {
      const hash = createHash('sha256');
      let bytes = 0;
      req.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        hash.update(chunk);
      });
      req.on('end', () => {
        res.writeHead(200, { 'content-type': 'text/html' });
        res.end(`<p id="got">${bytes} ${hash.digest('hex')}</p>`);
      });
    } else {
      res.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
      res.end(`<!doctype html><link rel="icon" href="data:,"><title>App</title><h1>${req.headers['x-meshgate-email']?.toString() ?? 'nobody'}</h1>
        <p id="path">${req.url ?? ''}</p><form method="post" action="/form"><textarea name="text"></textarea><button>Send</button></form>`);
    }
  });
  server.on('upgrade', (req, socket) => {
    const accept = createHash('sha1').update(`${req.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`);
    // One short masked text frame comes; it goes back unmasked, as RFC 6455 §5.1 wants of a server.
    socket.once('data', (frame: Buffer) => {
      const length = (frame[1] ?? 0) & 0x7f;
      const mask = frame.subarray(2, 6);
      const text = frame.subarray(6, 6 + length).map((byte, i) => byte ^ (mask[i % 4] ?? 0));
      socket.write(Buffer.concat([Buffer.from([0x81, length]), text]));
    });
    socket.on('error', () => socket.destroy());
  });
  return new Promise((done) => {
    server.listen(0, '127.0.0.1', () => done({ server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }));
  });
}

/** Everything that the console and the page complain about, as it comes. */
function watch(page: Page): string[] {
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(`${page.url()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error.message}`));
  return complaints;
}

/** Not what Chromium says by itself about an answer that is no 200, such as our page for a wrong password. */
function isOwn(complaint: string): boolean {
  return !complaint.includes('Failed to load resource');
}

async function fillSignIn(page: Page, who: { readonly email: string; readonly password: string }): Promise<void> {
  await page.fill('input[name=email]', who.email);
  await page.fill('input[name=password]', who.password);
  await page.click('button[type=submit]');
}

/** Pictures of the page in light and dark, and on a narrow screen. */
async function picture(page: Page, name: string): Promise<void> {
  if (pictures === undefined) return;
  await mkdir(pictures, { recursive: true });
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: join(pictures, `${name}-${colorScheme}.png`) });
  }
  await page.emulateMedia({ colorScheme: null });
}

interface Scene {
  readonly mesh: Mesh;
  readonly api: ApiClient;
  readonly browser: Browser;
  newContext(options?: Parameters<Browser['newContext']>[0]): Promise<BrowserContext>;
}

async function openScene(t: Test): Promise<Scene> {
  const app = await startApp();
  t.teardown(() => {
    app.server.closeAllConnections();
    app.server.close();
  });
  const mesh = await startMesh({ upstream: app.url });
  t.teardown(() => mesh.stop());
  const { token } = JSON.parse(await readFile(join(mesh.stateDir, 'start.json'), 'utf8')) as { readonly token: string };
  const api = await openApi({ api: mesh.controlUrl, ca: mesh.caFile, token }, AbortSignal.timeout(100_000));
  t.teardown(() => api.close());
  const browser = await openBrowser(t);
  return {
    mesh,
    api,
    browser,
    newContext: (options) => browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 900, height: 760 }, ...options }),
  };
}

async function openBrowser(t: Test): Promise<Browser> {
  const browser = await chromium.launch({ executablePath: chromiumPath, args: [...chromiumArgs] });
  t.teardown(() => browser.close());
  return browser;
}

const noChromium = existsSync(chromiumPath) ? false : 'needs the Debian package chromium';

void t.test('a browser at the published app', { skip: noChromium }, async (t) => {
  const scene = await openScene(t);
  const { mesh, api } = scene;

  await t.test('two tabs that sign in side by side both arrive', async (t) => {
    const context = await scene.newContext();
    const tabs = await Promise.all([context.newPage(), context.newPage()]);
    const complaints = tabs.map(watch);
    await Promise.all(tabs.map((page, i) => page.goto(`${mesh.url}/tab-${i}`)));
    const [one] = tabs;
    await picture(one, 'sign-in');
    await fillSignIn(one, { email: mesh.email, password: 'wrong' });
    await one.waitForSelector('[role=alert]');
    await picture(one, 'sign-in-wrong');
    await Promise.all(tabs.map((page) => fillSignIn(page, mesh)));
    await Promise.all(tabs.map((page, i) => page.waitForURL(`${mesh.url}/tab-${i}`)));
    for (const page of tabs) t.equal(await page.textContent('h1'), mesh.email);
    t.same(complaints.flat().filter(isOwn), [], 'no complaints in the console');
    const cookies = await context.cookies();
    for (const { name, httpOnly, secure, sameSite } of cookies) {
      t.ok(httpOnly && secure && sameSite !== 'None', `${name} is HttpOnly, Secure and SameSite=${sameSite}`);
    }
    t.ok(cookies.length >= 2, `${cookies.length} cookies in use`);
    await context.close();
  });

  await t.test('streams, a large form and history behind the sign-in', async (t) => {
    const context = await scene.newContext();
    const page = await context.newPage();
    const complaints = watch(page);
    await page.goto('about:blank');
    await page.goto(`${mesh.url}/start`);
    await fillSignIn(page, mesh);
    await page.waitForURL(`${mesh.url}/start`);
    t.equal(await page.evaluate('performance.getEntriesByType("navigation")[0].nextHopProtocol'), 'h2', 'HTTP/2 is in use');

    const echoed = await page.evaluate(`new Promise((done, fail) => {
      const socket = new WebSocket('wss://' + location.host + '/echo');
      socket.onopen = () => socket.send('through the mesh');
      socket.onmessage = ({ data }) => done(data);
      socket.onerror = () => fail(new Error('WebSocket failed'));
    })`);
    t.equal(echoed, 'through the mesh', 'WebSocket');

    const events = await page.evaluate(`new Promise((done, fail) => {
      const got = [];
      const source = new EventSource('/events');
      source.onmessage = ({ data }) => {
        got.push(data);
        if (got.length === 3) { source.close(); done(got); } else fetch('/next');
      };
      source.onerror = () => fail(new Error('EventSource failed after ' + got.length));
    })`);
    t.same(events, ['1', '2', '3'], 'each event arrives before the next is sent');

    const text = 'x'.repeat(formBytes);
    await page.evaluate(`document.querySelector('textarea').value = 'x'.repeat(${formBytes})`);
    await page.click('form button');
    await page.waitForSelector('#got');
    const sent = `text=${text}`;
    t.equal(await page.textContent('#got'), `${sent.length} ${createHash('sha256').update(sent).digest('hex')}`, 'a form of 8 MiB arrives whole');

    await page.goBack();
    t.equal(page.url(), `${mesh.url}/start`, 'back is the page before');
    await page.goBack();
    t.notOk(new URL(page.url()).searchParams.has('code'), 'back again does not replay the answer of the sign-in');
    t.match(await page.textContent('[role=alert]'), 'This sign-in has expired', 'the used sign-in page says what to do');
    await page.goto(`${mesh.url}/start`);
    t.equal(await page.textContent('h1'), mesh.email, 'still signed in');
    t.same(complaints.filter(isOwn), [], 'no complaints in the console');

    await page.goto(`${mesh.url}/.meshgate/logout`);
    await picture(page, 'signed-out');
    await page.goto(`${mesh.controlUrl}/oauth2/logout`);
    await picture(page, 'sign-out');
    await page.click('button[type=submit]');
    await picture(page, 'signed-out-everywhere');
    t.match(await page.textContent('h1'), 'Signed out');
    t.same(complaints.filter(isOwn), [], 'no complaints on the pages of signing out');
    await context.close();
  });

  await t.test('without scripts everything can be read and used, and a block ends the session', async (t) => {
    const password = 'a password of nobody else';
    const user = (await api.call('POST', '/api/users', {
      email: 'grace@example.test',
      name: 'Grace',
      role: 'user',
      auto_groups: [],
      is_service_user: false,
      password,
    })) as { readonly id: string };
    const context = await scene.newContext({ javaScriptEnabled: false });
    const page = await context.newPage();
    const complaints = watch(page);
    await page.goto(`${mesh.url}/quiet`);
    await fillSignIn(page, { email: 'grace@example.test', password });
    await page.waitForURL(`${mesh.url}/quiet`);
    t.equal(await page.textContent('h1'), 'grace@example.test');

    await api.call('PUT', `/api/users/${user.id}`, { role: 'user', auto_groups: [], is_blocked: true });
    await until('the session ends', async () => {
      // A request that is in work when the block comes is cut.
      await page.goto(`${mesh.url}/quiet`).catch(() => undefined);
      return page.url().startsWith(mesh.controlUrl);
    });
    t.equal(await page.textContent('h1'), 'Sign in');
    t.same(complaints, []);
    await fillSignIn(page, { email: 'grace@example.test', password });
    t.match(await page.textContent('[role=alert]'), 'this user is blocked');

    await page.goto(`${mesh.controlUrl}/oauth2/interaction/there-is-no-such-one`);
    t.match(await page.textContent('[role=alert]'), 'expired');
    await picture(page, 'error');
    await page.goto(`${mesh.controlUrl}/oauth2/auth?client_id=nobody`);
    t.match(await page.textContent('h1'), 'did not work');
    await picture(page, 'error-of-a-client');
    await page.goto(`${mesh.url}/.meshgate/callback?code=x&state=y`);
    t.match(await page.textContent('body'), /sign/i);
    await picture(page, 'gateway-error');
    await page.goto(`${mesh.url}/.meshgate/logout`);
    t.match(await page.textContent('body'), /signed out/i);
    await context.close();
  });
});

void t.test('the first user is set up in a browser', { skip: noChromium }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'meshgate-setup-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const ca = await createTestCa();
  const { certPem, keyPem } = await ca.issue(['mesh.localhost']);
  const tls = { certFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key') };
  await writeFile(tls.certFile, certPem);
  await writeFile(tls.keyFile, keyPem, { mode: 0o600 });
  const port = await freePort();
  const origin = `https://mesh.localhost:${port}`;
  const stateDir = join(folder, 'server');
  await startPart(t, 'server', stateDir, { listen: `[::]:${port}`, publicUrl: origin, tls, stun: { listen: '127.0.0.1:0' } });
  const browser = await openBrowser(t);
  const page = await (
    await browser.newContext({ ignoreHTTPSErrors: true, javaScriptEnabled: false, viewport: { width: 900, height: 760 } })
  ).newPage();
  const complaints = watch(page);

  const start = new URL(`${origin}/oauth2/auth`);
  const verifier = randomBytes(32).toString('base64url');
  const challenge = createHash('sha256').update(verifier).digest('base64url');
  for (const [name, value] of Object.entries({
    client_id: 'netbird-dashboard',
    redirect_uri: `${origin}/`,
    response_type: 'code',
    scope: 'openid email',
    state: 'the-state-of-this-test',
    code_challenge: challenge,
    code_challenge_method: 'S256',
  }))
    start.searchParams.set(name, value);
  await page.goto(start.href);
  await picture(page, 'sign-in-nobody-yet');
  await page.getByRole('link', { name: 'Set up the first one.' }).click();
  t.equal(await page.textContent('h1'), 'Set up the first user');
  await picture(page, 'set-up');
  const person = { email: 'ada@example.test', password: 'a password that is long' };
  const fill = async (code: string): Promise<void> => {
    await page.fill('input[name=code]', code);
    await page.fill('input[name=name]', 'Ada');
    await page.fill('input[name=email]', person.email);
    await page.fill('input[name=password]', person.password);
    await page.click('button[type=submit]');
  };
  await fill('not-the-code');
  t.match(await page.textContent('[role=alert]'), /code/i, 'a wrong code is told');
  await picture(page, 'set-up-wrong');
  t.equal(await page.inputValue('input[name=email]'), person.email, 'what was typed is still there');
  await fill(await readFile(join(stateDir, 'setup-code'), 'utf8'));
  await page.waitForSelector('a.button');
  await picture(page, 'set-up-done');
  await page.click('a.button');
  await fillSignIn(page, person);
  await page.waitForURL((url) => url.pathname === '/' && url.searchParams.has('code'));
  t.equal(new URL(page.url()).searchParams.get('state'), 'the-state-of-this-test');
  const again = await page.goto(`${origin}/oauth2/setup`);
  t.equal(again?.status(), 404, 'afterwards the set-up page is gone');
  t.same(complaints.filter(isOwn), []);
});
