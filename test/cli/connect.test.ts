// `meshgate connect --tls`: TLS is spoken for programs that do not, with a certificate where the service asks for one.
import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import t from 'tap';
import { listenLocally } from '#cli/connect/local-port.ts';
import { PublishedPort, type PublishedPortOptions } from '#cli/connect/published-port.ts';
import { createTestCa } from '../support/test-ca.ts';
import { until } from '../support/until.ts';

void t.test('TLS with a client certificate; who it is not, gets nothing', async (t) => {
  const ca = await createTestCa();
  const [own, client] = [await ca.issue(['db.localhost']), await ca.issue(['me.localhost'])];
  const seen: string[] = [];
  const server = createServer(
    { cert: own.certPem, key: own.keyPem, ca: ca.caPem, requestCert: true, rejectUnauthorized: true, allowHalfOpen: true },
    (socket: TLSSocket) => {
      seen.push(socket.getPeerX509Certificate()?.subject ?? '');
      socket.on('error', () => undefined);
      socket.pipe(socket);
    },
  );
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const failures: string[] = [];
  const through = async (change: Partial<PublishedPortOptions>): Promise<string | undefined> => {
    const options = {
      domain: 'db.localhost',
      pagePort: 443,
      port,
      ca: ca.caPem,
      token: undefined,
      tls: () => Promise.resolve({ cert: client.certPem, key: client.keyPem }),
    };
    const published = await PublishedPort.find({ ...options, ...change });
    const local = await listenLocally(published, 0, (reason) => failures.push(reason), new AbortController().signal);
    const socket = connect({ host: '127.0.0.1', port: local.port });
    socket.on('error', () => undefined);
    socket.write('hello');
    const answer = await new Promise<string | undefined>((done) => {
      socket.once('data', (bytes: Buffer) => done(bytes.toString()));
      socket.once('close', () => done(undefined));
    });
    socket.destroy();
    await local.close();
    await published.close();
    return answer;
  };
  t.equal(await through({}), 'hello');
  t.match(seen, ['CN=me.localhost']);
  t.equal(await through({ tls: () => Promise.resolve(undefined) }), undefined, 'the service asks for a certificate');
  t.equal(await through({ domain: 'other.localhost' }), undefined, 'a certificate for another name');
  t.equal(await through({ ca: (await createTestCa()).caPem }), undefined, 'another authority');
  await until('it is said', () => failures.some((reason) => /altname|self.signed|issuer|verify/i.test(reason)));
  t.equal(seen.length, 1);
});
