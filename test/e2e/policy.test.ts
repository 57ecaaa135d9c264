// Who may reach what, seen from the other side: a real control plane and a real agent, and peers of the test's own that try.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import { createProxyControl } from '#control/index.ts';
import { systemClock } from '#lib/clock.ts';
import { errorCode } from '#lib/errors.ts';
import { hostPrefix, parseIp } from '#lib/ip.ts';
import { silentLogger } from '#lib/log.ts';
import { asId, parsePublicKey, type ProxyId } from '#model/ids.ts';
import type { ServiceMapping } from '#model/service.ts';
import type { MeshNode } from '#mesh/index.ts';
import { createOverlay } from '#overlay/index.ts';
import {
  call,
  cluster,
  findPeer,
  joinPeer,
  makeGroup,
  makeSetupKey,
  policyBody,
  startAgentPart,
  startPlane,
  startUpstream,
  until,
  type Json,
  type Part,
  type Plane,
} from '../support/parts.ts';

/** What the issue promises for every change. */
const changeMs = 1_000;
const refusedMs = 700;

interface PeerRow {
  readonly fqdn: string;
}

async function peersOf(part: Part): Promise<readonly PeerRow[]> {
  return ((await part.status()) as { readonly mesh: { readonly peers: readonly PeerRow[] } }).mesh.peers;
}

/** How an attempt ended: `open`, or the code of its failure. */
async function attempt(node: MeshNode, host: string, port: number, ms = refusedMs): Promise<string> {
  try {
    const stream = await node.overlay.dial({ host, port }, { signal: AbortSignal.timeout(ms) });
    stream.on('error', () => undefined).destroy();
    return 'open';
  } catch (error) {
    return errorCode(error) ?? String(error);
  }
}

/** Opens a connection and proves with an echo that it leads somewhere. */
async function openEcho(node: MeshNode, host: string, port: number): Promise<Duplex> {
  const stream = await node.overlay.dial({ host, port }, { signal: AbortSignal.timeout(10_000) });
  stream.on('error', () => undefined);
  stream.write('ping');
  await once(stream, 'data');
  return stream;
}

/** Runs the change and resolves with the milliseconds until the stream was cut. */
async function cutBy(stream: Duplex, change: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  const closed = new Promise<void>((done) => {
    stream.once('close', () => done()); // with an error before it, which `once` of node:events would reject with
  });
  await change();
  await closed;
  return performance.now() - begun;
}

/** Runs the change and resolves with the milliseconds until the port answers. */
async function openedBy(node: MeshNode, host: string, port: number, change: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await change();
  await until(`port ${port} opens`, async () => (await attempt(node, host, port, 100)) === 'open');
  return performance.now() - begun;
}

function within(t: Test, ms: number, what: string): void {
  t.comment(`figure: ${what} after ${ms.toFixed(0)} ms`);
  t.ok(ms < changeMs, `${what} within a second`);
}

