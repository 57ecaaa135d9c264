// A cluster of two gateways in front of a group of two agents, each a process of its own: peers come and go, gateways and the control plane are
// killed, and the service goes on. Loopback names, certificates of the test's own authority.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as later } from 'node:timers/promises';
import t from 'tap';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import type { PeerPathStatus } from '#model/status.ts';
import { KeptMappings } from '../../src/gateway/routes/kept-mappings.ts';
import { freePort, readStatus } from '../support/mesh.ts';
import { createTestCa } from '../support/test-ca.ts';

const main = resolve(import.meta.dirname, '../../src/cli/main.ts');
const dir = await mkdtemp(join(tmpdir(), 'mg-'));
const controlPort = await freePort();
const ports = { gw1: await freePort(), gw2: await freePort() } as const;
const api = `https://mesh.localhost:${controlPort}`;
const host = 'app.apps.localhost';
/** Its target is dialled by the gateway itself, on its own network. */
const directHost = 'direct.apps.localhost';
const env = { ...process.env, XDG_CONFIG_HOME: join(dir, 'home'), NODE_NO_WARNINGS: '1' };
const waitMs = 40_000;

type Name = 'server' | 'gw1' | 'gw2' | 'one' | 'two';
const commands: Record<Name, string> = { server: 'server', gw1: 'gateway', gw2: 'gateway', one: 'agent', two: 'agent' };
const running = new Map<Name, ChildProcess>();
let app: Server;
let ca = '';

async function meshgate(args: readonly string[], input = ''): Promise<string> {
  const child = spawn(process.execPath, [main, ...args], { cwd: dir, env, timeout: 20_000 });
  const texts = { out: '', err: '' };
  child.stdout.on('data', (chunk: Buffer) => (texts.out += chunk.toString('utf8')));
  child.stderr.on('data', (chunk: Buffer) => (texts.err += chunk.toString('utf8')));
  child.stdin.on('error', () => undefined).end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`meshgate ${args.join(' ')}: ${texts.err}`);
  return texts.out.trim();
}

