// The PROXY protocol towards upstreams: every connection says whose it is, and is nobody else's.
import { createSecureServer, type ServerHttp2Stream } from 'node:http2';
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { plainTls } from '#model/web.ts';
import { readProxyHeader, type ProxyHeader } from '#wire/proxy-protocol.ts';
import { exchange, h2Client, issue, listenTcp, mapping, path, readUntil, startFixture } from './harness.ts';

interface Upstream {
  readonly port: number;
  readonly headers: ProxyHeader[];
  /** Requests by connection. */
  readonly requests: string[][];
}

async function serve(t: Test): Promise<Upstream> {
  const headers: ProxyHeader[] = [];
  const requests: string[][] = [];
  const server = await listenTcp((socket) => {
    let held = Buffer.alloc(0);
    let own: string[] | undefined;
    socket.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      if (own === undefined) {
        const read = readProxyHeader(held);
        if (read.kind === 'fault') socket.destroy();
        if (read.kind !== 'header') return;
        headers.push(read.header);
        held = held.subarray(read.length);
        requests.push((own = []));
      }
      if (!held.includes('\r\n\r\n')) return;
      own.push(held.toString('latin1').split('\r\n')[0] ?? '');
      held = Buffer.alloc(0);
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  });
  t.teardown(server.close);
  return { port: server.port, headers, requests };
}

const get = (target: string, more = ''): string => `GET ${target} HTTP/1.1\r\nHost: a.test\r\n${more}\r\n`;

async function ask(socket: Socket, text: string): Promise<string> {
  const answer = readUntil(socket, (all) => all.endsWith('ok'));
  socket.write(text);
  return answer;
}

void t.test('each version, with the client’s own address and port; connections are kept for their client alone', async (t) => {
  for (const proxyProtocolVersion of [1, 2] as const) {
    const up = await serve(t);
    const fixture = await startFixture([mapping('a.test', [path(up.port, { proxyProtocol: true, proxyProtocolVersion })])]);
    t.teardown(() => fixture.close());
    const a = await fixture.connect('a.test');
    const b = await fixture.connect('a.test');
    for (const target of ['/1', '/2']) {
      t.match(await ask(a, get(`/a${target}`)), /ok$/);
      t.match(await ask(b, get(`/b${target}`)), /ok$/);
    }
    t.same(up.requests, [
      ['GET /a/1 HTTP/1.1', 'GET /a/2 HTTP/1.1'],
      ['GET /b/1 HTTP/1.1', 'GET /b/2 HTTP/1.1'],
    ]);
    t.same(
      up.headers,
      [a, b].map((socket) => ({
        kind: 'proxied',
        transport: 'tcp',
        source: { address: '127.0.0.1', port: socket.localPort },
        destination: { address: '127.0.0.1', port: fixture.port },
      })),
    );
    a.destroy();
    b.destroy();
  }
});

void t.test('behind a trusted proxy the client is whom that names, request by request', async (t) => {
  const up = await serve(t);
  const fixture = await startFixture([mapping('a.test', [path(up.port, { proxyProtocol: true })])], { trustedProxies: ['127.0.0.1'] });
  t.teardown(() => fixture.close());
  const socket = await fixture.connect('a.test');
  for (const address of ['203.0.113.1', '203.0.113.2', '203.0.113.1']) await ask(socket, get('/', `X-Forwarded-For: ${address}\r\n`));
  t.match(up.headers, [{ source: { address: '203.0.113.1', port: 0 } }, { source: { address: '203.0.113.2', port: 0 } }]);
  t.equal(up.headers.length, 2);
  socket.destroy();
});

void t.test('a route without it is given none, also to the same target', async (t) => {
  const seen: string[] = [];
  const server = await listenTcp((socket) => {
    socket.on('data', (chunk: Buffer) => {
      seen.push(chunk.toString('latin1'));
      if (chunk.includes('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  });
  const fixture = await startFixture([
    mapping('a.test', [path(server.port, { path: '/said', proxyProtocol: true, proxyProtocolVersion: 1 }), path(server.port)]),
  ]);
  t.teardown(() => Promise.all([fixture.close(), server.close()]));
  await exchange(fixture, get('/said', 'Connection: close\r\n'));
  t.match(seen[0], /^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ \d+\r\n/);
  await exchange(fixture, get('/', 'Connection: close\r\n'));
  t.match(seen.at(-1), /^GET \/ /);
});

void t.test('before TLS and HTTP/2 too', async (t) => {
  const certificate = await issue(['up.test']);
  const http = createSecureServer({ cert: certificate.certPem, key: certificate.keyPem });
  http.on('stream', (stream: ServerHttp2Stream) => {
    stream.respond({ ':status': 200 });
    stream.end('ok');
  });
  const headers: ProxyHeader[] = [];
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('readable', () => {
      const bytes = socket.read() as Buffer;
      const read = readProxyHeader(bytes);
      if (read.kind !== 'header') return socket.destroy();
      headers.push(read.header);
      socket.unshift(bytes.subarray(read.length));
      return http.emit('connection', socket);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const options = { proxyProtocol: true, httpVersion: 'h2', protocol: 'https', tls: { ...plainTls, serverName: 'up.test' } } as const;
  const fixture = await startFixture([mapping('a.test', [path((server.address() as AddressInfo).port, options)])]);
  t.teardown(async () => {
    await fixture.close();
    await new Promise((resolve) => server.close(resolve));
  });
  const [a, b] = [await h2Client(t, fixture), await h2Client(t, fixture)];
  const status = (client: typeof a): Promise<unknown> =>
    new Promise((resolve) => client.request({ ':path': '/', ':authority': 'a.test' }).once('response', (got) => resolve(got[':status'])));
  t.same(await Promise.all([status(a), status(a), status(b), status(a)]), [200, 200, 200, 200]);
  t.equal(headers.length, 2, 'one connection for each client');
});