void t.test('policies, seen from the other side', async (t) => {
  const plane = await startPlane(t);
  const [clients, office] = [await makeGroup(plane, 'clients'), await makeGroup(plane, 'office')];
  const mapped = await startUpstream(t);
  const byDefault = await startUpstream(t);
  const agentKey = await makeSetupKey(plane, [office]);
  const agent = await startAgentPart(t, plane, 'office-agent', agentKey, { targets: [{ port: 7001, target: `127.0.0.1:${mapped.port}` }] });
  const clientKey = await makeSetupKey(plane, [clients]);
  const client = await joinPeer(t, plane, 'client', clientKey);
  await until('the agent is there', async () => ((await agent.status()) as { state: { kind: string } }).state.kind === 'running');
  const agentPeer = await findPeer(plane, 'office-agent');
  const [host, host6] = [String(agentPeer['ip']), String(agentPeer['ipv6'])];
  const untouched = (): void => {
    t.equal(mapped.connections, 0, 'the mapped upstream saw nothing');
    t.equal(byDefault.connections, 0, 'the other upstream saw nothing');
  };

  await t.test('without a policy nothing is reached, not even by a peer that invents its own map', async (t) => {
    t.same(client.status().peers, [], 'the client learns of nobody');
    t.same(await peersOf(agent), [], 'the agent learns of nobody');
    t.equal(await attempt(client, host, 7001), 'EHOSTUNREACH');
    const key = parsePublicKey(String(((await agent.status())['mesh'] as Json)['publicKey']));
    const [address, address6] = [parseIp(host), parseIp(host6)];
    if (key === undefined || address === undefined || address6 === undefined) throw new TypeError('the agent has no key or address');
    const liar = await joinPeer(t, plane, 'liar', await makeSetupKey(plane, [clients]), {
      createOverlay: async (deps, options) => {
        const overlay = await createOverlay(deps, options);
        const apply = overlay.apply.bind(overlay);
        overlay.apply = (map) =>
          apply({ ...map, peers: [{ publicKey: key, allowedIps: [hostPrefix(address), hostPrefix(address6)], fqdn: 'x.', agentVersion: '' }] });
        return overlay;
      },
    });
    for (const port of [7001, byDefault.port, 22]) t.equal(await attempt(liar, host, port, 1_500), 'ABORT_ERR', `port ${port}: silence`);
    t.same(await peersOf(agent), []);
    await liar.logout(AbortSignal.timeout(5_000));
  });
  untouched();

  let policy: Json = {};
  await t.test('tcp and one port: that port opens, and nothing else', async (t) => {
    const begun = performance.now();
    policy = await call(plane, 'POST', '/api/policies', policyBody(clients, office, { ports: ['7001'] }));
    const cold = await until('the first connection', async () => (await attempt(client, host, 7001, 100)) === 'open');
    t.comment(`figure: the first policy, with finding a path, after ${(cold + performance.now() - begun - cold).toFixed(0)} ms`);
    (await openEcho(client, host, 7001)).destroy();
    for (const port of [byDefault.port, 7002, 80, 22]) t.not(await attempt(client, host, port), 'open', `port ${port} stays closed`);
    t.equal(byDefault.connections, 0);
    const open = { name: 'more', enabled: true, rules: [(policyBody(clients, office, { ports: [String(byDefault.port)] })['rules'] as Json[])[0]] };
    let more: Json = {};
    within(t, await openedBy(client, host, byDefault.port, async () => (more = await call(plane, 'POST', '/api/policies', open))), 'a port opened');
    const stream = await openEcho(client, host, byDefault.port);
    const kept = await openEcho(client, host, 7001);
    within(t, await cutBy(stream, () => call(plane, 'DELETE', `/api/policies/${String(more['id'])}`)), 'closing a port reset what was open');
    t.not(await attempt(client, host, byDefault.port), 'open', 'and it is closed');
    await until('the upstream is let go too', () => byDefault.open.size === 0, 2_000);
    kept.write('still');
    t.equal(String((await once(kept, 'data'))[0]), 'still', 'what the change does not concern goes on');
    kept.destroy();
  });

  await t.test('the other direction stays closed', async (t) => {
    let asked = 0;
    client.overlay.accept(
      () => true,
      ({ stream }) => {
        asked += 1;
        stream.destroy();
      },
    );
    const colleague = await joinPeer(t, plane, 'colleague', await makeSetupKey(plane, [office]));
    const address = String((await findPeer(plane, 'client'))['ip']);
    await until('the colleague has a path', () => colleague.status().peers.some(({ path }) => path !== undefined));
    for (const port of [7001, 9000]) t.not(await attempt(colleague, address, port), 'open');
    t.equal(asked, 0, 'the client was not asked');
    await colleague.logout(AbortSignal.timeout(5_000));
    await colleague.close();
  });

  await t.test('IPv6 overlay addresses reach the same port, and no other', async (t) => {
    (await openEcho(client, host6, 7001)).destroy();
    t.not(await attempt(client, host6, byDefault.port), 'open');
  });

  await t.test('a drop rule wins over whatever accepts', async (t) => {
    const stream = await openEcho(client, host, 7001);
    let drop: Json = {};
    const block = policyBody(clients, office, { action: 'drop', ports: ['7001'] });
    within(t, await cutBy(stream, async () => (drop = await call(plane, 'POST', '/api/policies', block))), 'a drop rule cut what was open');
    t.not(await attempt(client, host, 7001), 'open');
    t.not(await attempt(client, host6, 7001), 'open', 'nor by IPv6');
    const path = `/api/policies/${String(drop['id'])}`;
    within(t, await openedBy(client, host, 7001, () => call(plane, 'DELETE', path)), 'without the drop rule it opened');
  });

  await t.test('a policy that is switched off closes, switched on opens', async (t) => {
    const stream = await openEcho(client, host, 7001);
    const path = `/api/policies/${String(policy['id'])}`;
    within(t, await cutBy(stream, () => call(plane, 'PUT', path, policyBody(clients, office, { ports: ['7001'] }, false))), 'switching off');
    await until('the agent forgets the peer', async () => (await peersOf(agent)).length === 0);
    within(t, await openedBy(client, host, 7001, () => call(plane, 'PUT', path, policyBody(clients, office, { ports: ['7001'] }))), 'switching on');
  });

  await t.test('leaving a group cuts, joining it opens', async (t) => {
    const id = String((await findPeer(plane, 'client'))['id']);
    const stream = await openEcho(client, host, 7001);
    const put = (peers: readonly string[]) => call(plane, 'PUT', `/api/groups/${clients}`, { name: 'clients', peers });
    within(t, await cutBy(stream, () => put([])), 'leaving the group');
    within(t, await openedBy(client, host, 7001, () => put([id])), 'joining the group');
  });

  await t.test('a gateway reaches its service’s port, while the service is on, and nothing else', (t) =>
    gatewayReach(t, plane, agent, agentPeer, mapped, byDefault),
  );

  await t.test('a peer that is deleted is cut at once and cannot come back by itself', async (t) => {
    const id = String((await findPeer(plane, 'client'))['id']);
    const stream = await openEcho(client, host, 7001);
    const before = mapped.connections;
    const begun = performance.now();
    within(t, await cutBy(stream, () => call(plane, 'DELETE', `/api/peers/${id}`)), 'deleting the peer cut what was open');
    await until('the agent forgets it', async () => (await peersOf(agent)).length === 0);
    within(t, performance.now() - begun, 'the other side forgot its key');
    await until('the client knows', () => client.state().kind === 'refused', 2_000);
    t.not(await attempt(client, host, 7001), 'open');
    t.equal(mapped.connections, before);
  });

  await t.test('no secret is in the log of either process, at the level debug', async (t) => {
    const identity = await readFile(join(agent.stateDir, 'identity.json'), 'utf8');
    const masterKey = await readFile(join(plane.part.stateDir, 'master.key'), 'utf8');
    const privateKey = String((JSON.parse(identity) as Json)['wireguardPrivateKey']);
    for (const [name, part] of Object.entries({ server: plane.part, agent })) {
      const printed = part.log();
      t.match(printed, /"level"/, `${name} has logged`);
      for (const secret of [agentKey, clientKey, privateKey, masterKey.trim()]) {
        t.notOk(printed.toLowerCase().includes(secret.toLowerCase()), `${name}: no key`);
      }
      t.notMatch(printed, /nb[px]_[A-Za-z0-9]{20}|a long enough one/, `${name}: no token, no password`);
    }
  });
});

