// Networks behind peers, with the real control plane: an agent carries a subnet of its host and names of it; peers reach them by policy.
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import { hostDial } from '#lib/host-dial.ts';
import { splice } from '#lib/splice.ts';
import type { MeshNode } from '#mesh/index.ts';
import {
  call,
  findPeer,
  joinPeer,
  type Json,
  makeGroup,
  makeSetupKey,
  type Plane,
  policyBody,
  startAgentPart,
  startPlane,
  until,
} from '../support/parts.ts';

/** An address of this host that is not loopback: what stands "behind" the agent of these tests. */
const inside = Object.values(networkInterfaces())
  .flat()
  .find((entry) => entry?.family === 'IPv4' && !entry.internal)?.address;
const needed = inside === undefined ? { skip: 'needs an IPv4 address of this host that is not loopback' } : { timeout: 90_000 };

/** A service of this host. */
async function startBehind(t: Test, greeting: string, host = '127.0.0.1'): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => socket.write(`${greeting} ${chunk.toString()}`));
    socket.on('end', () => socket.end());
  });
  server.listen(0, host);
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

interface Setting {
  readonly plane: Plane;
  readonly clients: string;
  readonly office: string;
  readonly networkId: string;
  /** The group that resources are in. */
  readonly behind: string;
  readonly client: MeshNode;
}

async function setting(t: Test): Promise<Setting> {
  const plane = await startPlane(t);
  const [clients, office, behind] = [await makeGroup(plane, 'clients'), await makeGroup(plane, 'office'), await makeGroup(plane, 'behind')];
  for (const policy of (await plane.api.call('GET', '/api/policies')) as readonly Json[])
    await call(plane, 'DELETE', `/api/policies/${String(policy['id'])}`);
  const networkId = String((await call(plane, 'POST', '/api/networks', { name: 'office' }))['id']);
  const client = await joinPeer(t, plane, 'client', await makeSetupKey(plane, [clients]), {
    overlay: { listenPort: 0, hostAddresses: ['127.0.0.1'] },
  });
  return { plane, clients, office, networkId, behind, client };
}

async function addResource({ plane, networkId, behind }: Setting, name: string, address: string): Promise<string> {
  return String((await call(plane, 'POST', `/api/networks/${networkId}/resources`, { name, address, enabled: true, groups: [behind] }))['id']);
}

async function addRouter({ plane, networkId }: Setting, name: string, metric: number): Promise<string> {
  const peer = String((await findPeer(plane, name))['id']);
  return String((await call(plane, 'POST', `/api/networks/${networkId}/routers`, { peer, metric, masquerade: true, enabled: true }))['id']);
}

const dial = (node: MeshNode, host: string, port: number): Promise<Duplex> =>
  node.overlay.dial({ host, port }, { signal: AbortSignal.timeout(15_000) });

async function says(stream: Duplex, text: string): Promise<string> {
  // A test that fails leaves streams behind that end with their mesh.
  stream.on('error', () => undefined);
  const answer = once(stream, 'data');
  stream.write(text);
  return String((await answer)[0]);
}

const routesOf = (node: MeshNode): readonly string[] => node.status().routes.map(({ to }) => to);

void t.test('an address behind an agent is reached by policy, through the agent, and by nobody else', needed, async (t) => {
  const world = await setting(t);
  const { plane, clients, office, behind, client } = world;
  const host = inside ?? '';
  const port = await startBehind(t, 'behind:', host);
  await startAgentPart(t, plane, 'router', await makeSetupKey(plane, [office]), { defaultHost: '' });
  await until('the agent has joined', async () => ((await plane.api.call('GET', '/api/peers?name=router')) as readonly Json[]).length === 1);
  await addResource(world, 'server', host);
  await addRouter(world, 'router', 100);
  await t.rejects(dial(client, host, port), { code: 'EHOSTUNREACH' }, 'nothing grants it yet');

  const policy = await call(plane, 'POST', '/api/policies', policyBody(clients, behind, { ports: [String(port)] }));
  const learnt = await until('the route is there', () => routesOf(client).includes(`${host}/32`));
  t.comment(`figure: a route is at its client ${learnt.toFixed(0)} ms after the policy`);
  const stream = await dial(client, host, port);
  t.equal(await says(stream, 'hello'), 'behind: hello');
  await t.rejects(dial(client, host, port === 65_535 ? 1 : port + 1), { code: 'ECONNREFUSED' }, 'a port without a grant');
  await t.rejects(dial(client, '203.0.113.77', port), { code: 'EHOSTUNREACH' }, 'another address');
  const stranger = await joinPeer(t, plane, 'stranger', await makeSetupKey(plane, []));
  await t.rejects(dial(stranger, host, port), { code: 'EHOSTUNREACH' }, 'a peer without a grant knows no way');

  const ended = once(stream, 'error');
  const begun = performance.now();
  await call(plane, 'DELETE', `/api/policies/${String(policy['id'])}`);
  t.match((await ended)[0], { code: /ECONNRESET|EHOSTUNREACH/ });
  t.comment(`figure: an open connection ends ${(performance.now() - begun).toFixed(0)} ms after its policy`);
});

