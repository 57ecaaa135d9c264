// TLS that ends at the gateway with TCP behind it: what the client sees, what the target receives, and who is turned away before it hears of it.
import { once } from 'node:events';
import { connect as tlsConnect, createServer as createTlsServer, type ConnectionOptions, type TLSSocket } from 'node:tls';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { noRestrictions, type ServiceMapping } from '#model/service.ts';
import { defaultStream, type TlsTermination } from '#model/stream.ts';
import { readProxyHeader } from '#wire/proxy-protocol.ts';
import { createTestCa } from '../../support/test-ca.ts';
import { issue, path } from '../harness.ts';
import { dial, entry, gone, open, stream, upstream, type Door } from './door.ts';

interface Site {
  readonly door: Door;
  readonly ca: string;
}

function terminated(
  domain: string,
  targets: readonly number[],
  change: Partial<TlsTermination> = {},
  more: Partial<ServiceMapping> = {},
): ServiceMapping {
  const termination = { alpn: [], tellTarget: false, clientCertificate: undefined, ...change };
  return stream(domain, targets, { mode: 'tls', stream: { ...defaultStream, termination }, ...more });
}

async function site(t: Test, services: readonly ServiceMapping[]): Promise<Site> {
  const certificate = await issue(['db.test', '*.wild.test']);
  const door = await open(
    t,
    services,
    true,
    new Map([
      ['db.test', certificate],
      ['x.wild.test', certificate],
    ]),
  );
  return { door, ca: certificate.ca };
}

async function connect({ door, ca }: Site, servername: string, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = tlsConnect({ host: '127.0.0.1', port: door.port, servername, ca, ...options });
  socket.on('error', () => undefined);
  await once(socket, 'secureConnect');
  return socket;
}

async function say(socket: TLSSocket, text: string): Promise<string> {
  let answer = '';
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
  socket.end(text);
  await new Promise<void>((done) => void socket.once('close', () => done()));
  return answer;
}

void t.test('what was inside TLS comes to the target, and back', async (t) => {
  const target = await upstream(t);
  const here = await site(t, [terminated('db.test', [target.port]), terminated('*.wild.test', [target.port])]);
  for (const name of ['db.test', 'x.wild.test']) {
    const socket = await connect(here, name);
    t.ok(socket.authorized);
    t.equal(await say(socket, 'hello'), 'HELLO');
  }
  t.same(target.received, ['hello', 'hello']);
  t.match(await entry(here.door), { protocol: 'tls', host: 'db.test', bytesUp: 5, bytesDown: 5, reason: 'done', authSuccess: true });
  const large = await connect(here, 'db.test');
  const bytes = 'x'.repeat(3_000_000);
  t.equal((await say(large, bytes)).length, bytes.length);
});

void t.test('who may not pass, or does not finish the handshake, reaches nothing', async (t) => {
  const target = await upstream(t);
  const here = await site(t, [terminated('db.test', [target.port], {}, { restrictions: { ...noRestrictions, blockedCidrs: ['127.0.0.0/8'] } })]);
  await t.rejects(connect(here, 'db.test'));
  t.match(await entry(here.door), { reason: 'ip_denied', authSuccess: false }, 'told before the handshake');
  here.door.apply([terminated('db.test', [target.port])]);
  await t.rejects(connect(here, 'db.test', { maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'ALL@SECLEVEL=0' }));
  t.match(await entry(here.door, 2), { reason: 'tls_handshake', authSuccess: false });
  const plain = dial(here.door);
  plain.end('GET / HTTP/1.1\r\n\r\n');
  await gone(plain);
  t.same(here.door.passedOn, [''], 'other bytes are whose the port is');
  t.same(target.received, []);
  t.equal(target.sockets.size, 0);
});

void t.test('a protocol is agreed on and offered to a target that speaks TLS; without a list none is', async (t) => {
  const { certPem, keyPem, ca } = await issue(['inside.test']);
  const seen: unknown[] = [];
  const server = createTlsServer({ cert: certPem, key: keyPem, ALPNProtocols: ['postgresql'] }, (socket) => {
    seen.push(socket.alpnProtocol, socket.servername);
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done));
  t.teardown(() => server.close());
  const port = (server.address() as AddressInfo).port;
  const service = (alpn: readonly string[], tls: Partial<ServiceMapping['paths'][number]['options']['tls']>): ServiceMapping => {
    const base = path(port, { tls: { ca: tls.ca, serverName: tls.serverName, clientCertificate: undefined, clientKey: undefined } });
    const targets = [{ protocol: 'tls', host: '127.0.0.1', port, basePath: '', weight: 1 }] as const;
    return terminated('db.test', [port], { alpn }, { paths: [{ ...base, targets }] });
  };
  const here = await site(t, [service(['postgresql'], { ca, serverName: 'inside.test' })]);
  const socket = await connect(here, 'db.test', { ALPNProtocols: ['h2', 'postgresql'] });
  t.equal(socket.alpnProtocol, 'postgresql');
  t.equal(await say(socket, 'through'), 'through');
  t.same(seen, ['postgresql', 'inside.test']);
  await t.rejects(connect(here, 'db.test', { ALPNProtocols: ['h2'] }), /application.protocol/i);
  here.door.apply([service([], { ca, serverName: 'inside.test' })]);
  const without = await connect(here, 'db.test', { ALPNProtocols: ['h2'] });
  t.equal(without.alpnProtocol, false);
  t.equal(await say(without, 'too'), 'too');
  t.same(seen.slice(2), [false, 'inside.test']);
  here.door.apply([service([], { ca, serverName: 'other.test' })]);
  t.equal(await say(await connect(here, 'db.test'), 'x'), '', 'a target that is somebody else gets nothing');
  t.match(here.door.entries.at(-1), { reason: 'upstream_tls', bytesUp: 0 });
  t.equal(seen.length, 4);
});

