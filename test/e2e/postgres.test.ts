// The server process on PostgreSQL: the same flow as on SQLite, a restart that forgets nothing, and two servers on one database.
import { once } from 'node:events';
import t from 'tap';
import type { MeshNode } from '#mesh/index.ts';
import { postgresMissing, startPostgres } from '../server/store/postgres-cluster.ts';
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
} from '../support/parts.ts';

const changeMs = 1_000;

async function opens(node: MeshNode, host: string, port: number): Promise<boolean> {
  try {
    const stream = await node.overlay.dial({ host, port }, { signal: AbortSignal.timeout(200) });
    stream.on('error', () => undefined).destroy();
    return true;
  } catch {
    return false;
  }
}

void t.test('a control plane on PostgreSQL', async (t) => {
  const missing = postgresMissing();
  if (missing !== undefined) {
    t.plan(0, missing);
    return;
  }
  const postgres = await startPostgres();
  t.teardown(() => postgres.stop());
  const store = await postgres.createDatabase();
  const first = await startPlane(t, { store });
  const upstream = await startUpstream(t, (socket) => {
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok'));
  });
  const [clients, office] = [await makeGroup(first, 'clients'), await makeGroup(first, 'office')];
  const officeKey = await makeSetupKey(first, [office]);
  const agent = await startAgentPart(t, first, 'office-agent', officeKey, { targets: [{ port: 7001, target: `127.0.0.1:${upstream.port}` }] });
  const client = await joinPeer(t, first, 'client', await makeSetupKey(first, [clients]));
  await until('the agent is there', async () => ((await agent.status()) as { state: { kind: string } }).state.kind === 'running');
  const target = await findPeer(first, 'office-agent');
  const host = String(target['ip']);

  await t.test('set-up, keys, sign-in of peers, a service and its mapping at a gateway', async (t) => {
    const gateway = await startGatewayPart(t, first);
    await until('the cluster is known', async () =>
      ((await first.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).some((entry) => entry['address'] === cluster),
    );
    await call(first, 'POST', '/api/reverse-proxies/services', {
      name: 'app',
      domain: `app.${cluster}`,
      mode: 'http',
      enabled: true,
      auth: { bearer_auth: { enabled: true, distribution_groups: [] } },
      targets: [{ target_id: target['id'], target_type: 'peer', path: '/', protocol: 'http', port: 7001 }],
    });
    const took = await until('the mapping is at the gateway', async () => JSON.stringify(await gateway.status()).includes(`app.${cluster}`));
    t.comment(`figure: PostgreSQL: a new service at the gateway after ${took.toFixed(0)} ms`);
    await until('the gateway knows its target', async () => JSON.stringify((await gateway.status())['mesh']).includes(host), 20_000);
    t.equal((await gateway.end('SIGTERM')).code, 0);
  });

  await call(first, 'POST', '/api/policies', policyBody(clients, office, { ports: ['7001'] }));
  await until('the policy holds', () => opens(client, host, 7001));

  await t.test('two servers on one database: a change through one is at the other’s peer within a second', async (t) => {
    const second = await startPlane(t, { store, beside: first });
    const other = await joinPeer(t, second, 'other', await makeSetupKey(first, []));
    const id = String((await findPeer(second, 'other'))['id']);
    t.equal(id, String((await findPeer(first, 'other'))['id']), 'both tell the same');
    t.same(other.status().peers, []);

    const told = async (what: string, change: () => Promise<unknown>, look: () => boolean): Promise<void> => {
      const begun = performance.now();
      await change();
      await until(what, look);
      const ms = performance.now() - begun;
      t.comment(`figure: two servers: ${what} after ${ms.toFixed(0)} ms`);
      t.ok(ms < changeMs, what);
    };
    const members = (peers: readonly string[]) => call(first, 'PUT', `/api/groups/${clients}`, { name: 'clients', peers });
    const clientId = String((await findPeer(first, 'client'))['id']);
    await told(
      'group joined',
      () => members([clientId, id]),
      () => other.status().peers.length === 1,
    );
    await told(
      'group left',
      () => members([clientId]),
      () => other.status().peers.length === 0,
    );
    await told(
      'joined again',
      () => members([clientId, id]),
      () => other.status().peers.length === 1,
    );
    await told(
      'peer deleted',
      () => call(first, 'DELETE', `/api/peers/${id}`),
      () => other.state().kind === 'refused',
    );
    t.equal((await second.part.end('SIGTERM')).code, 0);
  });

  await t.test('a restart keeps everything', async (t) => {
    const list = async (): Promise<unknown> =>
      Promise.all(
        ['/api/groups', '/api/policies', '/api/setup-keys', '/api/users', '/api/reverse-proxies/services'].map((path) => first.api.call('GET', path)),
      );
    const before = await list();
    const serial = BigInt(client.status().serial);
    const stream = await client.overlay.dial({ host, port: 7001 }, { signal: AbortSignal.timeout(5_000) });
    stream.on('error', () => undefined);
    t.equal((await first.part.end('SIGTERM')).code, 0);
    t.equal(await opens(client, host, 7001), true, 'peers go on while the control plane is away');
    await first.restart();
    const pick = (value: unknown): unknown =>
      JSON.parse(JSON.stringify(value, (key, entry: unknown) => (key === 'last_login' || key === 'status' || key === 'meta' ? undefined : entry)));
    t.same(pick(await list()), pick(before));
    await until('the client is connected again', () => client.status().links.every(({ connected }) => connected), 20_000);
    stream.write('GET / HTTP/1.1\r\n\r\n');
    t.match(String((await once(stream, 'data'))[0]), /200 OK/, 'a connection that was open has lived through it');
    await call(first, 'POST', '/api/groups', { name: 'later' });
    await call(first, 'PUT', `/api/groups/${office}`, { name: 'office', peers: [] });
    await until('the change is there', () => client.status().peers.length === 0);
    t.ok(BigInt(client.status().serial) > serial, 'the serial went on from where it was');
  });
});
