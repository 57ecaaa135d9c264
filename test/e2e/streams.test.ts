// TCP and TLS services through the whole product: a public port at the gateway, the overlay, an agent, a real protocol behind it.
import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { createServer as createTlsServer, connect as tlsConnect } from 'node:tls';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import t from 'tap';
import { postgresMissing, startPostgres } from '../server/store/postgres-cluster.ts';
import { freePort } from '../support/mesh.ts';
import { call, cluster, type Json, startUpstream, until } from '../support/parts.ts';
import { body, meta, publish, startSite } from './stream-site.ts';

const run = promisify(execFile);

async function refuses(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port });
  const [event] = await Promise.race([
    once(socket, 'connect').then(() => ['open']),
    new Promise<string[]>((done) => void socket.once('error', () => done(['refused']))),
  ]);
  socket.destroy();
  return event === 'refused';
}

const why = postgresMissing();
void t.test(
  'PostgreSQL is used through a public port that closes with its service',
  { timeout: 120_000, ...(why === undefined ? {} : { skip: why }) },
  async (t) => {
    const postgres = await startPostgres({ tcpPort: await freePort() });
    t.teardown(() => postgres.stop());
    const site = await startSite(t);
    const port = await freePort();
    const id = await publish(site, body(site, 'db', 'tcp', postgres.port, port));
    const psql = async (sql: string): Promise<string> => {
      const { stdout } = await run('psql', ['-h', '127.0.0.1', '-p', String(port), '-U', 'meshgate', '-d', 'postgres', '-At', '-c', sql], {
        timeout: 30_000,
      });
      return stdout.trim();
    };
    t.equal(await psql('SELECT 6 * 7'), '42');
    t.equal(await psql('SELECT length(repeat($$x$$, 3000000))'), '3000000');
    const query = psql('SELECT pg_sleep(60)');
    const sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)'";
    await until('the query is there', async () => (await psql(sleeping)) === '1', 20_000);
    const begun = performance.now();
    await call(site.plane, 'DELETE', `/api/reverse-proxies/services/${id}`);
    await t.rejects(query, 'what was open is cut');
    const cutMs = performance.now() - begun;
    t.comment(`figure: psql was cut ${cutMs.toFixed(0)} ms after its service was deleted`);
    await until('the port is closed', () => refuses(port), 5_000);
    const page = async (): Promise<readonly Json[]> => (await call(site.plane, 'GET', '/api/events/proxy?search=db'))['data'] as readonly Json[];
    await until('it is in the access log', async () => (await page()).length > 3);
    t.match(await page(), [{ protocol: 'tcp', host: `db.${cluster}` }]);
  },
);

void t.test('a port that another program holds is told by the service’s state, and opens when it is free', { timeout: 120_000 }, async (t) => {
  const site = await startSite(t);
  const upstream = await startUpstream(t);
  const holder = createTlsServer();
  await new Promise<void>((done) => void holder.listen(0, '127.0.0.1', done));
  const port = (holder.address() as AddressInfo).port;
  const id = await publish(site, body(site, 'taken', 'tcp', upstream.port, port), 'error');
  t.match(await meta(site, id), { status_reason: /in use/ });
  await new Promise((done) => void holder.close(done));
  await until('it is active', async () => (await meta(site, id))['status'] === 'active', 20_000);
  const socket = connect({ host: '127.0.0.1', port });
  socket.write('echo');
  t.same(await once(socket, 'data'), [Buffer.from('echo')]);
  socket.destroy();
});

void t.test('a TLS service shares the port of HTTPS; its key never leaves the inside', { timeout: 120_000 }, async (t) => {
  const site = await startSite(t);
  const name = `mail.${cluster}`;
  const { certPem, keyPem } = await site.plane.ca.issue([name]);
  const server = createTlsServer({ cert: certPem, key: keyPem }, (socket) => void socket.pipe(socket));
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done));
  t.teardown(() => server.close());
  await publish(site, body(site, 'mail', 'tls', (server.address() as AddressInfo).port, site.gateway.publicPort));
  const socket = tlsConnect({ host: '127.0.0.1', port: site.gateway.publicPort, servername: name, ca: site.plane.caPem });
  await once(socket, 'secureConnect');
  t.ok(socket.authorized);
  socket.write('through');
  t.same(await once(socket, 'data'), [Buffer.from('through')]);
  socket.destroy();
  const other = tlsConnect({ host: '127.0.0.1', port: site.gateway.publicPort, servername: `none.${cluster}`, ca: site.plane.caPem });
  await t.rejects(once(other, 'secureConnect'), /unrecognized name|alert/i, 'other names are HTTPS’s');
});

void t.test('UDP flows of many clients cross the mesh, and end with their service', { timeout: 120_000 }, async (t) => {
  const site = await startSite(t);
  const target = createSocket('udp4');
  target.on('message', (bytes, from) => target.send(`${bytes.toString()}!`, from.port, from.address));
  target.bind(0, '127.0.0.1');
  await once(target, 'listening');
  t.teardown(() => target.close());
  const holder = createSocket('udp4');
  holder.bind(0, '127.0.0.1');
  await once(holder, 'listening');
  const { port } = holder.address();
  const id = await publish(site, body(site, 'game', 'udp', target.address().port, port), 'error');
  t.match(await meta(site, id), { status_reason: /in use/ });
  await new Promise<void>((done) => void holder.close(() => done()));
  await until('it is active', async () => (await meta(site, id))['status'] === 'active', 20_000);
  const clients = Array.from({ length: 50 }, () => createSocket('udp4'));
  const answers = await Promise.all(
    clients.map(async (client, index) => {
      // A datagram may be lost, as when the way is only being made: it is sent again until it is answered.
      const again = setInterval(() => client.send(`n${index}`, port, '127.0.0.1'), 200);
      const [answer] = (await once(client, 'message')) as [Buffer];
      clearInterval(again);
      return answer.toString();
    }),
  );
  t.same(
    answers,
    clients.map((_client, index) => `n${index}!`),
  );
  t.match(await site.gateway.status(), { streams: { udpFlows: 50 } });
  await call(site.plane, 'DELETE', `/api/reverse-proxies/services/${id}`);
  await until('the flows are gone', async () => ((await site.gateway.status())['streams'] as Json)['udpFlows'] === 0, 5_000);
  for (const client of clients) client.close();
});
