import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { createMeshNode, type MeshNode, type MeshState } from '#mesh/index.ts';
import { goodKey, meta, wrongKey } from '../control/peer-helpers.ts';
import { FakeDomain } from '../server/management/fake-domain.ts';
import { startServer, type FakeServer } from '../server/management/fake-server.ts';
import type { OverlayDeps, OverlayOptions } from '#overlay/index.ts';
import { endpointsFormat } from '../../src/mesh/saved-endpoints.ts';
import { key } from '../overlay/words.ts';
import { FakeOverlay } from './fake-overlay.ts';

async function folder(t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'meshgate-mesh-'));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

interface Made {
  readonly node: MeshNode;
  readonly overlay: FakeOverlay;
}

async function nodeIn(t: Test, stateFolder: string, server: Pick<FakeServer, 'url' | 'ca'>, setupKey: string | undefined = goodKey): Promise<Made> {
  const overlay = new FakeOverlay();
  const node = await createMeshNode(
    { control: { url: server.url, ca: server.ca.caPem }, stateFolder, meta, setupKey, overlay: { listenPort: 0 } },
    { log: silentLogger, clock: systemClock, createOverlay: async () => overlay },
  );
  t.teardown(() => node.close());
  return { node, overlay };
}

function stateOf(node: MeshNode, kind: MeshState['kind']): Promise<MeshState> {
  return new Promise((resolve) => {
    const stop = node.onState((state) => {
      if (state.kind !== kind) return;
      stop();
      resolve(state);
    });
  });
}

void t.test('a node signs in, applies its first map and stays the same peer after a restart', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const path = await folder(t);
  const first = await nodeIn(t, path, server);
  t.equal(first.node.state().kind, 'starting');
  await first.node.start(AbortSignal.timeout(5000));
  t.match(first.node.state(), { kind: 'running', from: 'control' });
  t.match(first.node.status(), { publicKey: first.node.publicKey, address: '100.92.0.1', fqdn: 'box-1.mesh.test' });
  t.equal(first.overlay.maps.length, 1);
  t.ok(first.overlay.endpoints.length >= 1);
  t.equal((await stat(join(path, 'identity.json'))).mode & 0o777, 0o600);
  await first.node.close();
  t.equal(first.overlay.closed, true);
  t.equal(first.node.state().kind, 'closed');
  t.equal((await stat(join(path, 'last-map.json'))).mode & 0o777, 0o600);
  const second = await nodeIn(t, path, server, undefined);
  await second.node.start(AbortSignal.timeout(5000));
  t.equal(second.node.publicKey, first.node.publicKey);
  t.equal(server.domain.known.size, 1);
});

void t.test('a wrong setup key is a refusal with its reason', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const { node } = await nodeIn(t, await folder(t), server, wrongKey);
  await t.rejects(node.start(AbortSignal.timeout(5000)), { code: 'MESH_REFUSED', detail: /no such setup key/ });
  t.match(node.state(), { kind: 'refused', reason: /no such setup key/ });
});

void t.test('without the control plane at start a node keeps trying, says why, and comes up when it is there', async (t) => {
  const domain = new FakeDomain();
  const gone = await startServer({ domain });
  await gone.close();
  const { node } = await nodeIn(t, await folder(t), gone);
  const failing = new Promise<string>((resolve) => {
    node.onState((state) => state.kind === 'signing-in' && state.reason !== '' && resolve(state.reason));
  });
  const started = node.start(AbortSignal.timeout(10_000));
  t.match(await failing, /cannot be reached/);
  const server = await startServer({ domain, port: gone.port });
  t.teardown(() => server.close());
  await started;
  t.match(node.state(), { kind: 'running', from: 'control' });
});

void t.test('a start that is not over in time rejects, and closing ends the trying', async (t) => {
  const gone = await startServer();
  await gone.close();
  const { node } = await nodeIn(t, await folder(t), gone);
  await t.rejects(node.start(AbortSignal.timeout(50)), { code: 'MESH_START_TIMEOUT' });
  t.equal(node.state().kind, 'signing-in');
  await node.close();
  await t.rejects(node.start(AbortSignal.timeout(50)), { code: 'MESH_CLOSED' });
});