void t.test('whose certificate it was stands in the log, and is told to targets that are to know', async (t) => {
  const ca = await createTestCa();
  const alice = await ca.issue(['alice']);
  const heads: Buffer[] = [];
  const target = await upstream(t, (text) => {
    heads.push(Buffer.from(text, 'latin1'));
    return 'ok';
  });
  const clientCertificate = { ca: ca.caPem, required: true };
  const proxied = path(target.port, { proxyProtocol: true });
  const paths = [{ ...proxied, targets: [{ protocol: 'tcp' as const, host: '127.0.0.1', port: target.port, basePath: '', weight: 1 }] }];
  const here = await site(t, [terminated('db.test', [target.port], { clientCertificate, tellTarget: true, alpn: ['x'] }, { paths })]);
  const socket = await connect(here, 'db.test', { cert: alice.certPem, key: alice.keyPem, ALPNProtocols: ['x'] });
  t.equal(await say(socket, 'hello'), 'ok');
  t.match(await entry(here.door), { reason: 'done', clientCertificate: 'CN=alice' });
  const head = heads[0] ?? Buffer.alloc(0);
  const header = readProxyHeader(head);
  if (header.kind !== 'header') throw new TypeError(header.kind);
  t.match(header.header, { kind: 'proxied', transport: 'tcp', source: { address: '127.0.0.1' } });
  t.equal(head.toString('latin1', header.length), 'hello');
  const vectors = readVectors(head.subarray(16 + 12, header.length));
  t.equal(vectors.get(0x01)?.toString(), 'x');
  t.equal(vectors.get(0x02)?.toString(), 'db.test');
  const ssl = vectors.get(0x20) ?? Buffer.alloc(5);
  t.equal(ssl[0], 0x07);
  t.equal(ssl.readUInt32BE(1), 0, 'verified');
  const inner = readVectors(ssl.subarray(5));
  t.equal(inner.get(0x21)?.toString(), 'TLSv1.3');
  t.equal(inner.get(0x22)?.toString(), 'alice');
  t.match(inner.get(0x23)?.toString(), /^TLS_/);
  here.door.apply([
    terminated('db.test', [target.port], { clientCertificate: { ...clientCertificate, required: false }, tellTarget: true }, { paths }),
  ]);
  await say(await connect(here, 'db.test'), 'nobody');
  const second = heads[1] ?? Buffer.alloc(0);
  const more = readProxyHeader(second);
  const anonymous = readVectors(second.subarray(28, more.kind === 'header' ? more.length : 28)).get(0x20) ?? Buffer.alloc(5);
  t.equal(anonymous[0], 0x01, 'TLS, and no certificate');
  t.equal(anonymous.readUInt32BE(1), 1);
});

function readVectors(bytes: Buffer): ReadonlyMap<number, Buffer> {
  const vectors = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length; at += 3 + bytes.readUInt16BE(at + 1))
    vectors.set(bytes[at] ?? 0, bytes.subarray(at + 3, at + 3 + bytes.readUInt16BE(at + 1)));
  return vectors;
}

void t.test('who is known at a service is cut off with it, and a changed authority asks anew', async (t) => {
  const target = await upstream(t);
  const [first, second] = [await createTestCa(), await createTestCa()];
  const service = (ca: string): ServiceMapping => terminated('db.test', [target.port], { clientCertificate: { ca, required: true } });
  const here = await site(t, [service(first.caPem)]);
  const alice = await first.issue(['alice']);
  const socket = await connect(here, 'db.test', { cert: alice.certPem, key: alice.keyPem });
  socket.write('open');
  while (here.door.open() === 0 || target.sockets.size === 0) await new Promise((done) => void setImmediate(done));
  const closed = new Promise((done) => void socket.once('close', done));
  here.door.apply([service(second.caPem)]);
  await closed;
  t.match(await entry(here.door), { reason: 'service_changed' });
  const again = await connect(here, 'db.test', { cert: alice.certPem, key: alice.keyPem });
  t.equal(await say(again, 'hello'), '');
  t.match(await entry(here.door, 2), { reason: 'tls_client_certificate', authSuccess: false });
  t.same(target.received, []);
});
