import { createServer as createPlain, connect as connectTcp, type Socket } from 'node:net';
import { request as httpsRequest } from 'node:https';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { connect as connectHttp2 } from 'node:http2';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import type { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { silentLogger } from '#lib/log.ts';
import { RpcChannel, type RpcAddress } from '#rpc/client.ts';
import { defineService, type Handlers } from '#rpc/method.ts';
import { createRpcServer, forwardedAddress, type RpcServer, type RpcServerOptions } from '#rpc/server.ts';
import { parsePrefix } from '#lib/ip.ts';
import { ManagementService } from '#wire/proto/gen/management_pb.ts';
import { createTestCa } from '../support/test-ca.ts';

const ca = await createTestCa();
const certificate = await ca.issue(['localhost', 'control.localhost']);
const never = new AbortController().signal;

const handlers: Handlers<typeof ManagementService> = {
  getServerKey: async (_request, call) => ({ key: call.peerAddress }),
  login: async (request) => request,
};

interface Running {
  readonly server: RpcServer;
  readonly channel: RpcChannel;
  readonly address: RpcAddress;
}

async function serve(t: Test, options: Partial<RpcServerOptions> = {}): Promise<Running> {
  const sockets = new WebSocketServer({ noServer: true });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  const server = await createRpcServer(
    {
      host: '127.0.0.1',
      port: 0,
      tls: certificate,
      services: [defineService(ManagementService, handlers)],
      onRequest: (request, response) => response.end(`${request.httpVersion} ${request.url ?? ''}`),
      onUpgrade: (request, socket, head) => sockets.handleUpgrade(request, socket, head, (client) => sockets.emit('connection', client, request)),
      ...options,
    },
    silentLogger,
  );
  t.teardown(() => server.close());
  const tls = !('tls' in options);
  const address = { host: 'control.localhost', port: server.port, tls, ca: tls ? ca.caPem : undefined };
  const channel = new RpcChannel(address);
  t.teardown(() => channel.close());
  return { server, channel, address };
}

function tlsTo(port: number, alpn?: readonly string[]): Promise<TLSSocket> {
  const socket = connectTls({
    host: '127.0.0.1',
    port,
    servername: 'localhost',
    ca: ca.caPem,
    ...(alpn === undefined ? {} : { ALPNProtocols: [...alpn] }),
  });
  return new Promise((resolve, reject) => {
    socket.once('secureConnect', () => resolve(socket));
    socket.once('error', reject);
  });
}

function closed(socket: Socket): Promise<void> {
  socket.on('error', () => undefined);
  socket.resume();
  return new Promise((resolve) => (socket.destroyed ? resolve() : socket.once('close', () => resolve())));
}

void t.test('gRPC, HTTP/1.1 and WebSocket share one TLS port', async (t) => {
  const { server, channel } = await serve(t);
  t.equal((await channel.unary(ManagementService.method.getServerKey, {}, { signal: never })).key, '127.0.0.1');
  const response = await new Promise<string>((resolve, reject) => {
    const options = { host: '127.0.0.1', port: server.port, path: '/api/x', servername: 'localhost', ca: ca.caPem };
    httpsRequest(options, (incoming) => resolve(text(incoming as Readable)))
      .on('error', reject)
      .end();
  });
  t.equal(response, '1.1 /api/x');
  const socket = new WebSocket(`wss://localhost:${server.port}/relay`, { ca: ca.caPem });
  await once(socket, 'open');
  socket.send(Buffer.from('frame'));
  const [echo] = (await once(socket, 'message')) as unknown as [Buffer];
  t.equal(String(echo), 'frame');
  socket.terminate();
});

void t.test('ALPN: h2 only for clients that do not offer http/1.1', async (t) => {
  const { server } = await serve(t);
  const chosen = async (alpn?: readonly string[]): Promise<unknown> => {
    const socket = await tlsTo(server.port, alpn);
    const protocol = socket.alpnProtocol;
    socket.destroy();
    return protocol;
  };
  t.equal(await chosen(['h2']), 'h2');
  t.equal(await chosen(['h2', 'http/1.1']), 'http/1.1', 'browsers');
  t.equal(await chosen(['http/1.1']), 'http/1.1');
  t.equal(await chosen(), false, 'stock relay clients');
  await t.rejects(chosen(['acme-tls/1']), 'no protocol in common');
});

void t.test('without TLS the first bytes decide', async (t) => {
  const { server, channel } = await serve(t, { tls: undefined });
  t.equal((await channel.unary(ManagementService.method.getServerKey, {}, { signal: never })).key, '127.0.0.1');
  t.equal(await (await fetch(`http://127.0.0.1:${server.port}/y`)).text(), '1.1 /y');
  const split = connectTcp(server.port, '127.0.0.1');
  split.write('P');
  await new Promise((resolve) => setImmediate(resolve));
  split.write('OST /z HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
  t.match(await text(split), /1\.1 \/z$/);
});

void t.test('malformed bytes close their connection and harm no other', async (t) => {
  const { server, channel } = await serve(t);
  const plain = await serve(t, { tls: undefined });
  const garbage = [
    Buffer.alloc(64),
    Buffer.from('GET / HTTP/9.9\r\n\r\n'),
    Buffer.from([0x16, 3, 1, 0xff, 0xff, 0, 0, 0, 0]),
    Buffer.from('\r\n\r\n\r\n\r\n '),
  ];
  for (const bytes of garbage) {
    for (const port of [server.port, plain.server.port]) {
      const socket = connectTcp(port, '127.0.0.1');
      socket.end(bytes);
      await closed(socket);
    }
  }
  for (const after of ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage that is no frame of any kind', 'PRI nonsense instead of a preface']) {
    const h2 = await tlsTo(server.port, ['h2']);
    h2.end(after);
    await closed(h2);
  }
  const long = connectTcp(plain.server.port, '127.0.0.1');
  long.end(`GET / HTTP/1.1\r\nhost: x\r\na: ${'b'.repeat(20_000)}\r\n\r\n`);
  await closed(long);
  t.equal((await channel.unary(ManagementService.method.getServerKey, {}, { signal: never })).key, '127.0.0.1');
});

void t.test('a gRPC request that is no such message, or too large, gets a status', async (t) => {
  const { server, channel } = await serve(t);
  await t.rejects(
    channel.unary(ManagementService.method.login, { body: new Uint8Array(2 * 1024 * 1024) }, { signal: never }),
    { code: 'RPC_RESOURCE_EXHAUSTED' },
    'larger than a request may be',
  );
  const session = connectHttp2(`https://localhost:${server.port}`, {
    createConnection: () => connectTls({ host: '127.0.0.1', port: server.port, servername: 'localhost', ca: ca.caPem, ALPNProtocols: ['h2'] }),
  });
  const call = session.request({
    ':method': 'POST',
    ':path': '/management.ManagementService/Login',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  const trailers = once(call, 'trailers') as Promise<[Record<string, string>]>;
  const headers = once(call, 'response') as Promise<[Record<string, string>]>;
  call.end(Buffer.from([0, 0, 0, 0, 3, 0xff, 0xff, 0xff]));
  call.resume();
  const status = await Promise.race([
    trailers,
    headers.then(async ([found]) => (found['grpc-status'] === undefined ? trailers : ([found] as const))),
  ]);
  t.not(status[0]['grpc-status'], '0');
  session.destroy();
  await t.rejects(channel.unary(ManagementService.method.isHealthy, {}, { signal: never }), { code: 'RPC_UNIMPLEMENTED' });
});

void t.test('a silent connection is closed when its time is over', async (t) => {
  const tls = await serve(t, { handshakeMs: 30 });
  const plain = await serve(t, { tls: undefined, handshakeMs: 30 });
  await Promise.all([tls, plain].map(({ server }) => closed(connectTcp(server.port, '127.0.0.1'))));
  t.pass('both closed');
});

void t.test('connections beyond the limit are closed', async (t) => {
  const { server } = await serve(t, { maxConnections: 1 });
  const first = await tlsTo(server.port, ['http/1.1']);
  await closed(connectTcp(server.port, '127.0.0.1'));
  t.equal(first.destroyed, false);
  first.destroy();
});

void t.test('calls have a deadline, can be aborted, and say when nobody is there', async (t) => {
  const accepted: Socket[] = [];
  const silent = createPlain((socket) => accepted.push(socket));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.teardown(() => {
    for (const socket of accepted) socket.destroy();
    silent.close();
  });
  const { port } = silent.address() as { port: number };
  const channel = new RpcChannel({ host: '127.0.0.1', port, tls: false, ca: undefined });
  t.teardown(() => channel.close());
  const { getServerKey } = ManagementService.method;
  await t.rejects(channel.unary(getServerKey, {}, { signal: never, deadlineMs: 50 }), { code: 'RPC_DEADLINE' });
  await t.rejects(channel.unary(getServerKey, {}, { signal: AbortSignal.timeout(20) }), { code: 'RPC_CANCELLED' });
  const { server, address } = await serve(t);
  await server.close();
  const gone = new RpcChannel(address);
  t.teardown(() => gone.close());
  await t.rejects(gone.unary(getServerKey, {}, { signal: never }), { code: 'RPC_UNAVAILABLE' });
  const stranger = await createTestCa();
  const { address: distrusted } = await serve(t);
  const suspicious = new RpcChannel({ ...distrusted, ca: stranger.caPem });
  t.teardown(() => suspicious.close());
  await t.rejects(suspicious.unary(getServerKey, {}, { signal: never }), { code: 'RPC_UNAVAILABLE' }, 'a certificate of another authority');
});

void t.test('a new certificate serves new connections', async (t) => {
  const { server } = await serve(t);
  const serialOf = async (): Promise<string> => {
    const socket = await tlsTo(server.port, ['http/1.1']);
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return serialNumber;
  };
  const before = await serialOf();
  server.setCertificate(await ca.issue(['localhost']));
  t.not(await serialOf(), before);
  t.throws(() => server.setCertificate({ certPem: 'x', keyPem: 'y' }), { code: 'RPC_BAD_CERTIFICATE' });
});

void t.test('X-Forwarded-For is believed only from trusted proxies', async (t) => {
  const trusted = ['10.0.0.0/8', '127.0.0.1'].map((text) => parsePrefix(text)).filter((prefix) => prefix !== undefined);
  t.equal(forwardedAddress('192.0.2.1', '1.2.3.4', trusted), '192.0.2.1');
  t.equal(forwardedAddress('10.0.0.1', undefined, trusted), '10.0.0.1');
  t.equal(forwardedAddress('10.0.0.1', '6.6.6.6, 1.2.3.4, 10.9.9.9', trusted), '1.2.3.4', 'what the client wrote itself is not looked at');
  t.equal(forwardedAddress('10.0.0.1', 'nonsense', trusted), '10.0.0.1');
});