/** Plays a gateway with a real token: registers by a mapping's one-time token, then dials whatever it likes. */
async function gatewayReach(
  t: Test,
  plane: Plane,
  agent: Part,
  agentPeer: Json,
  mapped: { readonly connections: number },
  byDefault: { readonly port: number; readonly connections: number },
): Promise<void> {
  const token = await call(plane, 'POST', '/api/reverse-proxies/proxy-tokens', { name: 'test', expires_in: 0 });
  const control = createProxyControl(
    {
      address: { url: plane.url, ca: plane.caPem },
      token: String(token['plain_token']),
      proxyId: asId<ProxyId>('test-gateway'),
      cluster,
      publicPort: 443,
      version: '0.70.0',
    },
    { log: silentLogger, clock: systemClock },
  );
  t.teardown(() => control.close());
  const arrived = Promise.withResolvers<ServiceMapping>();
  control.start({
    change: (change) => {
      if (change.kind === 'set') arrived.resolve(change.mapping);
      return Promise.resolve();
    },
    revoked: () => undefined,
    resynced: () => undefined,
    peersChanged: () => undefined,
  });
  await until('the cluster is known', async () =>
    ((await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).some((entry) => entry['address'] === cluster),
  );
  const request = {
    name: 'app',
    domain: `app.${cluster}`,
    mode: 'http',
    enabled: true,
    auth: { bearer_auth: { enabled: true, distribution_groups: [] } },
    targets: [{ target_id: agentPeer['id'], target_type: 'peer', path: '/', protocol: 'http', port: 7001 }],
  };
  const service = await call(plane, 'POST', '/api/reverse-proxies/services', request);
  const mapping = await arrived.promise;
  const node = await joinPeer(t, plane, 'gateway', undefined, { start: false });
  const { id: serviceId, accountId, authToken: oneTimeToken } = mapping;
  const register = () => control.createProxyPeer({ serviceId, accountId, oneTimeToken, publicKey: node.publicKey }, AbortSignal.timeout(5_000));
  await register();
  await t.rejects(register(), 'the token is good once');
  await node.start(AbortSignal.timeout(10_000));

  const [host, host6] = [String(agentPeer['ip']), String(agentPeer['ipv6'])];
  const before = { mapped: mapped.connections, byDefault: byDefault.connections };
  t.same(
    node.status().peers.map(({ addresses }) => addresses[0]),
    [host],
    'the gateway learns of the target and of nobody else',
  );
  const stream = await openEcho(node, host, 7001);
  t.equal(mapped.connections, before.mapped + 1);
  for (const port of [byDefault.port, 7002, 80, 22]) t.not(await attempt(node, host, port), 'open', `port ${port} stays closed to the gateway`);
  t.not(await attempt(node, host6, byDefault.port), 'open');
  t.equal(byDefault.connections, before.byDefault, 'the upstream on another port saw nothing');

  const path = `/api/reverse-proxies/services/${String(service['id'])}`;
  within(t, await cutBy(stream, () => call(plane, 'PUT', path, { ...request, enabled: false })), 'switching the service off');
  t.not(await attempt(node, host, 7001), 'open');
  await until('the derived rule is gone', async () => !(await peersOf(agent)).some(({ fqdn }) => fqdn.startsWith('proxy-')));
  within(t, await openedBy(node, host, 7001, () => call(plane, 'PUT', path, request)), 'switching the service on');
  const again = await openEcho(node, host, 7001);
  within(t, await cutBy(again, () => call(plane, 'DELETE', path)), 'deleting the service');
}