void t.test('a restart during an outage serves the last map, and takes the new one when the control plane is back', async (t) => {
  const domain = new FakeDomain();
  domain.filter = { kind: 'rules', rules: [{ direction: 'in', action: 'accept', protocol: 'tcp', peer: undefined, ports: { start: 80, end: 81 } }] };
  const before = await startServer({ domain });
  const path = await folder(t);
  const first = await nodeIn(t, path, before);
  await first.node.start(AbortSignal.timeout(5000));
  await first.node.close();
  await before.close();
  const { node, overlay } = await nodeIn(t, path, before);
  await node.start(AbortSignal.timeout(5000));
  t.match(node.state(), { kind: 'running', from: 'disk' });
  t.equal(overlay.maps[0]?.filter.kind, 'rules');
  t.match(overlay.endpoints[0]?.relay, { tokenPayload: '1893456000' });
  const back = stateOf(node, 'running');
  const server = await startServer({ domain, port: before.port });
  t.teardown(() => server.close());
  t.match(await back, { kind: 'running', from: 'control' });
  t.same(overlay.maps[1]?.filter, overlay.maps[0]?.filter, 'what was saved is what was said');
});

void t.test('a removed peer loses its peers, its permissions and its saved map at once', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const path = await folder(t);
  const { node, overlay } = await nodeIn(t, path, server);
  await node.start(AbortSignal.timeout(5000));
  const refused = stateOf(node, 'refused');
  server.domain.removePeer(node.publicKey);
  t.match(await refused, { reason: /removed/ });
  t.match(overlay.maps.at(-1), { peers: [], filter: { kind: 'rules', rules: [] } });
  await node.close();
  await t.rejects(stat(join(path, 'last-map.json')), { code: 'ENOENT' });
});

void t.test('where peers were last reached, and by which port, is kept for the next run, and forgotten with the map', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const path = await folder(t);
  const file = join(path, 'last-endpoints.json');
  const peers = [{ peer: key(2), address: '192.0.2.7', port: 41_000 }];
  const begin = async (port: number): Promise<Made & { readonly located: () => void; readonly options: OverlayOptions }> => {
    const overlay = new FakeOverlay();
    let made: [OverlayDeps, OverlayOptions] | undefined;
    const node = await createMeshNode(
      { control: { url: server.url, ca: server.ca.caPem }, stateFolder: path, meta, setupKey: goodKey, overlay: { listenPort: port } },
      { log: silentLogger, clock: systemClock, createOverlay: async (...given) => ((made = given), overlay) },
    );
    t.teardown(() => node.close());
    if (made === undefined) throw new TypeError('no overlay');
    const [deps, options] = made;
    return { node, overlay, options, located: () => deps.located?.() };
  };
  const first = await begin(0);
  t.equal(first.options.listenPort, 0);
  t.same(first.overlay.lastKnown, []);
  first.overlay.port = 40_123;
  first.overlay.located = peers;
  first.located();
  await first.node.close();
  t.equal((await stat(file)).mode & 0o777, 0o600);

  const second = await begin(0);
  t.equal(second.options.listenPort, 40_123, 'the port that peers know');
  t.same(second.overlay.lastKnown, peers, 'told before the first map');
  await second.node.close();
  t.equal((await begin(5000)).options.listenPort, 5000, 'unless the settings name one');

  const text = await readFile(file, 'utf8');
  for (const bad of [
    '{}',
    text.replace('41000', '"41000"'),
    text.replace('41000', '0'),
    text.replace('40123', '70000'),
    text.replace(key(2), 'x'),
    '[',
  ])
    t.equal(endpointsFormat.parse(bad), undefined, bad);

  const third = await begin(0);
  await third.node.start(AbortSignal.timeout(5000));
  const refused = stateOf(third.node, 'refused');
  server.domain.removePeer(third.node.publicKey);
  await refused;
  await third.node.close();
  await t.rejects(stat(file), { code: 'ENOENT' });
});

void t.test('a damaged identity is never replaced', async (t) => {
  const path = await folder(t);
  await writeFile(join(path, 'identity.json'), '{"wireguardPrivateKey":"short"}');
  const server = { url: 'https://control.localhost:1', ca: (await startServerCa()).ca };
  await t.rejects(nodeIn(t, path, server), { code: 'MESH_IDENTITY_DAMAGED' });
  t.equal(await readFile(join(path, 'identity.json'), 'utf8'), '{"wireguardPrivateKey":"short"}');
});

async function startServerCa(): Promise<FakeServer> {
  const server = await startServer();
  await server.close();
  return server;
}

void t.test('a damaged saved map is no map', async (t) => {
  const gone = await startServerCa();
  const path = await folder(t);
  await writeFile(join(path, 'last-map.json'), '{"format":1,"serial":"1","self":{"v4":"100.92.0.1/16","fqdn":""},"peers":[{}]}');
  const { node } = await nodeIn(t, path, gone);
  await t.rejects(node.start(AbortSignal.timeout(300)), { code: 'MESH_START_TIMEOUT' });
  t.equal(node.state().kind, 'signing-in');
});