void t.test('a subnet that the router itself is in: its own address takes a grant to the router, too', needed, async (t) => {
  const world = await setting(t);
  const { plane, clients, office, behind, client } = world;
  const host = inside ?? '';
  const port = await startBehind(t, 'behind:', host);
  await startAgentPart(t, plane, 'router', await makeSetupKey(plane, [office]), { defaultHost: '' });
  await until('the agent has joined', async () => ((await plane.api.call('GET', '/api/peers?name=router')) as readonly Json[]).length === 1);
  const subnet = host.replace(/[0-9]+$/, '0/24');
  await addResource(world, 'servers', subnet);
  await addRouter(world, 'router', 100);
  await call(plane, 'POST', '/api/policies', policyBody(clients, behind, { ports: [String(port)] }));
  await until('the route is there', () => routesOf(client).includes(subnet));
  await t.rejects(dial(client, host, port), { code: 'ECONNREFUSED' }, 'the subnet alone does not mean the router');
  await call(plane, 'POST', '/api/policies', policyBody(clients, office, { ports: [String(port)] }));
  let stream: Duplex | undefined;
  await until('the grant is at the router', async () => {
    stream = await dial(client, host, port).catch(() => undefined);
    return stream !== undefined;
  });
  t.equal(stream === undefined ? '' : await says(stream, 'hello'), 'behind: hello');
});

void t.test('names behind a router; another router where one leaves', { timeout: 90_000 }, async (t) => {
  const world = await setting(t);
  const { plane, clients, office, behind, client } = world;
  const port = await startBehind(t, 'behind:');
  const key = await makeSetupKey(plane, [office]);
  const routers: MeshNode[] = [];
  const carried: string[] = [];
  for (const name of ['one', 'two']) {
    const node = await joinPeer(t, plane, name, key);
    node.overlay.carry({
      // The test's names stand for documentation addresses; the service is at home.
      dial: (target, options) => {
        carried.push(`${name} ${target.host}`);
        return hostDial({ ...target, host: '127.0.0.1' }, options);
      },
      connection: ({ stream }, upstream) => void splice(stream, upstream, { idleMs: 60_000 }).catch(() => undefined),
      openUdp: () => ({ send: () => undefined, close: () => undefined }),
      resolve: (host, family) =>
        Promise.resolve(host.startsWith('none') ? undefined : { addresses: family === 4 ? ['198.51.100.7'] : [], ttlSeconds: 30 }),
    });
    routers.push(node);
  }
  await addResource(world, 'wiki', 'wiki.corp.test');
  await addResource(world, 'apps', '*.apps.test');
  await addResource(world, 'host', '203.0.113.9');
  const first = await addRouter(world, 'one', 10);
  await addRouter(world, 'two', 20);
  await call(plane, 'POST', '/api/policies', policyBody(clients, behind, { ports: [String(port)] }));
  await until('the routes are there', () => routesOf(client).length === 3);
  t.equal(await says(await dial(client, 'wiki.corp.test', port), 'hello'), 'behind: hello');
  t.equal(await says(await dial(client, 'x.apps.test', port), 'hello'), 'behind: hello');
  await t.rejects(dial(client, 'none.apps.test', port), { code: 'EHOSTUNREACH' });
  const open = await dial(client, '203.0.113.9', port);
  t.equal(await says(open, 'hello'), 'behind: hello');
  t.same(carried.splice(0), ['one 198.51.100.7', 'one 198.51.100.7', 'one 203.0.113.9'], 'the lower metric');
  const ended = once(open, 'error');
  await call(plane, 'DELETE', `/api/networks/${world.networkId}/routers/${first}`);
  t.match((await ended)[0], { code: /EHOSTUNREACH|ECONNRESET/ }, 'what went through the one that left');
  await until('the other one carries', () => client.status().routes.every(({ router }) => router === routers[1]?.publicKey));
  t.equal(await says(await dial(client, 'wiki.corp.test', port), 'hello'), 'behind: hello');
  t.equal(await says(await dial(client, '203.0.113.9', port), 'hello'), 'behind: hello');
  t.same(carried.splice(0), ['two 198.51.100.7', 'two 203.0.113.9']);
});
