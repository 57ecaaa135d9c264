// WebSockets and other upgrades: admitted like any request, then joined byte for byte, and closed when their trust ends.
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer, type ClientOptions } from 'ws';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { sessionKey } from '#identity/session-cache.ts';
import { SWEEP_MS } from '#publish/constants.ts';
import { noRestrictions } from '#model/service.ts';
import { defaultWeb } from '#model/web.ts';
import { exchange, listenTcp, mapping, path, readUntil, session, startFixture, withLogin, type Fixture } from './harness.ts';

const upgrade = (extra = '', host = 'a.test'): string =>
  `GET /ws HTTP/1.1\r\nHost: ${host}\r\n${extra}Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;

/** An upstream that switches protocols and then echoes bytes. */
async function start(t: Test): Promise<{ fixture: Fixture; heads: string[]; port: number }> {
  const heads: string[] = [];
  const upstream = await listenTcp((socket: Socket) => {
    socket.once('data', (chunk: Buffer) => {
      heads.push(chunk.toString('latin1'));
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello');
      socket.pipe(socket);
    });
  });
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)], withLogin), mapping('b.test', [path(upstream.port)])]);
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  fixture.identity.sessions.set('s1', { kind: 'live', session: session('s1', mapping('a.test', []).id) });
  return { fixture, heads, port: upstream.port };
}

async function open(fixture: Fixture, host: 'a.test' | 'b.test'): Promise<TLSSocket> {
  const socket = await fixture.connect(host);
  const switched = readUntil(socket, (text) => text.endsWith('hello'));
  socket.write(upgrade('Cookie: __Host-meshgate=s1\r\n', host));
  await switched;
  return socket;
}

function closed(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

void t.test('an upgrade is admitted like any request and then carries bytes both ways', async (t) => {
  const { fixture, heads } = await start(t);
  const socket = await fixture.connect('a.test');
  const switched = readUntil(socket, (text) => text.endsWith('hello'));
  socket.write(upgrade('Cookie: __Host-meshgate=s1\r\nX-Identity-User: root\r\n'));
  t.match(
    await switched,
    /^HTTP\/1\.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello$/,
  );
  t.match(heads[0], /X-Identity-User: alice@example\.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n$/);
  t.notMatch(heads[0], /root|Cookie/);
  const echoed = readUntil(socket, (text) => text.endsWith('ping'));
  socket.write('\x81\x04ping', 'latin1');
  t.equal(await echoed, '\x81\x04ping');
  const entry = fixture.nextEntry();
  socket.destroy();
  t.match(await entry, { status: 101, reason: 'session', userId: 'u-alice' });
});

void t.test('without a session, or from another site’s page, nothing is dialled', async (t) => {
  const { fixture, heads } = await start(t);
  for (const extra of [
    '',
    'Cookie: __Host-meshgate=no\r\n',
    'Cookie: __Host-meshgate=s1\r\nOrigin: https://evil.test\r\n',
    'Cookie: __Host-meshgate=s1\r\nOrigin: null\r\n',
    'Accept: text/html\r\n',
  ]) {
    t.match(await exchange(fixture, upgrade(extra).replace('keep-alive', 'close')), /^HTTP\/1\.1 401/, extra);
  }
  t.equal(heads.length, 0);
  const socket = await fixture.connect('a.test');
  const switched = readUntil(socket, (text) => text.endsWith('hello'));
  socket.write(upgrade('Cookie: __Host-meshgate=s1\r\nOrigin: https://a.test\r\n'));
  t.match(await switched, /^HTTP\/1\.1 101/);
  socket.destroy();
});

void t.test('an upgrade to HTTP itself is not taken, nor tunnelled', async (t) => {
  const { startEcho } = await import('./harness.ts');
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)])]);
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  for (const protocol of ['h2c', 'H2C, websocket', 'websocket, HTTP/2.0', 'TLS/1.0']) {
    const answer = await exchange(
      fixture,
      `GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings, close\r\nHTTP2-Settings: AAA\r\nUpgrade: ${protocol}\r\n\r\n`,
    );
    t.match(answer, /^HTTP\/1\.1 200/, protocol);
    t.notMatch(echo.received.at(-1), /upgrade|settings/i);
  }
});

void t.test('a change of routes ends what it concerns, and nothing else', async (t) => {
  const { fixture, port } = await start(t);
  const a = await open(fixture, 'a.test');
  const b = await open(fixture, 'b.test');
  const alive = async (socket: TLSSocket): Promise<void> => {
    const echoed = readUntil(socket, (text) => text.endsWith('x'));
    socket.write('x');
    t.equal(await echoed, 'x');
  };
  // b gets another target; a is the same, made anew.
  const bClosed = closed(b);
  fixture.setRoutes([mapping('a.test', [path(port)], { ...withLogin, authToken: 'another' }), mapping('b.test', [path(port, { basePath: '/new' })])]);
  await bClosed;
  await alive(a);
  const aClosed = closed(a);
  fixture.setRoutes([]);
  await aClosed;
});

void t.test('a stream survives every edit that leaves its route and its access alone', async (t) => {
  const { fixture, port } = await start(t);
  const a = await open(fixture, 'a.test');
  const health = { path: '/', intervalMs: 50, timeoutMs: 1_000, healthyAfter: 1, unhealthyAfter: 1, statuses: [200, 299] } as const;
  const plain = path(port);
  const [target] = plain.targets;
  if (target === undefined) return;
  const heavy = { ...plain, targets: [{ ...target, weight: 7 }], options: { ...plain.options, weight: 7, requestTimeoutMs: 9_000 } };
  const other = { ...target, port: await listenTcp((socket) => socket.destroy()).then(async ({ port: gone, close }) => (await close(), gone)) };
  const edits: Record<string, Parameters<typeof mapping>> = {
    'another token': ['a.test', [plain], { ...withLogin, authToken: 'another' }],
    'weights and times': ['a.test', [heavy], withLogin],
    'health settings': [
      'a.test',
      [plain],
      { ...withLogin, web: { ...defaultWeb, healthCheck: health, retries: 3, ejection: { failures: 1, ejectMs: 1 } } },
    ],
    'an unrelated path': ['a.test', [plain, path(port, { path: '/other' })], withLogin],
    'another target beside it': ['a.test', [{ ...plain, targets: [target, other] }], withLogin],
    'its target taken off the list': ['a.test', [{ ...plain, targets: [other] }], withLogin],
    'access for fewer others': ['a.test', [plain], { ...withLogin, restrictions: { ...noRestrictions, blockedCidrs: ['192.0.2.0/24'] } }],
    'header edits': ['a.test', [plain], { ...withLogin, rewriteRedirects: true, web: { ...defaultWeb, rewriteCookies: true } }],
  };
  for (const [name, edit] of Object.entries(edits)) {
    fixture.setRoutes([mapping(...edit)]);
    // Two sweeps later at the latest it would be gone.
    await new Promise((resolve) => setTimeout(resolve, 2 * SWEEP_MS + 100));
    t.equal(a.destroyed, false, name);
    const echoed = readUntil(a, (text) => text.endsWith('x'));
    a.write('x');
    t.equal(await echoed, 'x', name);
  }
  a.destroy();
  const closing: Record<string, Parameters<typeof mapping>> = {
    'access for fewer': ['a.test', [plain], { ...withLogin, restrictions: { ...noRestrictions, blockedCidrs: ['127.0.0.0/8'] } }],
    'a path that takes it over': ['a.test', [plain, path(port, { path: '/ws' })], withLogin],
    'another rewriting': ['a.test', [path(port, { pathRewrite: 'strip' })], withLogin],
  };
  for (const [name, edit] of Object.entries(closing)) {
    fixture.setRoutes([mapping('a.test', [plain], withLogin)]);
    const stream = await open(fixture, 'a.test');
    const gone = closed(stream);
    fixture.setRoutes([mapping(...edit)]);
    await gone;
    t.pass(name);
  }
});

void t.test('the end of a session closes its streams at once', async (t) => {
  const { fixture } = await start(t);
  const a = await open(fixture, 'a.test');
  const b = await open(fixture, 'b.test');
  const gone = closed(a);
  t.equal(
    fixture.publisher.endStreams((stream) => stream.trustKey === sessionKey('s1')),
    1,
  );
  await gone;
  t.equal(b.destroyed, false);
  b.destroy();
});

void t.test('a session that runs out closes its streams', async (t) => {
  const { fixture } = await start(t);
  fixture.identity.sessions.set('s1', { kind: 'live', session: session('s1', mapping('a.test', []).id, Date.now() + 50) });
  await closed(await open(fixture, 'a.test'));
});

void t.test('WebSocket messages of a real client and server pass whole', async (t) => {
  const http = createServer();
  const server = new WebSocketServer({ server: http });
  server.on('connection', (socket) =>
    socket.on('message', (data, isBinary) =>
      socket.send(Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data as Buffer), { binary: isBinary }),
    ),
  );
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const fixture = await startFixture([mapping('a.test', [path((http.address() as AddressInfo).port)])]);
  t.teardown(async () => {
    await fixture.close();
    server.close();
    http.closeAllConnections();
    await new Promise((resolve) => http.close(resolve));
  });
  const options: ClientOptions & { servername: string } = { ca: fixture.ca, servername: 'a.test', headers: { Host: 'a.test' } };
  const client = new WebSocket(`wss://127.0.0.1:${fixture.port}/chat`, options);
  await new Promise((resolve) => client.once('open', resolve));
  for (const message of [Buffer.from('hi'), Buffer.alloc(1_000_000, 7)]) {
    const answer = new Promise((resolve) => client.once('message', resolve));
    client.send(message);
    t.same(await answer, message);
  }
  const over = new Promise((resolve) => client.once('close', resolve));
  client.close(1000);
  t.equal(await over, 1000);
});
