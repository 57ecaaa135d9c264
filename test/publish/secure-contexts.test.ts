// TLS contexts come and go; session tickets stay good, each for its own certificate.
import { createServer, type AddressInfo, type Server } from 'node:net';
import { connect, TLSSocket, type SecureContext } from 'node:tls';
import t, { type Test } from 'tap';
import { SecureContexts } from '#publish/tls/secure-contexts.ts';
import { SECURE_CONTEXTS, TICKET_KEY_MS } from '#publish/constants.ts';
import { readCertificate, type Certificate } from '#publish/index.ts';
import { createTestCa } from '../support/test-ca.ts';

async function certificateOf(): Promise<Certificate> {
  const { certPem, keyPem } = await (await createTestCa()).issue(['a.test']);
  const found = readCertificate('test', certPem, keyPem);
  if ('problem' in found) throw new Error(found.problem);
  return found;
}

/** Serves handshakes with whatever context is set. */
async function serve(t: Test, first: SecureContext): Promise<{ use(context: SecureContext): void; handshake(session?: Buffer): Promise<TLSSocket> }> {
  let context = first;
  const server: Server = createServer((socket) => {
    const secured = new TLSSocket(socket, { isServer: true, secureContext: context });
    secured.on('error', () => undefined);
    secured.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  t.teardown(() => new Promise((resolve) => server.close(resolve)));
  return {
    use: (next) => {
      context = next;
    },
    handshake: (session) =>
      new Promise((resolve, reject) => {
        const socket = connect({
          host: '127.0.0.1',
          port,
          servername: 'a.test',
          rejectUnauthorized: false,
          ...(session === undefined ? {} : { session }),
        });
        socket.once('secureConnect', () => resolve(socket));
        socket.once('error', reject);
      }),
  };
}

void t.test('a ticket is good with a context made anew, not with another certificate, and not after its secret', async (t) => {
  const certificate = await certificateOf();
  const contexts = new SecureContexts();
  const { use, handshake } = await serve(t, contexts.get(certificate, 0));
  const first = await handshake();
  const ticket = await new Promise<Buffer>((resolve) => first.once('session', resolve));
  first.destroy();
  const resumed = async (): Promise<boolean> => {
    const socket = await handshake(ticket);
    const reused = socket.isSessionReused();
    socket.destroy();
    return reused;
  };
  t.equal(await resumed(), true);
  const context = contexts.get(certificate, 0);
  for (let i = 0; i < SECURE_CONTEXTS; i++) contexts.get({ ...certificate, fingerprint: `${i}` }, 0);
  const anew = contexts.get(certificate, TICKET_KEY_MS - 1);
  t.not(anew, context, 'the old context has been let go');
  use(anew);
  t.equal(await resumed(), true);
  use(contexts.get({ ...certificate, fingerprint: 'other' }, TICKET_KEY_MS - 1));
  t.equal(await resumed(), false);
  use(contexts.get(certificate, TICKET_KEY_MS));
  t.equal(await resumed(), false);
  use(new SecureContexts().get(certificate, 0));
  t.equal(await resumed(), false, 'another process has another secret');
});

void t.test('contexts in use are kept, up to a bound', async (t) => {
  const certificate = await certificateOf();
  const contexts = new SecureContexts();
  const kept = contexts.get(certificate, 0);
  for (let i = 0; i < 2 * SECURE_CONTEXTS; i++) {
    contexts.get({ ...certificate, fingerprint: `${i}` }, 0);
    if (i % 100 === 0) contexts.get(certificate, 0);
  }
  t.equal(contexts.size, SECURE_CONTEXTS);
  t.equal(contexts.get(certificate, 0), kept);
});
