// Accepted sockets that begin to lend, and what the kernel takes out of the shared buffer at once: every byte once and in order, and never
// those of TLS.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { connect as tlsConnect, createServer as createTlsServer } from 'node:tls';
import t, { type Test } from 'tap';
import { lendAccepted, sharedReadBuffer } from '#lib/lending-socket.ts';
import { sendAtOnce } from '#lib/ffi-socket.ts';
import { splice } from '#lib/splice.ts';
import { createTestCa } from '../support/test-ca.ts';

const bytes = randomBytes(8_000_000);
const digestOf = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

async function accepted(t: Test, server: Server): Promise<{ readonly near: Promise<Socket>; readonly far: Socket }> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const near = once(server, 'connection').then(([socket]) => socket as Socket);
  const far = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  far.on('error', () => undefined);
  t.teardown(async () => {
    far.destroy();
    (await near).destroy();
    server.close();
  });
  return { near, far };
}

void t.test('what came before is lent first, then all the rest, out of the shared buffer', async (t) => {
  const { near, far } = await accepted(t, createServer({ allowHalfOpen: true }));
  const socket = await near;
  far.write(bytes.subarray(0, 1000));
  const [first] = (await once(socket, 'data')) as [Buffer];
  socket.pause();
  socket.unshift(first);
  const hash = createHash('sha256');
  const lender = lendAccepted(socket);
  if (lender === undefined) return t.fail('this Node keeps its sockets in another way');
  let shared = 0;
  const loan = lender.lend((piece) => {
    hash.update(piece);
    if (piece.buffer === sharedReadBuffer.buffer) shared += piece.length;
    setImmediate(() => loan.resume());
    return false;
  });
  socket.resume();
  far.end(bytes.subarray(1000));
  await once(socket, 'end');
  t.equal(hash.digest('hex'), digestOf(bytes));
  t.ok(shared > bytes.length / 2, `${shared} bytes were lent`);
  return t.end();
});

void t.test('a receiver that stops holds its sender back, and everything arrives when it goes on', async (t) => {
  const one = await accepted(t, createServer({ allowHalfOpen: true }));
  const two = await accepted(t, createServer({ allowHalfOpen: true }));
  const [from, to] = [await one.near, await two.near];
  const joined = splice(from, to, { idleMs: Infinity });
  two.far.pause();
  one.far.end(bytes);
  // Nobody takes anything: what is read until then is what kernels hold, and one read.
  let before = -1;
  while (from.bytesRead !== before) {
    before = from.bytesRead;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  t.ok(to.writableLength <= sharedReadBuffer.length, `${to.writableLength} bytes wait in this process`);
  const chunks: Buffer[] = [];
  two.far.on('data', (chunk: Buffer) => chunks.push(chunk)).resume();
  await once(two.far, 'end');
  two.far.end();
  t.equal(digestOf(Buffer.concat(chunks)), digestOf(bytes));
  t.match(await joined, { forward: bytes.length, error: undefined });
});

void t.test('the kernel takes what it has room for, and what waits is not overtaken', async (t) => {
  const { near, far } = await accepted(t, createServer());
  const socket = await near;
  sharedReadBuffer.fill(7);
  const sent = sendAtOnce(socket, sharedReadBuffer.subarray(10, 30));
  t.equal(sent, 20);
  t.same(await once(far, 'data'), [Buffer.alloc(20, 7)]);
  t.equal(sendAtOnce(socket, Buffer.from('own')), 3);
  t.same(await once(far, 'data'), [Buffer.from('own')], 'memory of another');
  far.pause();
  while (sendAtOnce(socket, sharedReadBuffer) > 0) continue;
  socket.write('waits');
  far.resume();
  t.equal(sendAtOnce(socket, sharedReadBuffer), 0, 'something waits');
  t.equal(sendAtOnce(socket, Buffer.from('own')), 0, 'whatever the memory');
  socket.destroy();
  t.equal(sendAtOnce(socket, sharedReadBuffer), 0);
});

void t.test('TLS is neither lent nor sent past', async (t) => {
  const certificate = await (await createTestCa()).issue(['a.test']);
  const server = createTlsServer({ cert: certificate.certPem, key: certificate.keyPem });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const client = tlsConnect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', rejectUnauthorized: false });
  const [socket] = (await once(server, 'secureConnection')) as [Socket];
  t.teardown(() => {
    client.destroy();
    socket.destroy();
    server.close();
  });
  t.equal(lendAccepted(socket), undefined);
  t.equal(sendAtOnce(socket, sharedReadBuffer), 0);
});
