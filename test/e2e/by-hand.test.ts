// README, "Publish your own app on a real domain", as a new user follows it: three processes started by hand from the example files, with
// certificates of the user's own, on loopback names. And what the commands say where something is wrong: one clear line, never a stack.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as later } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { ScriptedBrowser, signIn } from '../support/browser.ts';
import { freePort } from '../support/mesh.ts';
import { createTestCa } from '../support/test-ca.ts';

const root = resolve(import.meta.dirname, '../..');
const main = join(root, 'src/cli/main.ts');
const dir = await mkdtemp(join(tmpdir(), 'mg-'));
const [controlPort, publicPort] = [await freePort(), await freePort()];
const api = `https://mesh.localhost:${controlPort}`;
const site = `https://app.apps.localhost:${publicPort}`;
const password = 'correct horse battery';
const env = { ...process.env, XDG_CONFIG_HOME: join(dir, 'home'), NODE_NO_WARNINGS: '1' };
const processes: ChildProcess[] = [];

interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** One command line, as typed in the user's directory. What goes to standard error must never be a stack. */
async function meshgate(line: string, input = '', more: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const args = (line.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replaceAll('"', ''));
  const child = spawn(process.execPath, [main, ...args], { cwd: dir, env: { ...env, ...more }, timeout: 20_000 });
  const texts = { out: '', err: '' };
  child.stdout.on('data', (chunk: Buffer) => (texts.out += chunk.toString('utf8')));
  child.stderr.on('data', (chunk: Buffer) => (texts.err += chunk.toString('utf8')));
  child.stdin.on('error', () => undefined).end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  // The library's remark on a Node that is not an LTS yet is not ours.
  const err = texts.err.replaceAll(/^oidc-provider WARNING: .*\n/gm, '').trim();
  t.notMatch(err, /^\s+at .*:\d+:\d+/m, `no stack: meshgate ${line}`);
  return { code, out: texts.out.trim(), err };
}

/** A process that stays. Its output is kept for when it ends too early. */
async function start(line: string, ready: RegExp): Promise<void> {
  const child = spawn(process.execPath, [main, ...line.split(' ')], { cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe'] });
  processes.push(child);
  let output = '';
  await new Promise<void>((done, fail) => {
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString('utf8');
        if (ready.test(output)) done();
      });
    child.once('exit', () => fail(new Error(output)));
  });
}

/** Asks until the command prints it: what a user does, who waits for a process to join. */
async function until(line: string, wanted: RegExp): Promise<string> {
  for (const begun = Date.now(); ;) {
    const { out, err } = await meshgate(line);
    if (wanted.test(out)) return out;
    if (Date.now() - begun > 20_000) throw new Error(`${line}: ${out}\n${err}`);
    await later(100);
  }
}

async function configure(name: string, change: (config: Record<string, unknown>) => Record<string, unknown>): Promise<void> {
  const example = JSON.parse(await readFile(join(root, `config/${name}.example.json`), 'utf8')) as Record<string, unknown>;
  await writeFile(join(dir, `${name}.json`), JSON.stringify(change(example)));
}

function said(t: Test, outcome: Outcome, code: number, text: RegExp, name: string): void {
  t.match(outcome.err, text, name);
  t.equal(outcome.err.split('\n').length, 1, `${name}: one line`);
  t.equal(outcome.code, code, `${name}: exit code`);
}

let app: Server;
t.before(async () => {
  const ca = await createTestCa();
  await writeFile(join(dir, 'ca.pem'), ca.caPem);
  const server = await ca.issue(['mesh.localhost']);
  await writeFile(join(dir, 'server.crt'), server.certPem);
  await writeFile(join(dir, 'server.key'), server.keyPem);
  const gateway = await ca.issue(['app.apps.localhost', 'geo.apps.localhost', 'curious.apps.localhost']);
  await mkdir(join(dir, 'certs'));
  await writeFile(join(dir, 'certs/apps.crt'), gateway.certPem);
  await writeFile(join(dir, 'certs/apps.key'), gateway.keyPem);
  const control = { url: api, caFile: 'ca.pem' };
  await configure('server', (config) => ({
    ...config,
    listen: `[::]:${controlPort}`,
    publicUrl: api,
    stun: { listen: `0.0.0.0:${controlPort}` },
  }));
  await configure('gateway', (config) => ({ ...config, listen: `[::]:${publicPort}`, control, cluster: 'apps.localhost' }));
  await configure('agent', (config) => ({ ...config, control }));
  app = createServer((asked, answer) => answer.end(`hello ${String(asked.headers['x-meshgate-email'] ?? asked.headers['x-meshgate-user'])}`));
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
});

