// What else can be exposed: a UDP port, and another host where a policy lets the peer reach it.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import t, { type Test } from 'tap';
import { runCommand, startApp, startExposeMesh } from '../support/expose.ts';
import { freePort } from '../support/mesh.ts';
import { call, findPeer, policyBody, until } from '../support/parts.ts';

/** An address of this host that is not loopback: what stands "behind" the router. */
const inside = Object.values(networkInterfaces())
  .flat()
  .find((entry) => entry?.family === 'IPv4' && !entry.internal)?.address;

async function udp(t: Test, port = 0): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind(port, '127.0.0.1');
  await once(socket, 'listening');
  t.teardown(() => void socket.close());
  return socket;
}

void t.test('a UDP port: open while it is exposed, and not after', { timeout: 120_000 }, async (t) => {
  const mesh = await startExposeMesh(t, { peer_expose_public: true });
  const agent = await mesh.startAgent('laptop', { defaultHost: '' });
  const echo = await udp(t);
  echo.on('message', (bytes, from) => echo.send(bytes, from.port, from.address));
  const listen = await freePort();
  const args = ['expose', String(echo.address().port), '--udp', '--public', '--listen-port', String(listen), '--state-dir', agent.stateDir];
  const cli = runCommand(t, args);
  t.match(await cli.line(), new RegExp(`^udp://[a-z2-7]{12}\\.edge\\.localhost:${listen}$`));
  const client = await udp(t);
  let answers = 0;
  client.on('message', () => (answers += 1));
  const ask = (): void => client.send('hello', listen, '127.0.0.1');
  await until(
    'it answers',
    () => {
      ask();
      return answers > 0;
    },
    30_000,
  );
  t.equal(await cli.end('SIGINT'), 0);
  await until(
    'the gateway has closed the port',
    async () => !JSON.stringify((await mesh.gateway.status())['services'] ?? []).includes('edge.localhost'),
  );
  const late = await udp(t);
  let heard = 0;
  late.on('message', () => (heard += 1));
  for (let i = 0; i < 20; i++) late.send('hello', listen, '127.0.0.1');
  await mesh.gateway.status();
  t.equal(heard, 0);
  await until('and the agent forwards nothing more', async () => (await agent.status())['udpFlows'] === 0);
});

void t.test(
  'another host: only through a policy that lets the peer reach it, and no longer than that',
  inside === undefined ? { skip: 'needs an IPv4 address of this host that is not loopback' } : { timeout: 120_000 },
  async (t) => {
    const host = inside ?? '';
    const mesh = await startExposeMesh(t, { peer_expose_public: true }, { MESHGATE_SERVER_EXPOSE_TTL: '4s' });
    const { plane } = mesh;
    const site = await startApp(t, 'hello from another host', host);
    const agent = await mesh.startAgent('laptop', { defaultHost: '' });
    await mesh.startAgent('router', { defaultHost: '' });
    await until('both have joined', () =>
      Promise.all([findPeer(plane, 'laptop'), findPeer(plane, 'router')]).then(
        () => true,
        () => false,
      ),
    );
    const target = `${host}:${site.port}`;
    const expose = () => runCommand(t, ['expose', target, '--public', '--state-dir', agent.stateDir]);
    const refused = expose();
    t.equal(await refused.exited, 1);
    t.match(refused.err.join('\n'), /No policy lets this peer reach that host and port/);

    const network = String((await call(plane, 'POST', '/api/networks', { name: 'lan' }))['id']);
    const lan = String((await call(plane, 'POST', '/api/groups', { name: 'lan' }))['id']);
    const request = { name: 'site', address: `${host}/32`, enabled: true, groups: [lan] };
    await call(plane, 'POST', `/api/networks/${network}/resources`, request);
    const router = String((await findPeer(plane, 'router'))['id']);
    await call(plane, 'POST', `/api/networks/${network}/routers`, { peer: router, metric: 100, masquerade: true, enabled: true });
    const policy = await call(plane, 'POST', '/api/policies', policyBody(mesh.group, lan, { ports: [String(site.port)] }));
    const cli = expose();
    const domain = new URL(await cli.line()).hostname;
    await until('it opens', async () => (await mesh.get(domain)).text === 'hello from another host', 30_000);
    await call(plane, 'DELETE', `/api/policies/${String(policy['id'])}`);
    t.equal(await cli.exited, 1, 'the end of the policy is its end');
    t.match(cli.err.join('\n'), /No policy lets this peer reach that host and port/);
    await until('it is gone', async () => (await mesh.get(domain)).status === 404);
  },
);
