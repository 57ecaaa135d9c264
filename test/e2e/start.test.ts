// What a new user does: start, open the URL, sign in, try curl, stop, start again.
import { spawnSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../support/until.ts';
import { ScriptedBrowser, signIn } from '../support/browser.ts';
import { freePort, spawnStart, startMesh, type Mesh } from '../support/mesh.ts';

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function runStart(args: readonly string[]): Promise<{ readonly code: number | null; readonly err: string }> {
  const child = spawnStart(args);
  let err = '';
  child.stderr?.on('data', (chunk: Buffer) => (err += chunk.toString('utf8')));
  const code = await new Promise<number | null>((done) => child.once('close', (exit) => done(exit)));
  return { code, err };
}

/** The overlay address and public key of each process, and the names of its peers. */
async function identities(mesh: Mesh): Promise<unknown> {
  const of = async (name: 'gateway' | 'agent'): Promise<unknown> => {
    const { mesh: node } = (await mesh.status(name)) as { readonly mesh: { readonly publicKey: string; readonly address: string } };
    return { publicKey: node.publicKey, address: node.address };
  };
  return { gateway: await of('gateway'), agent: await of('agent'), ca: await readFile(mesh.caFile, 'utf8') };
}

void t.test('a new user publishes the sample app, signs in, and finds everything again at the second start', async (t) => {
  const stateDir = await mkdtemp(join(tmpdir(), 'mg-'));
  t.teardown(() => rm(stateDir, { recursive: true, force: true }));
  const ports = { port: await freePort(), controlPort: await freePort() };
  const first = await startMesh({ stateDir, ports });
  t.comment(`figure: start to first page ${(first.readyMs / 1000).toFixed(1)} s`);
  t.ok(first.readyMs < 10_000, 'ready within 10 seconds');
  const pids = await Promise.all((['server', 'gateway', 'agent'] as const).map((name) => first.pidOf(name)));
  t.equal(new Set(pids).size, 3, 'three processes');

  const browser = new ScriptedBrowser(first.caFile);
  const page = await signIn(browser, `${first.url}/some/page?with=query`, first.email, first.password);
  t.equal(page.status, 200);
  t.equal(page.url, `${first.url}/some/page?with=query`, 'back at the exact URL that was asked for');
  t.match(page.text, first.email, 'the app learns who is calling');
  t.match(page.text, /id="assertion">signed</, 'with a signed assertion');
  await browser.close();

  const before = await identities(first);
  t.equal(await first.stop(), 0, 'Ctrl-C ends it well');
  t.notOk(pids.some(alive), 'no process is left behind');

  const second = await startMesh({ stateDir, ports });
  t.same(await identities(second), before, 'keys, overlay addresses and the authority are kept');
  t.equal(second.password, first.password, 'the user is kept');
  const again = new ScriptedBrowser(second.caFile);
  t.equal((await signIn(again, second.url, second.email, second.password)).status, 200);
  await again.close();

  const env = { ...process.env, MESHGATE_STATE_DIR: stateDir, XDG_CONFIG_HOME: stateDir };
  const list = (): string =>
    spawnSync(process.execPath, [join(import.meta.dirname, '../../src/cli/main.ts'), 'service', 'list'], { encoding: 'utf8', env }).stdout;
  await until('commands beside it know server, authority and token', () => /app\.localhost .*active/.test(list()));
  t.equal((await stat(join(stateDir, 'credentials.json'))).mode & 0o777, 0o600);
  await second.stop();
});

void t.test('curl with a service token reaches the app and never sees a login page', async (t) => {
  const mesh = await startMesh();
  t.teardown(() => mesh.stop());
  const curl = (...args: string[]) => spawnSync('curl', ['-sS', '--cacert', mesh.caFile, '-w', '\n%{http_code}', ...args], { encoding: 'utf8' });
  if (curl('--version').error !== undefined) {
    t.plan(0, 'needs curl');
    return;
  }
  const good = curl('-H', `@${join(mesh.stateDir, 'curl-header')}`, `${mesh.url}/`);
  t.match(good.stdout, /"name": "Sample machine"/);
  t.match(good.stdout, /200$/);
  const none = curl('-D', '-', `${mesh.url}/`);
  t.match(none.stdout, /401$/, 'without a token a machine gets 401');
  t.match(none.stdout, /application\/problem\+json/);
  t.match(curl('-H', 'Authorization: Bearer nbp_000000000000000000000000000000000000', `${mesh.url}/`).stdout, /401$/, 'a wrong token gets 401');
  t.notMatch(good.stdout, /nbp_/, 'the app never sees the token');
  t.equal((await stat(join(mesh.stateDir, 'curl-header'))).mode & 0o777, 0o600);
  t.equal((await stat(join(mesh.stateDir, 'start.json'))).mode & 0o777, 0o600);
});

void t.test('--upstream publishes the user’s own app', async (t) => {
  const app = createServer((request, response) => response.end(`own app at ${request.url} for ${String(request.headers['x-meshgate-email'])}`));
  await new Promise<void>((done) => app.listen(0, '127.0.0.1', done));
  t.teardown(() => app.close());
  const mesh = await startMesh({ upstream: `http://127.0.0.1:${(app.address() as AddressInfo).port}` });
  t.teardown(() => mesh.stop());
  const browser = new ScriptedBrowser(mesh.caFile);
  t.equal((await signIn(browser, `${mesh.url}/x`, mesh.email, mesh.password)).text, `own app at /x for ${mesh.email}`);
  await browser.close();
});

void t.test('a port in use is told at once', async (t) => {
  const holder = createTcpServer();
  await new Promise<void>((done) => holder.listen(0, done));
  t.teardown(() => holder.close());
  const stateDir = await mkdtemp(join(tmpdir(), 'mg-'));
  t.teardown(() => rm(stateDir, { recursive: true, force: true }));
  const { code, err } = await runStart([
    '--state-dir',
    stateDir,
    '--port',
    String((holder.address() as AddressInfo).port),
    '--control-port',
    String(await freePort()),
  ]);
  t.equal(code, 1);
  t.match(err, /port .* in use.*--port chooses another/i);
  t.equal(err.trim().split('\n').length, 1, 'one line');
});

void t.test('wrong flags are told at once', async (t) => {
  for (const [args, words] of [
    [['--prot', '1'], /--prot/],
    [['--port', 'eighty'], /--port takes a port/],
    [['--upstream', 'not a url'], /--upstream/],
    [['--hostname', 'app.example.com'], /below \.localhost/],
  ] as const) {
    const { code, err } = await runStart(args);
    t.equal(code, 2, args.join(' '));
    t.match(err, words);
    t.equal(err.trim().split('\n').length, 1, 'one line');
  }
});

void t.test('an unwritable state directory is told at once', async (t) => {
  const parent = await mkdtemp(join(tmpdir(), 'mg-'));
  t.teardown(() => rm(parent, { recursive: true, force: true }));
  chmodSync(parent, 0o500);
  // Root may write anywhere; a path below a file is unwritable for everybody.
  const { code, err } = await runStart(['--state-dir', process.getuid?.() === 0 ? '/dev/null/state' : join(parent, 'state')]);
  t.equal(code, 1);
  t.match(err, /state directory cannot be written/);
  t.equal(err.trim().split('\n').length, 1, 'one line');
});
