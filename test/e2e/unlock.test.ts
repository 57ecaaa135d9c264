// A TCP service with a sign-in, through the whole product: its port is closed to everybody, opens for the address of who signs in at its page,
// and closes with the session, together with what is open.
import { mkdir, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { Agent, request } from 'undici';
import { ScriptedBrowser, signIn } from '../support/browser.ts';
import { freePort } from '../support/mesh.ts';
import {
  call,
  cluster,
  findPeer,
  type Json,
  makeGroup,
  makeSetupKey,
  startAgentPart,
  startGatewayPart,
  startPlane,
  startUpstream,
  until,
} from '../support/parts.ts';

const password = 'a long enough one';

/** Resolves when it is closed, however. */
function gone(socket: Socket | undefined): Promise<void> {
  return new Promise((resolve) => (socket === undefined ? resolve() : void socket.once('close', () => resolve())));
}

void t.test('signing in opens the port for one’s address; the end of the session closes it', { timeout: 180_000 }, async (t) => {
  const plane = await startPlane(t);
  const name = `db.${cluster}`;
  const { certPem, keyPem } = await plane.ca.issue([name]);
  await mkdir(join(plane.folder, 'certs'), { recursive: true });
  await writeFile(join(plane.folder, 'certs', `${name}.key`), keyPem, { mode: 0o600 });
  await writeFile(join(plane.folder, 'certs', `${name}.crt`), certPem);
  const gateway = await startGatewayPart(t, plane);
  await until('the gateway is known', async () => ((await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).length > 0);
  await startAgentPart(t, plane, 'office', await makeSetupKey(plane, [await makeGroup(plane, 'office')]), {});
  await until('the agent has joined', async () => ((await plane.api.call('GET', '/api/peers?name=office')) as readonly Json[]).length > 0);
  const peer = String((await findPeer(plane, 'office'))['id']);
  const upstream = await startUpstream(t);
  const port = await freePort();
  const service = await call(plane, 'POST', '/api/reverse-proxies/services', {
    name: 'db',
    domain: name,
    mode: 'tcp',
    listen_port: port,
    targets: [{ target_id: peer, target_type: 'peer', protocol: 'tcp', port: upstream.port, enabled: true }],
    auth: { bearer_auth: { enabled: true, distribution_groups: [] } },
  });
  const path = `/api/reverse-proxies/services/${String(service['id'])}`;
  await until('it is active', async () => ((await call(plane, 'GET', path))['meta'] as Json)['status'] === 'active', 30_000);

  /** A connection that has been answered, or undefined where it was closed. */
  const open = async (): Promise<Socket | undefined> => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.on('error', () => undefined);
    socket.write('hello');
    const answer = await new Promise<string | undefined>((resolve) => {
      socket.once('data', (bytes: Buffer) => resolve(bytes.toString()));
      socket.once('close', () => resolve(undefined));
    });
    return answer === 'hello' ? socket : undefined;
  };
  const page = `https://${name}:${gateway.publicPort}/`;
  const browserOf = async (email: string): Promise<ScriptedBrowser> => {
    const browser = new ScriptedBrowser(plane.caFile);
    t.teardown(() => browser.close());
    const end = await signIn(browser, page, email, password);
    t.equal(end.status, 200, end.text);
    t.match(end.text, new RegExp(`TCP port ${port} of ${name} is open for 127\\.0\\.0\\.1 until`));
    return browser;
  };

  t.equal(await open(), undefined, 'nobody has signed in');
  t.equal(upstream.connections, 0, 'and nothing reached the inside');

  await t.test('a person who is blocked is cut at once', async (t) => {
    const user = await call(plane, 'POST', '/api/users', {
      email: 'bob@example.com',
      name: 'Bob',
      role: 'user',
      auto_groups: [],
      is_service_user: false,
      password,
    });
    await browserOf('bob@example.com');
    const socket = await open();
    t.ok(socket, 'the port is open for this address');
    t.match(await gateway.status(), { streams: { unlocked: 1, streams: 1 } });
    const closed = gone(socket);
    const begun = performance.now();
    await call(plane, 'PUT', `/api/users/${String(user['id'])}`, { role: 'user', auto_groups: [], is_blocked: true });
    await closed;
    const cutMs = performance.now() - begun;
    t.comment(`figure: a TCP stream was cut ${cutMs.toFixed(0)} ms after its user had been blocked`);
    t.ok(cutMs < 1_000);
    t.equal(await open(), undefined, 'and the port is closed');
  });

  await t.test('signing out closes it', async (t) => {
    const browser = await browserOf('owner@example.com');
    const socket = await open();
    t.ok(socket);
    const closed = gone(socket);
    await browser.open(`https://${name}:${gateway.publicPort}/.meshgate/logout`);
    await closed;
    t.equal(await open(), undefined);
  });

  await t.test('a machine opens it with its token and is told in JSON; the token’s end closes it', async (t) => {
    const machine = await call(plane, 'POST', '/api/users', { name: 'backup', role: 'user', auto_groups: [], is_service_user: true });
    const made = await call(plane, 'POST', `/api/users/${String(machine['id'])}/tokens`, { name: 'nightly', expires_in: 1 });
    const dispatcher = new Agent({
      connect: { ca: plane.caPem, lookup: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]) },
    });
    t.teardown(() => dispatcher.close());
    const ask = async (headers: Record<string, string>) => {
      const response = await request(page, { dispatcher, headers });
      return { status: response.statusCode, body: (await response.body.json()) as Json };
    };
    t.match(await ask({}), { status: 401, body: { reason: 'not_signed_in' } });
    t.equal(await open(), undefined);
    t.match(await ask({ authorization: `Bearer ${String(made['plain_token'])}` }), {
      status: 200,
      body: { port, protocol: 'tcp', address: '127.0.0.1' },
    });
    const socket = await open();
    t.ok(socket);
    const closed = gone(socket);
    const token = made['personal_access_token'] as Json;
    await call(plane, 'DELETE', `/api/users/${String(machine['id'])}/tokens/${String(token['id'])}`);
    await closed;
    t.equal(await open(), undefined);
  });

  const log = async (): Promise<readonly Json[]> => (await call(plane, 'GET', '/api/events/proxy?page_size=100'))['data'] as readonly Json[];
  await until(
    'the log has it',
    async () => (await log()).filter(({ protocol, reason }) => protocol === 'tcp' && reason === 'session_revoked').length >= 3,
  );
  const streams = (await log()).filter(({ protocol }) => protocol === 'tcp');
  t.ok(streams.some(({ reason }) => reason === 'not_signed_in'));
  t.ok(
    streams.filter(({ reason }) => reason === 'session_revoked').every(({ user_id }) => user_id !== ''),
    'with who it was',
  );
});
