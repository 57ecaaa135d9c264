// Services whose targets are behind routing peers: the gateway dials into the network of an agent, by address and by name.
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Agent, request } from 'undici';
import { hostDial } from '#lib/host-dial.ts';
import { splice } from '#lib/splice.ts';
import {
  call,
  cluster,
  findPeer,
  joinPeer,
  type Json,
  makeGroup,
  makeSetupKey,
  type Part,
  type Plane,
  startAgentPart,
  startGatewayPart,
  startPlane,
  until,
} from '../support/parts.ts';

/** An address of this host that is not loopback: what stands "behind" the agent. */
const inside = Object.values(networkInterfaces())
  .flat()
  .find((entry) => entry?.family === 'IPv4' && !entry.internal)?.address;

async function startSite(t: Test, host: string, name: string): Promise<number> {
  const server = createServer((asked, answer) => answer.end(`${name} ${asked.method ?? ''} ${asked.url ?? ''} for ${asked.headers.host ?? ''}`));
  server.listen(0, host);
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function addCertificate(plane: Plane, name: string): Promise<void> {
  const { certPem, keyPem } = await plane.ca.issue([name]);
  const directory = join(plane.folder, 'certs');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, `${name}.key`), keyPem, { mode: 0o600 });
  await writeFile(join(directory, `${name}.crt`), certPem);
}

/** A network with one resource behind one peer; returns the resource. */
async function addNetwork(plane: Plane, name: string, address: string, router: string): Promise<string> {
  const network = String((await call(plane, 'POST', '/api/networks', { name }))['id']);
  const resource = await call(plane, 'POST', `/api/networks/${network}/resources`, { name, address, enabled: true, groups: [] });
  const peer = String((await findPeer(plane, router))['id']);
  await call(plane, 'POST', `/api/networks/${network}/routers`, { peer, metric: 100, masquerade: true, enabled: true });
  return String(resource['id']);
}

async function publish(plane: Plane, host: string, target: Json): Promise<string> {
  const body = {
    name: host,
    domain: host,
    mode: 'http',
    enabled: true,
    pass_host_header: true,
    rewrite_redirects: false,
    auth: { bearer_auth: { enabled: false, distribution_groups: [] } },
    targets: [{ path: '/', protocol: 'http', enabled: true, ...target }],
  };
  return String((await call(plane, 'POST', '/api/reverse-proxies/services', body))['id']);
}

async function serviceOf(gateway: Part, domain: string): Promise<Json | undefined> {
  return ((await gateway.status())['services'] as readonly Json[]).find((service) => service['domain'] === domain);
}

void t.test(
  'a service behind an agent, by the address of a host in its network and by a name of it',
  inside === undefined ? { skip: 'needs an IPv4 address of this host that is not loopback' } : { timeout: 120_000 },
  async (t) => {
    const plane = await startPlane(t);
    const [byAddress, byName] = [`address.${cluster}`, `name.${cluster}`];
    await addCertificate(plane, byAddress);
    await addCertificate(plane, byName);
    const gateway = await startGatewayPart(t, plane);
    await until('the gateway is known', async () => ((await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).length > 0);
    const key = await makeSetupKey(plane, [await makeGroup(plane, 'office')]);

    // The agent as a process of its own carries the address; it grants no port of its own.
    await startAgentPart(t, plane, 'office', key, { defaultHost: '' });
    await until('the agent has joined', async () => ((await plane.api.call('GET', '/api/peers?name=office')) as readonly Json[]).length > 0);
    const addressPort = await startSite(t, inside ?? '', 'address');
    const resource = await addNetwork(plane, 'office', inside ?? '', 'office');
    await publish(plane, byAddress, { target_id: resource, target_type: 'host', port: addressPort });

    // The name is known to a peer in this process, as no test should depend on the system's resolver.
    const namePort = await startSite(t, '127.0.0.1', 'name');
    const lab = await joinPeer(t, plane, 'lab', key);
    const resolved: string[] = [];
    lab.overlay.carry({
      dial: (target, options) => hostDial({ ...target, host: '127.0.0.1' }, options),
      connection: ({ stream }, upstream) => void splice(stream, upstream, { idleMs: 60_000 }).catch(() => undefined),
      openUdp: () => ({ send: () => undefined, close: () => undefined }),
      resolve: (name, family) => {
        resolved.push(name);
        return Promise.resolve({ addresses: family === 4 ? ['198.51.100.7'] : [], ttlSeconds: 30 });
      },
    });
    const nameResource = await addNetwork(plane, 'lab', 'wiki.corp.test', 'lab');
    await publish(plane, byName, { target_id: nameResource, target_type: 'domain', port: namePort });

    const dispatcher = new Agent({
      pipelining: 0,
      connect: { ca: plane.caPem, lookup: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]) },
    });
    t.teardown(() => dispatcher.close());
    const ask = async (host: string): Promise<readonly [number, string]> => {
      const response = await request(`https://${host}:${gateway.publicPort}/x?y=1`, { dispatcher, signal: AbortSignal.timeout(20_000) });
      return [response.statusCode, await response.body.text()];
    };
    for (const [host, name] of [
      [byAddress, 'address'],
      [byName, 'name'],
    ] as const) {
      await until(`${host} is served`, async () => (await serviceOf(gateway, host))?.['state'] === 'active', 20_000);
      const [status, text] = await ask(host);
      t.same([status, text], [200, `${name} GET /x?y=1 for ${host}:${gateway.publicPort}`]);
    }
    t.ok(resolved.includes('wiki.corp.test'), 'the name was asked for at the peer that leads there');

    await lab.close();
    await until('the gateway says what is wrong', async () => (await serviceOf(gateway, byName))?.['state'] === 'tunnel_not_created', 30_000);
    t.match((await serviceOf(gateway, byName))?.['reason'], /lab/);
    t.match(await ask(byAddress), [200], 'the other one goes on');
  },
);
