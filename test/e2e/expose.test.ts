// Peers expose services: through an agent, as peers of their own, and as a stock client does, over real processes.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { keyFromText } from '#crypto/x25519.ts';
import { parseRpcUrl, RpcChannel } from '#rpc/client.ts';
import {
  ExposeProtocol,
  ExposeServiceRequestSchema,
  ExposeServiceResponseSchema,
  ManagementService,
  RenewExposeRequestSchema,
  RenewExposeResponseSchema,
  StopExposeRequestSchema,
  StopExposeResponseSchema,
} from '#wire/proto/gen/management_pb.ts';
import { StockClient } from '../server/management/stock-client.ts';
import { ScriptedBrowser } from '../support/browser.ts';
import { runCommand, startApp, startExposeMesh } from '../support/expose.ts';
import { startMesh } from '../support/mesh.ts';
import { cluster, type Json, until } from '../support/parts.ts';

const ttlMs = 4_000;
const short = { MESHGATE_SERVER_EXPOSE_TTL: `${ttlMs}ms` };
const domainOf = (url: string): string => new URL(url).hostname;

void t.test('through an agent: published, opened, ended by Ctrl-C; each process may be killed', { timeout: 240_000 }, async (t) => {
  const mesh = await startExposeMesh(t, { peer_expose_public: true }, short);
  const agent = await mesh.startAgent('laptop', { defaultHost: '' });
  await until('the agent has joined', async () => ((await mesh.plane.api.call('GET', '/api/peers?name=laptop')) as readonly Json[]).length > 0);
  const expose = (...args: string[]) => runCommand(t, ['expose', ...args, '--state-dir', agent.stateDir]);
  const opens = (domain: string, text = 'hello from the app') => until(`${domain} opens`, async () => (await mesh.get(domain)).text === text, 30_000);
  const isGone = async (domain: string, limitMs = 10_000): Promise<number> =>
    until(`${domain} is gone`, async () => (await mesh.get(domain)).status === 404, limitMs);

  await t.test('Ctrl-C ends it, and what came through it', async (t) => {
    const begun = performance.now();
    const cli = expose(String(mesh.app.port), '--public', '--name', 'demo');
    const url = await cli.line();
    t.match(url, new RegExp(`^https://demo-[a-z2-7]{4}\\.${cluster.replace('.', '\\.')}$`));
    await opens(domainOf(url));
    t.comment(`figure: ${(performance.now() - begun).toFixed(0)} ms from the command line to the first page through the gateway`);
    t.match(await mesh.exposed(), [{ domain: domainOf(url), exposure: { peer_name: 'laptop', renew_before: /T/ } }]);
    t.match(cli.err.join('\n'), /open to everybody who knows the address, without signing in; Ctrl-C ends it/);
    const list = runCommand(t, ['expose', 'list', '--json', '--state-dir', agent.stateDir]);
    t.equal(await list.exited, 0);
    t.match(JSON.parse(list.out.join('\n')), [{ url, target: `127.0.0.1:${mesh.app.port}`, source: 'terminal', state: 'open' }]);
    t.equal(await cli.end('SIGINT'), 0);
    t.same(await mesh.exposed(), [], 'the command ends when it is gone');
    await isGone(domainOf(url));
    t.match(await agent.status(), { exposures: [] });
    t.same(cli.out, [url], 'one line');
  });

  await t.test('without a word people have to sign in', async (t) => {
    const before = mesh.app.requests.length;
    const cli = expose(String(mesh.app.port), '--json');
    const event = JSON.parse(await cli.line(/"open"/)) as Json;
    t.match(event, { event: 'open', open_to: 'every user of this network who signs in', expires_at: null });
    const domain = domainOf(String(event['url']));
    await until('it is served', async () => (await mesh.get(domain)).status === 401, 30_000);
    t.equal(mesh.app.requests.length, before, 'nobody got through');
    await cli.end('SIGINT');
    await isGone(domain);
  });

  await t.test('a client that is killed takes its service along at once', async (t) => {
    const cli = expose(String(mesh.app.port), '--public');
    const domain = domainOf(await cli.line());
    await opens(domain);
    await cli.end('SIGKILL');
    const ms = await isGone(domain);
    t.comment(`figure: gone ${ms.toFixed(0)} ms after kill -9 of the client`);
  });

  await t.test('a server that starts again goes on with it', async (t) => {
    const cli = expose(String(mesh.app.port), '--public', '--json');
    const event = JSON.parse(await cli.line(/"open"/)) as Json;
    const domain = domainOf(String(event['url']));
    await opens(domain);
    await mesh.plane.part.end('SIGKILL');
    await until('the agent has noticed', () => cli.out.some((line) => (JSON.parse(line) as Json)['away'] !== ''), 30_000);
    await mesh.plane.restart();
    await until('it is renewed', () => (JSON.parse(cli.out.at(-1) ?? '{}') as Json)['away'] === '', 30_000);
    t.match(await mesh.exposed(), [{ domain, id: event['id'] }], 'the same');
    t.match(await mesh.get(domain), { status: 200 });
    const urls = cli.out.flatMap((line) => (JSON.parse(line) as Json)['url'] ?? []);
    t.same(new Set(urls), new Set([event['url']]));
    await cli.end('SIGINT');
    await isGone(domain);
  });

  await t.test('in the background it stays until it is stopped or has had its time', async (t) => {
    const cli = expose(String(mesh.app.port), '--public', '--background');
    t.equal(await cli.exited, 0);
    const domain = domainOf(await cli.line());
    await opens(domain);
    const stop = runCommand(t, ['expose', 'stop', domain.split('.')[0] ?? '', '--state-dir', agent.stateDir]);
    t.equal(await stop.exited, 0, stop.err.join('\n'));
    await isGone(domain);
    const timed = expose(String(mesh.app.port), '--public', '--expires', '2s');
    const second = domainOf(await timed.line());
    t.equal(await timed.exited, 0, 'its end is no failure');
    t.match(timed.err.join('\n'), /until \d{4}-.*\n(?:.*\n)*.*its time is over/);
    await isGone(second);
  });

  await t.test('what is refused is said; nothing is published', async (t) => {
    for (const [args, words] of [
      [['10.1.2.3:80', '--public'], /No policy lets this peer reach that host and port.*10\.1\.2\.3:80/],
      [[String(mesh.app.port), '--domain', `login.${cluster}`], /may not choose names there/],
      [[String(mesh.app.port), '--group', 'nobody'], /group in the request does not exist\. nobody/],
      [[String(mesh.app.port), '--public', '--sso'], /public and asks for something at once/],
      [['0'], /must be a port or host:port/],
    ] as const) {
      const cli = expose(...args);
      t.equal(await cli.exited, 1, args.join(' '));
      t.match(cli.err.join('\n'), words);
      t.same(cli.out, []);
    }
    t.same(await mesh.exposed(), []);
  });

  await t.test('an administrator takes it away for good', async (t) => {
    const cli = expose(String(mesh.app.port), '--public');
    const domain = domainOf(await cli.line());
    await opens(domain);
    const [service] = await mesh.exposed();
    await mesh.plane.api.call('DELETE', `/api/reverse-proxies/services/${String(service?.['id'])}`);
    t.equal(await cli.exited, 1);
    t.match(cli.err.join('\n'), /An administrator took this exposed service away/);
    await isGone(domain);
  });

  await t.test('only what is exposed is forwarded, and what a stock client does works: create, renew, stop', async (t) => {
    const identity = JSON.parse(await readFile(join(agent.stateDir, 'identity.json'), 'utf8')) as { wireguardPrivateKey: string };
    const channel = new RpcChannel(parseRpcUrl(mesh.plane.url, mesh.plane.caPem));
    t.teardown(() => channel.close());
    const client = new StockClient(channel, keyFromText(identity.wireguardPrivateKey));
    const api = ManagementService.method;
    const create = async (request: Parameters<typeof client.seal<typeof ExposeServiceRequestSchema>>[1]) => {
      await client.fetchKey(); // before every call, as the stock client does
      return client.call(api.createExpose, ExposeServiceRequestSchema, request, ExposeServiceResponseSchema);
    };
    const made = await create({ port: mesh.app.port, protocol: ExposeProtocol.EXPOSE_HTTP, namePrefix: 'stock' });
    t.match(made, { serviceUrl: `https://${made.domain}`, portAutoAssigned: false });
    t.match(made.domain, /^stock-[a-z2-7]{4}\.edge\.localhost$/);
    await until('it is served', async () => (await mesh.get(made.domain)).status === 502, 30_000);
    t.pass('this agent forwards nothing that was not exposed through it: its defaultHost is empty');
    await client.fetchKey();
    await client.call(api.renewExpose, RenewExposeRequestSchema, { domain: made.domain }, RenewExposeResponseSchema);
    await client.fetchKey();
    await client.call(api.stopExpose, StopExposeRequestSchema, { domain: made.domain }, StopExposeResponseSchema);
    await isGone(made.domain);
    await client.fetchKey();
    await t.rejects(client.call(api.renewExpose, RenewExposeRequestSchema, { domain: made.domain }, RenewExposeResponseSchema), {
      code: 'RPC_NOT_FOUND',
    });
    const groups = await create({ port: mesh.app.port, userGroups: ['developers'], password: '', pin: '' });
    const tcp = await create({ port: mesh.app.port, protocol: ExposeProtocol.EXPOSE_TCP });
    t.match(tcp, { portAutoAssigned: true, serviceUrl: /^tcp:\/\/[a-z2-7]{12}\.edge\.localhost:\d{5}$/ });
    t.match(await mesh.exposed(), [{ auth: {} }, { auth: {} }]);
    await t.rejects(create({ port: mesh.app.port, userGroups: ['nobody'] }), { code: 'RPC_INVALID_ARGUMENT' });
    const begun = performance.now();
    await isGone(groups.domain, 30_000);
    t.comment(`figure: not renewed, gone ${(performance.now() - begun).toFixed(0)} ms later with a TTL of ${ttlMs} ms`);
    const audit = (await mesh.plane.api.call('GET', '/api/events/audit')) as readonly Json[];
    for (const code of ['service.peer.expose', 'service.peer.unexpose', 'service.peer.expose.expire'])
      t.ok(
        audit.some((event) => event['activity_code'] === code),
        code,
      );
  });

  await t.test('an agent that is killed and started again goes on with what a terminal has, and what is in the background', async (t) => {
    const second = await startApp(t, 'hello from the second');
    const cli = expose(String(mesh.app.port), '--public');
    const domain = domainOf(await cli.line());
    const background = expose(String(second.port), '--public', '--background');
    const other = domainOf(await background.line());
    t.equal(await background.exited, 0);
    await opens(domain);
    await opens(other, 'hello from the second');
    await agent.end('SIGKILL');
    await mesh.startAgent('laptop', { defaultHost: '' });
    await opens(domain);
    await opens(other, 'hello from the second');
    await cli.end('SIGINT');
    await isGone(domain);
  });
});