t.teardown(async () => {
  await Promise.all(
    processes.map(async (child) => {
      const ended = child.exitCode !== null || child.signalCode !== null ? undefined : once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    }),
  );
  app.close();
  await rm(dir, { recursive: true, force: true });
});

void t.test('control plane: configuration, first set-up', async (t) => {
  await writeFile(join(dir, 'wrong.json'), JSON.stringify({ publicUrl: api, lisen: 'x' }));
  await writeFile(join(dir, 'broken.json'), '{"tls": }');
  await writeFile(join(dir, 'file'), 'no certificate');
  said(t, await meshgate('serve'), 2, /no command "serve"; did you mean "server"/, 'wrong command');
  said(t, await meshgate('server --lisen :1'), 2, /--lisen is not known; did you mean --listen/, 'wrong flag');
  said(t, await meshgate('server --config wrong.json'), 2, /wrong\.json: lisen is not known; did you mean listen/, 'wrong key');
  said(t, await meshgate('server --config broken.json'), 1, /broken\.json is not JSON/, 'broken file');
  said(t, await meshgate('server --config none.json'), 1, /none\.json: there is no such file/, 'missing file');
  said(t, await meshgate('server'), 2, /publicUrl is missing \(in the file, or as --public-url or MESHGATE_SERVER_PUBLIC_URL\)/, 'no setting');
  said(t, await meshgate('server --config server.json --tls-cert-file none.crt'), 1, /none\.crt/, 'missing certificate');
  said(t, await meshgate('server --config server.json --tls-cert-file file'), 1, /certificate/, 'unreadable certificate');
  said(t, await meshgate('server --config server.json --tls-key-file certs/apps.key'), 1, /certificate/, 'key of another certificate');
  said(t, await meshgate('server --config server.json --state-dir file'), 1, /file: it is a file/, 'unusable state directory');

  await start('server --config server.json', /First set-up: meshgate setup --api/);
  said(t, await meshgate('server --config server.json'), 1, /another process runs from this state directory/, 'second server');
  const other = 'server --config server.json --state-dir other --stun-listen 0.0.0.0:0';
  said(t, await meshgate(other), 1, /port of the control plane is in use/, 'port in use');

  const setup = `setup --api ${api} --email owner@example.com --name "The Owner"`;
  const code = (await readFile(join(dir, '.meshgate/server/setup-code'), 'utf8')).trim();
  said(t, await meshgate('user list'), 1, /say which server/, 'nobody is signed in');
  said(t, await meshgate(`user list --api ${api}`), 1, /no token for this server/, 'no token');
  said(t, await meshgate(`setup --api ${api}`), 2, /--email is missing/, 'no e-mail');
  said(t, await meshgate(`${setup} --ca ca.pem`), 1, /Set-up code: type it/, 'no code');
  said(t, await meshgate(setup, `${code}\n${password}\n`), 1, /not trusted here; name the PEM file of its authority with --ca/, 'no authority');
  said(t, await meshgate(`${setup} --ca ca.pem`, `wrong\n${password}\n`), 1, /403: the set-up code is wrong/, 'wrong code');
  said(t, await meshgate(`${setup} --ca ca.pem`, `${code}\nshort\n`), 1, /at least 8 characters/, 'short password');
  const made = await meshgate(`${setup} --ca ca.pem --code-file .meshgate/server/setup-code`, `${password}\n`);
  t.match(made, { code: 0, out: /^owner@example\.com is the owner/ });
  said(t, await meshgate(`${setup} --ca ca.pem`, `${code}\n${password}\n`), 1, /412: /, 'a second set-up');
  t.match(await meshgate('user list'), { code: 0, out: /owner@example\.com .*owner/ });
});

