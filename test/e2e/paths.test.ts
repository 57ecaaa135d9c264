// The ways packets take: directly and by the relay, the switch between them, and both carrying what they were given.
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { Agent, request } from 'undici';
import t, { type Test } from 'tap';
import type { MeshNode } from '#mesh/index.ts';
import { BlockablePort } from '../overlay/pair.ts';
import {
  call,
  cluster,
  findPeer,
  joinPeer,
  makeGroup,
  makeSetupKey,
  policyBody,
  startAgentPart,
  startGatewayPart,
  startPlane,
  startUpstream,
  until,
  type Json,
  type Part,
  type Plane,
} from '../support/parts.ts';

const main = resolve(import.meta.dirname, '../../src/cli/main.ts');
const blockBytes = 512 * 1024;

interface PeerRow {
  readonly fqdn: string;
  readonly path: { readonly kind: string } | undefined;
  readonly reason: string;
}

async function rowsOf(part: Part): Promise<readonly PeerRow[]> {
  return ((await part.status()) as { readonly mesh: { readonly peers: readonly PeerRow[] } }).mesh.peers;
}

function kindOf(node: MeshNode): string | undefined {
  return node.status().peers[0]?.path?.kind;
}

/** What `meshgate status` prints for the process of this directory. */
function printedStatus(stateDir: string): Promise<string> {
  return new Promise((done) => {
    execFile(process.execPath, [main, 'status', '--state-dir', stateDir], (_error, out) => done(out));
  });
}

/** One TCP connection to the echo behind the agent; everything that went through it is hashed both ways. */
class Traffic {
  readonly #sent = createHash('sha256');
  readonly #got = createHash('sha256');
  #sentBytes = 0;
  #gotBytes = 0;
  #error: Error | undefined;
  readonly #stream: Awaited<ReturnType<MeshNode['overlay']['dial']>>;