async function start(name: Name): Promise<void> {
  const child = spawn(process.execPath, [main, commands[name], '--config', `${name}.json`], { cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe'] });
  running.set(name, child);
  let output = '';
  await new Promise<void>((done, fail) => {
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => {
        output += chunk.toString('utf8');
        if (/First set-up|Control plane at|Gateway for|Agent .*, control plane/.test(output)) done();
      });
    child.once('exit', () => fail(new Error(output)));
  });
}

async function end(name: Name, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  const child = running.get(name);
  running.delete(name);
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill(signal);
  await exited;
}

/** The status, or a word for why there is none. Each request has a connection of its own. */
function get(at: 'gw1' | 'gw2', timeout = 8_000, name = host, path = '/'): Promise<number | string> {
  return new Promise((done) => {
    const options = { host: '127.0.0.1', port: ports[at], path, agent: false, ca, servername: name, timeout, headers: { host: name } };
    const asked = request(options, (answer) => answer.resume().on('end', () => done(answer.statusCode ?? 0)));
    asked.on('timeout', () => asked.destroy(new Error('timeout')));
    asked.on('error', (error) => done(error.message)).end();
  });
}

async function until(what: string, look: () => Promise<boolean>): Promise<number> {
  const begun = performance.now();
  for (;;) {
    if (await look().catch(() => false)) return Math.round(performance.now() - begun);
    if (performance.now() - begun > waitMs) throw new Error(`${what}: not within ${waitMs} ms`);
    await later(50);
  }
}

/** The hosts that a gateway has on disk as the service's targets. */
async function targetsOf(name: 'gw1' | 'gw2'): Promise<readonly string[]> {
  const kept = (await new KeptMappings(join(dir, name), { clock: systemClock, log: silentLogger }, () => []).load()) ?? [];
  return kept.filter(({ domain }) => domain === host).flatMap(({ paths }) => paths.flatMap(({ targets }) => targets.map((target) => target.host)));
}

/** Why peers that have a path have it. */
async function waysOf(name: Name): Promise<readonly string[]> {
  const { mesh } = (await readStatus(join(dir, name, 'status.sock'))) as { readonly mesh: { readonly peers: readonly PeerPathStatus[] } };
  return mesh.peers.filter(({ path }) => path !== undefined).map(({ reason }) => reason);
}

async function overlayAddress(name: Name): Promise<string> {
  return ((await readStatus(join(dir, name, 'status.sock'))) as { readonly mesh: { readonly address: string } }).mesh.address;
}

t.before(async () => {
  const authority = await createTestCa();
  ca = authority.caPem;
  await writeFile(join(dir, 'ca.pem'), ca);
  const server = await authority.issue(['mesh.localhost']);
  await writeFile(join(dir, 'server.crt'), server.certPem);
  await writeFile(join(dir, 'server.key'), server.keyPem);
  const gateway = await authority.issue([host, directHost]);
  await mkdir(join(dir, 'certs'));
  await writeFile(join(dir, 'certs/apps.crt'), gateway.certPem);
  await writeFile(join(dir, 'certs/apps.key'), gateway.keyPem);
  const control = { url: api, caFile: 'ca.pem' };
  const configs: Record<Name, object> = {
    server: {
      stateDir: 'server',
      listen: `[::]:${controlPort}`,
      publicUrl: api,
      tls: { certFile: 'server.crt', keyFile: 'server.key' },
      stun: { listen: `0.0.0.0:${controlPort}` },
    },
    gw1: { stateDir: 'gw1', control, cluster: 'apps.localhost', listen: `127.0.0.1:${ports.gw1}`, certDir: 'certs', tokenFile: 'gw1.token' },
    gw2: { stateDir: 'gw2', control, cluster: 'apps.localhost', listen: `127.0.0.1:${ports.gw2}`, certDir: 'certs', tokenFile: 'gw2.token' },
    one: { stateDir: 'one', hostname: 'one', control, setupKeyFile: 'setup-key' },
    two: { stateDir: 'two', hostname: 'two', control, setupKeyFile: 'setup-key' },
  };
  for (const [name, config] of Object.entries(configs)) await writeFile(join(dir, `${name}.json`), JSON.stringify(config));
  app = createServer((asked, answer) => {
    if (asked.url !== '/slow') answer.end('hello');
    else void later(1_500).then(() => answer.end('late'));
  });
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
});

t.teardown(async () => {
  await Promise.all([...running.keys()].map((name) => end(name, 'SIGKILL')));
  app.close();
  await rm(dir, { recursive: true, force: true });
});

void t.test('a cluster goes on whoever dies', { timeout: 240_000 }, async (t) => {
  await start('server');
  await meshgate(
    ['setup', '--api', api, '--email', 'o@example.com', '--name', 'O', '--ca', 'ca.pem', '--code-file', 'server/setup-code'],
    'correct horse battery\n',
  );
  for (const name of ['gw1', 'gw2']) await writeFile(join(dir, `${name}.token`), await meshgate(['proxy-token', 'create', name]), { mode: 0o600 });
  await meshgate(['group', 'create', 'web']);
  await writeFile(join(dir, 'setup-key'), await meshgate(['setup-key', 'create', 'web', '--reusable', '--group', 'web']), { mode: 0o600 });
  await Promise.all([start('one'), start('gw1'), start('gw2')]);
  await until('both gateways', async () => /apps\.localhost/.test(await meshgate(['cluster', 'list'])));
  const { port } = app.address() as AddressInfo;
  await meshgate(['service', 'create', 'app', '--domain', host, '--peer-group', 'web', '--port', String(port), '--public']);
  for (const name of ['gw1', 'gw2'] as const)
    t.comment(`figure: ${name} serves ${await until(name, async () => (await get(name)) === 200)} ms after the service was made`);
  t.equal((await targetsOf('gw1')).length, 1);

  const target = {
    target_id: 'apps.localhost',
    target_type: 'cluster',
    path: '/',
    protocol: 'http',
    host: '127.0.0.1',
    port,
    enabled: true,
    options: { direct_upstream: true },
  };
  await writeFile(join(dir, 'direct.json'), JSON.stringify({ mode: 'http', enabled: true, domain: directHost, targets: [target], auth: {} }));
  await meshgate(['service', 'create', 'direct', '--file', 'direct.json']);
  await until('the direct service', async () => (await get('gw2', 8_000, directHost)) === 200);

  // A peer that joins the group is a target at once, and one that dies is missed by nobody.
  await start('two');
  const joined = await until('the new member', async () => (await targetsOf('gw1')).length === 2 && (await targetsOf('gw2')).length === 2);
  t.comment(`figure: a new member of the group is a target ${joined} ms after its agent said that it is ready`);
  await until('a path to the new member', async () => {
    const { services } = (await readStatus(join(dir, 'gw1', 'status.sock'))) as {
      readonly services: readonly { readonly state: string; readonly reason: string }[];
    };
    return services.every(({ state, reason }) => state === 'active' && reason === '');
  });
  await end('one', 'SIGKILL');
  const answers: (number | string)[] = [];
  for (let i = 0; i < 40; i++) answers.push(await get('gw1', 20_000));
  t.same(
    answers.filter((status) => status !== 200),
    [],
    'one of two agents is killed: 40 requests, no error',
  );
  await until('the reason', async () => /1 of 2 targets healthy/.test(await meshgate(['service', 'list'])));

  // Two gateways share the name: one is killed, and comes back as who it was.
  const before = await overlayAddress('gw1');
  await end('gw1', 'SIGKILL');
  t.equal(await get('gw2'), 200, 'the other serves on');
  await start('gw1');
  t.comment(`figure: gw1 serves ${await until('gw1 again', async () => (await get('gw1')) === 200)} ms after its restart`);
  t.equal(await overlayAddress('gw1'), before, 'it keeps key and overlay address');

  // The control plane is away, and a gateway begins cold.
  await end('server', 'SIGKILL');
  t.equal(await get('gw2'), 200, 'without a control plane it serves on');
  await end('gw2', 'SIGKILL');
  await start('gw2');
  t.same((await targetsOf('gw2')).length, 2, 'the last good configuration is there');
  t.equal(await get('gw2', 8_000, directHost), 200, 'a service whose target needs no overlay is served from it');
  const [path, answer] = await Promise.all([
    until('a path without signal', async () => (await waysOf('gw2')).length > 0),
    until('gw2 cold', async () => (await get('gw2')) === 200),
  ]);
  // Whichever end called the other first at its last known address says so.
  t.comment(
    `figure: cold (${(await waysOf('gw2')).join(', ')}), a path is there after ${path} ms, and a service behind the overlay answers after ${answer} ms, its other agent dead`,
  );
  // Now the agent's turn: only it is left in the group.
  await end('two', 'SIGKILL');
  await start('two');
  t.comment(`figure: and ${await until('a cold agent', async () => (await get('gw2')) === 200)} ms after its agent's cold start`);
  await Promise.all([end('gw2', 'SIGKILL'), end('two', 'SIGKILL')]);
  await Promise.all([start('gw2'), start('two')]);
  t.comment(`figure: and ${await until('all cold', async () => (await get('gw2')) === 200)} ms after both began cold together`);
  t.ok((await waysOf('gw2')).length > 0, `all that without signal: ${(await waysOf('gw2')).join(', ')}`);
  await start('server');
  t.comment(`figure: gw2 serves ${await until('gw2 again', async () => (await get('gw2')) === 200)} ms after the control plane is back`);

  // A shutdown: no new connection, and the work in hand is finished.
  const slow = get('gw2', 8_000, directHost, '/slow');
  await later(300);
  const begun = performance.now();
  const ended = end('gw2', 'SIGTERM');
  await until('the listener closed', async () => String(await get('gw2')).includes('ECONNREFUSED'));
  t.equal(await slow, 200, 'the request in hand is answered');
  await ended;
  t.comment(`figure: a gateway with a request of 1.5 s in hand ends ${Math.round(performance.now() - begun)} ms after SIGTERM`);
});