void t.test('gateway and agent join, the service is published', async (t) => {
  const create = `service create app --domain app.apps.localhost --peer office --port ${(app.address() as AddressInfo).port}`;
  said(t, await meshgate('gateway --config gateway.json'), 1, /gateway-token/, 'no token file');
  const token = await meshgate('proxy-token create gw1 --cluster apps.localhost');
  t.match(token, { code: 0, out: /^nbx_\w+$/, err: 'the token is not shown again' });
  await writeFile(join(dir, 'gateway-token'), `${token.out}\n`, { mode: 0o600 });
  const key = await meshgate('setup-key create office');
  t.match(key, { code: 0, out: /^[0-9A-F-]{36}$/, err: 'the key is not shown again' });
  await writeFile(join(dir, 'setup-key'), `${key.out}\n`, { mode: 0o600 });

  await start('agent --config agent.json', /Agent .*, control plane/);
  await until('peer list', /office .*true/);
  said(t, await meshgate(`${create} --sso`), 1, /422: .*cluster/, 'no gateway of this cluster yet');
  said(t, await meshgate('gateway --config gateway.json --cert-dir none'), 1, /certificate directory cannot be read.*none/, 'no certificates');
  await start('gateway --config gateway.json', /Gateway for apps\.localhost/);
  await until('cluster list', /apps\.localhost +true/);
  const second = 'gateway --config gateway.json --state-dir other-gateway --log-level error';
  said(t, await meshgate(second), 1, /public port is in use/, 'port in use');

  said(t, await meshgate(create), 2, /say who may use it: one of --sso, --public and --private/, 'open or not has to be said');
  said(t, await meshgate(`${create.replace('office', 'nobody')} --sso`), 1, /nothing has this name or id: nobody/, 'unknown peer');
  t.match(await meshgate(`${create} --sso`), { code: 0, out: /^made app .* at app\.apps\.localhost$/ });
  said(t, await meshgate(`${create} --sso`), 1, /409: /, 'twice');
  await until('service list', /app +app\.apps\.localhost +http +true +active/);
  const status = await meshgate('status');
  t.match(status, { code: 0, out: /agent: well[\s\S]*gateway: well[\s\S]*app\.apps\.localhost +active[\s\S]*server: well/ });
});

/** One request to a published name; the connection goes to this machine whatever the name. */
async function get(host: string, headers: Record<string, string> = {}): Promise<{ readonly status: number; readonly text: string }> {
  const ca = await readFile(join(dir, 'ca.pem'));
  return new Promise((done, fail) => {
    const options = { host: '127.0.0.1', port: publicPort, path: '/', agent: false, ca, servername: host, timeout: 10_000 };
    const asked = request({ ...options, headers: { ...headers, host: `${host}:${publicPort}` } }, (answer) => {
      let text = '';
      answer.on('data', (chunk: Buffer) => (text += chunk.toString('utf8'))).on('end', () => done({ status: answer.statusCode ?? 0, text }));
    });
    asked.on('error', fail).end();
  });
}

void t.test('people and machines', async (t) => {
  const browser = new ScriptedBrowser(join(dir, 'ca.pem'));
  t.teardown(() => browser.close());
  const wrong = await signIn(browser, site, 'owner@example.com', 'not the password');
  t.match(wrong, { status: 401, text: /password/i }, 'a wrong password is told on the page');
  t.match(await browser.submit(wrong, { email: 'owner@example.com', password }), { status: 200, text: 'hello owner@example.com' });

  const bob = await meshgate('user create bob@example.com');
  t.match(bob, { code: 0, out: /^made bob@example\.com .*, password \S+$/ });
  said(t, await meshgate('user create bob@example.com'), 1, /the server refused: 4\d\d: /, 'an e-mail twice');
  const other = new ScriptedBrowser(join(dir, 'ca.pem'));
  t.teardown(() => other.close());
  t.match(await signIn(other, site, 'bob@example.com', /password (\S+)$/.exec(bob.out)?.[1] ?? ''), { status: 200, text: 'hello bob@example.com' });
  t.match(await meshgate('user block bob@example.com'), { code: 0, out: /is blocked/ });
  t.not((await other.open(site)).text, 'hello bob@example.com', 'a blocked user is out at the next request');
  said(t, await meshgate('user block owner@example.com'), 1, /412: /, 'nobody blocks himself');

  t.match(await meshgate('user create backup --service'), { code: 0, out: /^made backup/ });
  const token = await meshgate('token create nightly --user backup');
  t.match(token, { code: 0, out: /^nbp_\w+$/, err: 'valid for 30 days; it is not shown again' });
  const bearer = { authorization: `Bearer ${token.out}` };
  t.match(await get('app.apps.localhost', bearer), { status: 200, text: /^hello / });
  t.match(await get('app.apps.localhost'), { status: 401, text: /not_signed_in/ }, 'a machine never sees a login page');
  t.match(await meshgate('token delete nightly --user backup'), { code: 0 });
  t.match(await get('app.apps.localhost', bearer), { status: 401, text: /The token that was sent .*token_invalid/ });
});

