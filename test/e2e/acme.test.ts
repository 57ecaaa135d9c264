// A service made at the API gets its certificate by itself: control plane, gateway and agent as processes, Pebble as the authority, curl as the visitor.
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { startPebble, withoutPebble } from '../support/pebble.ts';
import {
  call,
  findPeer,
  makeGroup,
  makeSetupKey,
  startAgentPart,
  startGatewayPart,
  startPart,
  startPlane,
  until,
  type Json,
} from '../support/parts.ts';

const curl = promisify(execFile);

void t.test('service by API → certificate by Pebble → curl fetches the page', { skip: withoutPebble, timeout: 110_000 }, async (t) => {
  const [plane, pebble] = await Promise.all([startPlane(t), startPebble(t)]);
  const app = createServer((_request, response) => response.end('the page'));
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
  t.teardown(() => app.close());
  const appPort = (app.address() as AddressInfo).port;

  const authorityCa = join(plane.folder, 'pebble-ca.pem');
  await writeFile(authorityCa, pebble.ca);
  const gateway = await startGatewayPart(t, plane, {
    listen: `127.0.0.1:${pebble.tlsPort}`,
    httpListen: `127.0.0.1:${pebble.httpPort}`,
    acme: { authorities: [{ directory: pebble.directory, caFile: authorityCa }], email: 'admin@example.com', termsAgreed: true },
  });
  await startAgentPart(t, plane, 'office', await makeSetupKey(plane, [await makeGroup(plane, 'machines')]), {});
  const connected = async (path: string): Promise<boolean> => ((await plane.api.call('GET', path)) as readonly unknown[]).length > 0;
  await until(
    'agent and gateway are known',
    async () => (await connected('/api/peers?name=office')) && (await connected('/api/reverse-proxies/clusters')),
  );
  const peer = await findPeer(plane, 'office');

  const domain = 'app.edge.localhost';
  const made = await call(plane, 'POST', '/api/reverse-proxies/services', {
    name: 'app',
    domain,
    enabled: true,
    targets: [{ target_id: peer['id'], target_type: 'peer', path: '/', protocol: 'http', port: appPort, enabled: true }],
  });
  const service = (): Promise<Json> => call(plane, 'GET', `/api/reverse-proxies/services/${String(made['id'])}`);
  const meta = async (): Promise<Json> => (await service())['meta'] as Json;
  const ms = await until('the service is active', async () => (await meta())['status'] === 'active', 40_000);
  t.comment(`figure: service by API to active with a certificate from Pebble in ${Math.round(ms)} ms`);
  t.ok((await meta())['certificate_issued_at']);

  const roots = join(plane.folder, 'issued-root.pem');
  await writeFile(roots, await pebble.root());
  const at = ['--resolve', `${domain}:${pebble.tlsPort}:127.0.0.1`, '--resolve', `${domain}:${pebble.httpPort}:127.0.0.1`];
  const page = await curl('curl', ['-sS', '--cacert', roots, ...at, `https://${domain}:${pebble.tlsPort}/`]);
  t.equal(page.stdout, 'the page');
  const plain = await curl('curl', [
    '-sS',
    '-o',
    '/dev/null',
    '-w',
    '%{http_code} %{redirect_url}',
    ...at,
    `http://${domain}:${pebble.httpPort}/x?y=1`,
  ]);
  t.equal(plain.stdout, `308 https://${domain}:${pebble.tlsPort}/x?y=1`);

  t.match(await gateway.status(), { certificates: [{ names: [domain], source: 'acme', state: 'valid', nextAction: 'renew' }] });
  await until('the API lists it', async () => {
    const [certificate] = (await plane.api.call('GET', '/api/reverse-proxies/certificates')) as readonly Json[];
    return (
      certificate !== undefined &&
      certificate['state'] === 'valid' &&
      String(certificate['names']) === domain &&
      certificate['next_action'] === 'renew'
    );
  });
  // The certificate is kept for the host: a service that is made again has it at once.
  await call(plane, 'DELETE', `/api/reverse-proxies/services/${String(made['id'])}`);
  await until('it is gone', async () => ((await gateway.status())['services'] as readonly unknown[]).length === 0);
  const again = await call(plane, 'POST', '/api/reverse-proxies/services', {
    name: 'app',
    domain,
    enabled: true,
    targets: [{ target_id: peer['id'], target_type: 'peer', path: '/', protocol: 'http', port: appPort, enabled: true }],
  });
  const served = await until('it is served again', async () => {
    const state = ((await gateway.status())['services'] as readonly Json[])[0];
    return state !== undefined && state['id'] === again['id'] && state['state'] === 'active';
  });
  t.comment(`figure: service by API to served, certificate present, in ${Math.round(served)} ms`);
  t.ok(served < 5_000, 'the bar is one second on a quiet machine');
});

void t.test(
  'two gateways of a cluster: one order, a challenge that the other answers, one certificate at both',
  { skip: withoutPebble, timeout: 110_000 },
  async (t) => {
    const [plane, pebble] = await Promise.all([startPlane(t), startPebble(t)]);
    const authorityCa = join(plane.folder, 'pebble-ca.pem');
    await writeFile(authorityCa, pebble.ca);
    const acme = { authorities: [{ directory: pebble.directory, caFile: authorityCa }], termsAgreed: true };
    // Whoever orders: the authority always looks at the first, as behind a balancer that does not know better.
    const first = await startGatewayPart(t, plane, { listen: `127.0.0.1:${pebble.tlsPort}`, acme });
    const token = await call(plane, 'POST', '/api/reverse-proxies/proxy-tokens', { name: 'second', expires_in: 0 });
    const settings = {
      control: { url: plane.url, caFile: plane.caFile },
      cluster: 'edge.localhost',
      listen: '127.0.0.1:0',
      certDir: join(plane.folder, 'certs'),
      acme,
    };
    const second = await startPart(t, 'gateway', join(plane.folder, 'second-gateway'), settings, {
      MESHGATE_GATEWAY_TOKEN: String(token['plain_token']),
    });
    await startAgentPart(t, plane, 'office', await makeSetupKey(plane, [await makeGroup(plane, 'machines')]), {});
    const both = async (): Promise<boolean> => {
      const [cluster] = (await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[];
      return cluster?.['connected_proxies'] === 2 && ((await plane.api.call('GET', '/api/peers?name=office')) as readonly unknown[]).length > 0;
    };
    await until('both gateways are known', both);
    const peer = await findPeer(plane, 'office');
    const domains = Array.from({ length: 6 }, (_none, index) => `n${index}.edge.localhost`);
    for (const domain of domains) {
      const target = { target_id: peer['id'], target_type: 'peer', path: '/', protocol: 'http', port: 80, enabled: true };
      await call(plane, 'POST', '/api/reverse-proxies/services', { name: domain, domain, enabled: true, targets: [target] });
    }
    const valid = async (part: typeof second): Promise<number> =>
      ((await part.status())['certificates'] as readonly Json[]).filter((certificate) => certificate['state'] === 'valid').length;
    await until('both have all', async () => (await valid(first)) === domains.length && (await valid(second)) === domains.length, 60_000);
    const count = (part: typeof second, words: string): number => part.log().split(words).length - 1;
    const orders = [first, second].map((part) => count(part, '"certificate issued"'));
    t.equal((orders[0] ?? 0) + (orders[1] ?? 0), domains.length, `one order for each name: ${orders.join(' + ')}`);
    t.equal(count(first, 'taken from another gateway') + count(second, 'taken from another gateway'), domains.length);
    t.comment(`figure: orders by gateway: ${orders.join(' and ')} of ${domains.length}`);
  },
);