void t.test('without an agent: a peer of its own, for as long as the command runs', { timeout: 180_000 }, async (t) => {
  const mesh = await startExposeMesh(t, { peer_expose_public: true }, short);
  const keyFile = join(mesh.plane.folder, 'setup-key');
  await writeFile(keyFile, `${mesh.setupKey}\n`);
  const peers = async (): Promise<readonly Json[]> => (await mesh.plane.api.call('GET', '/api/peers')) as readonly Json[];
  const args = ['expose', String(mesh.app.port), '--public', '--state-dir', join(mesh.plane.folder, 'nothing')];
  const withKey = [...args, '--setup-key-file', keyFile, '--api', mesh.plane.url, '--ca', mesh.plane.caFile];

  const cli = runCommand(t, withKey);
  const domain = domainOf(await cli.line());
  await until('it opens', async () => (await mesh.get(domain)).text === 'hello from the app', 30_000);
  const there = (await peers()).length;
  t.equal(await cli.end('SIGINT'), 0);
  t.same(await mesh.exposed(), []);
  t.equal((await peers()).length, there - 1, 'and the peer has left the network');
  await until('it is gone', async () => (await mesh.get(domain)).status === 404);

  const killed = runCommand(t, withKey);
  const second = domainOf(await killed.line());
  await until('it opens', async () => (await mesh.get(second)).text === 'hello from the app', 30_000);
  await killed.end('SIGKILL');
  const ms = await until('it is gone', async () => (await mesh.get(second)).status === 404, 30_000);
  t.comment(`figure: gone ${ms.toFixed(0)} ms after kill -9 with a TTL of ${ttlMs} ms`);
  t.same(await mesh.exposed(), []);

  const signedIn = runCommand(t, [...args, '--ca', mesh.plane.caFile], { MESHGATE_API: mesh.plane.url, MESHGATE_TOKEN: mesh.plane.token });
  const third = domainOf(await signedIn.line());
  await until('it opens', async () => (await mesh.get(third)).text === 'hello from the app', 30_000);
  t.equal(await signedIn.end('SIGINT'), 0);
  t.same(await mesh.exposed(), []);
});

void t.test('beside `meshgate start`: the address that is printed is the one that opens', { timeout: 120_000 }, async (t) => {
  const mesh = await startMesh();
  t.teardown(() => mesh.stop());
  const app = await startApp(t, 'hello from the app');
  const env = { MESHGATE_STATE_DIR: mesh.stateDir };
  const early = runCommand(t, ['expose', String(app.port)], env);
  t.equal(await early.exited, 1);
  t.match(early.err.join('\n'), /meshgate expose allow --group GROUP/, 'it says who can change that, and how');
  const allow = runCommand(t, ['expose', 'allow', '--group', 'All', '--public', 'yes'], env);
  t.equal(await allow.exited, 0, allow.err.join('\n'));
  const cli = runCommand(t, ['expose', String(app.port), '--public'], env);
  const url = new URL(await cli.line());
  t.equal(url.port, String(mesh.port));
  const browser = new ScriptedBrowser(mesh.caFile);
  t.teardown(() => browser.close());
  await until(
    'it opens',
    () =>
      browser.open(url.href).then(
        ({ text }) => text === 'hello from the app',
        () => false, // no certificate yet
      ),
    30_000,
  );
  t.equal(await cli.end('SIGINT'), 0);
  t.equal(await mesh.stop(), 0);
});