void t.test('what its gateway lacks closes a service, with the reason', async (t) => {
  const [peer] = JSON.parse((await meshgate('peer list --json')).out) as [{ readonly id: string }];
  const target = { target_id: peer.id, target_type: 'peer', path: '/', protocol: 'http', port: (app.address() as AddressInfo).port, enabled: true };
  const base = { mode: 'http', enabled: true, targets: [target], auth: {} };
  const create = async (name: string, more: Record<string, unknown>): Promise<void> => {
    await writeFile(join(dir, 'service.json'), JSON.stringify({ ...base, domain: `${name}.apps.localhost`, ...more }));
    t.match(await meshgate(`service create ${name} --file service.json`), { code: 0 }, `the API takes ${name}`);
  };
  await create('geo', { access_restrictions: { allowed_countries: ['DE'] } });
  await create('curious', { access_restrictions: { crowdsec_mode: 'enforce' } });
  const list = await until('service list', /geo .*error[\s\S]*curious .*error|curious .*error[\s\S]*geo .*error/);
  t.match(list, /countries cannot be told: geo\.countryFile is not set/);
  t.match(list, /CrowdSec cannot be asked: crowdsec\.url is not set/);
  t.match(await get('geo.apps.localhost'), { status: 403, text: /country_unknown/ });
  t.match(await get('curious.apps.localhost'), { status: 403, text: /crowdsec_unavailable/ });
  t.match(await meshgate('status'), { code: 1, out: /! geo\.apps\.localhost is error: everybody is denied: countries cannot be told/ });
  for (const name of ['geo', 'curious.apps.localhost']) t.match(await meshgate(`service delete ${name}`), { code: 0 });
});

void t.test('a service is switched off and on and deleted; everything is in the events', async (t) => {
  t.match(await meshgate('service disable app'), { code: 0, out: 'app is disabled' });
  t.match(await get('app.apps.localhost'), { status: 404 });
  t.match(await meshgate('service enable app'), { code: 0, out: 'app is enabled' });
  await until('service list', /app +app\.apps\.localhost +http +true +active/);
  t.match(await get('app.apps.localhost'), { status: 401 });
  said(t, await meshgate('service delete ap'), 1, /nothing has this name or id: ap/, 'unknown service');
  t.match(await meshgate('service delete app'), { code: 0, out: 'deleted app' });
  t.match(await get('app.apps.localhost'), { status: 404 });

  const audit = await meshgate('events audit');
  for (const activity of ['Account set up', 'Gateway token created', 'Peer added', 'Service created', 'User blocked', 'Service deleted'])
    t.match(audit.out, activity);
  const requests = await until('events proxy --host app.apps.localhost', /token_invalid/);
  t.match(requests, / 401 +GET +app\.apps\.localhost +\/ +127\.0\.0\.1 .*not_signed_in/);
  t.match(requests, / 302 +GET +app\.apps\.localhost +\/ .*not_signed_in/, 'sent to sign in');
  t.match(requests, / 302 +GET +app\.apps\.localhost +\/\.meshgate\/callback .*signed_in/);
  t.notMatch(requests, / 499 /, 'nobody went away');
  t.notMatch(audit.out + requests, /nb[px]_|correct horse/, 'no secret in them');
  said(t, await meshgate('events proxy --since yesterday'), 1, /2026-01-31T12:00:00Z/, 'a wrong time is answered with a right one');
});

void t.test('status tells who is gone', async (t) => {
  const agent = processes[1];
  agent?.kill('SIGKILL');
  if (agent !== undefined) await once(agent, 'exit');
  t.match(await meshgate('status'), { code: 1, out: /agent: not well\n {2}! it does not run/ });
  said(t, await meshgate('status --state-dir nowhere'), 1, /nothing runs from nowhere/, 'no state directory');
});