  private constructor(stream: Awaited<ReturnType<MeshNode['overlay']['dial']>>) {
    this.#stream = stream;
    stream.on('error', (error: Error) => (this.#error = error));
    stream.on('data', (chunk: Buffer) => {
      this.#got.update(chunk);
      this.#gotBytes += chunk.length;
    });
  }

  static async open(node: MeshNode, host: string): Promise<Traffic> {
    return new Traffic(await node.overlay.dial({ host, port: 7001 }, { signal: AbortSignal.timeout(15_000) }));
  }

  /** Sends a block and waits for its echo; resolves with the milliseconds. */
  async round(): Promise<number> {
    const block = randomBytes(blockBytes);
    this.#sent.update(block);
    this.#sentBytes += block.length;
    this.#stream.write(block);
    return until(
      'the echo',
      () => {
        if (this.#error !== undefined) throw this.#error;
        return this.#gotBytes === this.#sentBytes;
      },
      30_000,
    );
  }

  /** Ends the connection; whether every byte came back once and in order. */
  close(): boolean {
    this.#stream.destroy();
    return this.#sent.digest('hex') === this.#got.digest('hex');
  }
}

void t.test('ways through the mesh', async (t) => {
  const plane = await startPlane(t);
  const [clients, office] = [await makeGroup(plane, 'clients'), await makeGroup(plane, 'office')];
  const clientKey = await makeSetupKey(plane, [clients]);
  const officeKey = await makeSetupKey(plane, [office]);
  const echo = await startUpstream(t);
  const targets = [{ port: 7001, target: `127.0.0.1:${echo.port}` }];
  await call(plane, 'POST', '/api/policies', policyBody(clients, office, { ports: ['7001'] }));
  const agent = await startAgentPart(t, plane, 'office-agent', officeKey, { targets });
  await until('the agent is there', async () => ((await agent.status()) as { state: { kind: string } }).state.kind === 'running');
  const host = String((await findPeer(plane, 'office-agent'))['ip']);

  await t.test('the relay alone carries what it is given', async (t) => {
    const node = await joinPeer(t, plane, 'relayed', clientKey, { overlay: { listenPort: 0, forceRelay: true } });
    const traffic = await Traffic.open(node, host);
    const ms = await traffic.round();
    t.comment(`figure: 0.5 MB echoed by the relay in ${ms.toFixed(0)} ms`);
    t.equal(kindOf(node), 'relay');
    t.match(await rowsOf(agent), [{ fqdn: /^relayed\./, path: { kind: 'relay' } }], 'the agent sees the same way');
    t.equal(traffic.close(), true, 'every byte once and in order');
    await node.logout(AbortSignal.timeout(5_000));
    await node.close();
  });

  await t.test('direct, by the relay, directly again: one TCP connection lives through it', async (t) => {
    const port = new BlockablePort();
    const node = await joinPeer(t, plane, 'roaming', clientKey, { overlay: { listenPort: 0, openPort: port.open } });
    const traffic = await Traffic.open(node, host);
    await until('the direct path', () => kindOf(node) === 'direct', 20_000);
    await traffic.round();
    await until('the relay stands by', () => node.status().links.every(({ connected }) => connected));
    const seen = async (kind: string): Promise<boolean> => kindOf(node) === kind && (await rowsOf(agent))[0]?.path?.kind === kind;

    port.blocked = true;
    const during = traffic.round();
    const lost = await until('both ends use the relay', () => seen('relay'), 20_000);
    t.comment(
      `figure: UDP blocked: both ends on the relay after ${lost.toFixed(0)} ms, the transfer done ${(await during).toFixed(0)} ms after the block`,
    );
    t.match(node.status().peers[0]?.reason, /direct path was lost/);
    t.match(
      await printedStatus(agent.stateDir),
      /roaming\..* relay .*direct path was lost/,
      '`meshgate status` of the agent tells the way and the reason',
    );
    port.blocked = false;
    const back = await until('both ends are direct again', () => seen('direct'), 30_000);
    t.comment(`figure: UDP free again: direct after ${back.toFixed(0)} ms`);
    t.match(await printedStatus(agent.stateDir), /roaming\..* direct .*direct path is better/);
    await traffic.round();

    await t.test('the server with its relay is killed and comes back: the direct path carries on', async (t) => {
      await plane.part.end('SIGKILL');
      await traffic.round();
      await until('the loss is told', () => node.status().links.every(({ connected, reason }) => !connected && reason !== ''), 30_000);
      t.equal(kindOf(node), 'direct');
      await traffic.round();
      await plane.restart();
      const ms = await until('all links are back', () => node.status().links.every(({ connected }) => connected), 40_000);
      t.comment(`figure: links back ${ms.toFixed(0)} ms after the server`);
      await traffic.round();
      t.equal(kindOf(node), 'direct');
    });
    t.equal(traffic.close(), true, 'every byte once and in order');
    await node.logout(AbortSignal.timeout(5_000));
    await node.close();
  });

  await t.test('three processes that must use the relay', (t) => forcedRelay(t, plane, officeKey));
});

async function forcedRelay(t: Test, plane: Plane, officeKey: string): Promise<void> {
  const body = randomBytes(2 * 1024 * 1024);
  const waiting = Promise.withResolvers<void>();
  const app = createServer((request, response) => {
    if (request.url !== '/endless') return response.end(body);
    response.write('begun');
    return waiting.resolve();
  });
  app.listen(0, '127.0.0.1');
  t.teardown(() => {
    app.closeAllConnections();
    app.close();
  });
  await until('the app listens', () => app.listening);
  const { port } = app.address() as AddressInfo;
  const wireguard = { forceRelay: true };
  const agent = await startAgentPart(t, plane, 'relay-agent', officeKey, { targets: [{ port: 80, target: `127.0.0.1:${port}` }], wireguard });
  await until('the agent is there', async () => ((await agent.status()) as { state: { kind: string } }).state.kind === 'running');
  const domain = `app.${cluster}`;
  const certificate = await plane.ca.issue([domain]);
  await mkdir(join(plane.folder, 'certs'));
  await writeFile(join(plane.folder, 'certs', `${domain}.crt`), certificate.certPem);
  await writeFile(join(plane.folder, 'certs', `${domain}.key`), certificate.keyPem, { mode: 0o600 });
  const gateway = await startGatewayPart(t, plane, { wireguard });
  await until('the cluster is known', async () =>
    ((await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).some((entry) => entry['address'] === cluster),
  );
  await call(plane, 'POST', '/api/reverse-proxies/services', {
    name: 'app',
    domain,
    mode: 'http',
    enabled: true,
    auth: { bearer_auth: { enabled: true, distribution_groups: [] } },
    targets: [{ target_id: (await findPeer(plane, 'relay-agent'))['id'], target_type: 'peer', path: '/', protocol: 'http', port: 80 }],
  });
  const dispatcher = new Agent({
    connect: { ca: plane.caPem, lookup: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]) },
  });
  t.teardown(() => dispatcher.close());
  const machine = await call(plane, 'POST', '/api/users', { name: 'machine', role: 'user', auto_groups: [], is_service_user: true });
  const token = await call(plane, 'POST', `/api/users/${String(machine['id'])}/tokens`, { name: 'test', expires_in: 1 });
  let last = '';
  const open = async (): Promise<Buffer | undefined> => {
    const headers = { authorization: `Bearer ${String(token['plain_token'])}`, accept: 'application/json' };
    const answer = await request(`https://${domain}:${gateway.publicPort}/`, { dispatcher, headers, signal: AbortSignal.timeout(15_000) });
    const bytes = Buffer.from(await answer.body.arrayBuffer());
    last = `${answer.statusCode} ${bytes.toString('latin1', 0, 300)}`;
    return answer.statusCode === 200 ? bytes : undefined;
  };
  await until('the gateway has joined', async () => (await rowsOf(gateway)).some(({ path }) => path !== undefined), 30_000);
  await until('the app answers', async () => (await open().catch((error: unknown) => void (last = String(error)))) !== undefined, 5_000).catch(
    (error: unknown) => {
      throw new Error(`${String(error)}, but ${last}`);
    },
  );
  const begun = performance.now();
  const got = await open();
  t.comment(`figure: 2 MB through gateway, relay and agent in ${(performance.now() - begun).toFixed(0)} ms`);
  t.equal(got?.equals(body), true, 'the very bytes');
  t.match(await printedStatus(gateway.stateDir), /relay-agent\..* relay /, '`meshgate status` of the gateway tells the way');
  t.match(await printedStatus(agent.stateDir), /proxy-.* relay /, 'and that of the agent');
  const server = (await plane.part.status()) as { readonly relay: { readonly forwardedBytes: number } };
  t.ok(server.relay.forwardedBytes > body.length, 'the relay carried it');

  await t.test('SIGTERM ends each of them in time and well, whatever is open', async (t) => {
    const headers = { authorization: `Bearer ${String(token['plain_token'])}`, accept: 'application/json' };
    const endless = await request(`https://${domain}:${gateway.publicPort}/endless`, { dispatcher, headers, signal: AbortSignal.timeout(30_000) });
    endless.body.on('error', () => undefined).resume();
    await waiting.promise;
    const parts = { server: plane.part, gateway, agent };
    await Promise.all(
      Object.entries(parts).map(async ([name, part]) => {
        const { code, ms } = await part.end('SIGTERM');
        t.comment(`figure: ${name} ended ${ms.toFixed(0)} ms after SIGTERM`);
        t.equal(code, 0, `${name}: exit code 0`);
        t.ok(ms < 10_000, `${name}: within 10 s`);
      }),
    );
  });
}
