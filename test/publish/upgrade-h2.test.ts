// WebSockets where one side speaks HTTP/2 (RFC 8441): the same checks, the same closing, whatever the versions on both sides.
import {
  createSecureServer,
  createServer as createH2Server,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, Server } from 'node:net';
import t, { type Test } from 'tap';
import { WebSocketServer } from 'ws';
import { sessionKey } from '#identity/session-cache.ts';
import type { ServiceMapping } from '#model/service.ts';
import { plainTls } from '#model/web.ts';
import { h2Client, issue, listenTcp, mapping, path, readUntil, session, startEcho, startFixture, withLogin, type Fixture } from './harness.ts';

const upgradeHead =
  'GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

/** An HTTP/1.1 upstream that switches and echoes; `accept` false answers for another key. */
async function echoUpstream(t: Test, accept = true): Promise<{ port: number; heads: string[] }> {
  const heads: string[] = [];
  const { acceptKey } = await import('#publish/http/websocket-key.ts');
  const server = await listenTcp((socket) => {
    socket.once('data', (chunk: Buffer) => {
      const head = chunk.toString('latin1');
      heads.push(head);
      const key = /sec-websocket-key: (.*)\r\n/i.exec(head)?.[1] ?? '';
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${acceptKey(accept ? key : 'x')}\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello`,
      );
      socket.on('data', (more: Buffer) => socket.write(more));
    });
  });
  t.teardown(server.close);
  return { port: server.port, heads };
}

/** An HTTP/2 upstream that takes tunnels and echoes. */
async function tunnelUpstream(t: Test): Promise<{ port: number; asked: OutgoingHttpHeaders[]; streams: ServerHttp2Stream[] }> {
  const asked: OutgoingHttpHeaders[] = [];
  const streams: ServerHttp2Stream[] = [];
  const server = createH2Server({ settings: { enableConnectProtocol: true } });
  const sessions = new Set<ServerHttp2Session>();
  server.on('session', (made) => sessions.add(made));
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    asked.push(headers);
    streams.push(stream);
    stream.on('error', () => undefined);
    stream.respond({ ':status': 200, 'sec-websocket-protocol': 'chat' });
    stream.write('hello');
    stream.pipe(stream);
  });
  await listen(t, server, sessions);
  return { port: (server.address() as AddressInfo).port, asked, streams };
}

async function listen(t: Test, server: Server, sessions: Iterable<ServerHttp2Session>): Promise<void> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const made of sessions) made.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
}

async function start(t: Test, mappings: readonly ServiceMapping[]): Promise<Fixture> {
  const fixture = await startFixture(mappings);
  fixture.identity.sessions.set('s1', { kind: 'live', session: session('s1', mapping('a.test', []).id) });
  t.teardown(() => fixture.close());
  return fixture;
}

function open(client: ClientHttp2Session, headers: OutgoingHttpHeaders = {}): { stream: ClientHttp2Stream; answer: Promise<OutgoingHttpHeaders> } {
  const stream = client.request(
    { ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'https', ':path': '/chat?x', ':authority': 'a.test', ...headers },
    { endStream: false },
  );
  stream.on('error', () => undefined);
  return { stream, answer: new Promise((resolve) => stream.once('response', resolve)) };
}

async function echoes(t: Test, stream: ClientHttp2Stream, text: string): Promise<void> {
  const got = readUntil(stream, (all) => all.endsWith(text));
  stream.write(text);
  t.match(await got, text);
}

void t.test('from HTTP/2 to HTTP/1.1: an upgrade with a key of ours, like any other', async (t) => {
  const { port, heads } = await echoUpstream(t);
  const fixture = await start(t, [mapping('a.test', [path(port)], withLogin)]);
  const client = await h2Client(t, fixture);
  t.equal(client.remoteSettings.enableConnectProtocol, true);
  const { stream, answer } = open(client, {
    cookie: '__Host-meshgate=s1',
    origin: 'https://a.test',
    'sec-websocket-key': 'mine',
    'x-identity-user': 'root',
  });
  const headers = await answer;
  t.match(headers, { ':status': 200, 'sec-websocket-protocol': 'chat' });
  t.notOk('sec-websocket-accept' in headers || 'upgrade' in headers || 'connection' in headers);
  await echoes(t, stream, 'ping');
  t.match(heads[0], /^GET \/chat\?x HTTP\/1\.1\r\nHost: a\.test\r\n/);
  t.match(heads[0], /\r\nSec-WebSocket-Key: [A-Za-z0-9+/]{22}==\r\n/);
  t.match(heads[0], /\r\nX-Identity-User: alice@example\.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n$/);
  t.notMatch(heads[0], /mine|root|Cookie/i);
  t.equal(heads.length, 1);
  const entry = fixture.nextEntry();
  stream.close();
  t.match(await entry, { status: 101, method: 'GET', reason: 'session', userId: 'u-alice', bytesUp: 4, bytesDown: 9 });
});

void t.test('the same checks as for GET come before anything is dialled', async (t) => {
  const { port, heads } = await echoUpstream(t);
  const fixture = await start(t, [mapping('a.test', [path(port)], withLogin), mapping('b.test', [path(port)])]);
  const client = await h2Client(t, fixture);
  for (const [headers, status] of [
    [{}, 401],
    [{ accept: 'text/html' }, 401],
    [{ cookie: '__Host-meshgate=no' }, 401],
    [{ cookie: '__Host-meshgate=s1', origin: 'https://evil.test' }, 401],
    [{ cookie: '__Host-meshgate=s1', origin: 'null' }, 401],
    [{ ':authority': 'b.test' }, 421],
    [{ ':protocol': 'connect-udp', cookie: '__Host-meshgate=s1' }, 405],
  ] as const) {
    t.match(await open(client, headers).answer, { ':status': status }, JSON.stringify(headers));
  }
  const plain = client.request({ ':method': 'CONNECT', ':authority': 'a.test:22' }, { endStream: false });
  plain.on('error', () => undefined);
  t.match(await new Promise((resolve) => plain.once('response', resolve)), { ':status': 405 });
  t.equal(heads.length, 0);
});

void t.test('the end of trust closes it at once', async (t) => {
  const { port } = await echoUpstream(t);
  const fixture = await start(t, [mapping('a.test', [path(port)], withLogin)]);
  const { stream, answer } = open(await h2Client(t, fixture), { cookie: '__Host-meshgate=s1' });
  await answer;
  await echoes(t, stream, 'ping');
  const gone = new Promise((resolve) => stream.once('close', resolve));
  t.equal(
    fixture.publisher.endStreams((open) => open.trustKey === sessionKey('s1')),
    1,
  );
  await gone;
});

void t.test('an upstream that answers for another key is not believed', async (t) => {
  const { port } = await echoUpstream(t, false);
  const fixture = await start(t, [mapping('a.test', [path(port)])]);
  t.match(await open(await h2Client(t, fixture)).answer, { ':status': 502 });
  t.match(fixture.entries.at(-1), { status: 502, reason: 'upstream_bad_answer' });
});

void t.test('an upstream that does not switch answers like to a GET', async (t) => {
  const echo = await startEcho();
  const fixture = await start(t, [mapping('a.test', [path(echo.port)])]);
  t.teardown(echo.close);
  const { stream, answer } = open(await h2Client(t, fixture));
  t.match(await answer, { ':status': 200, 'x-up': 'yes' });
  stream.close();
});

void t.test('to an HTTP/2 upstream that takes tunnels, from both versions', async (t) => {
  const { port, asked, streams } = await tunnelUpstream(t);
  const fixture = await start(t, [mapping('a.test', [path(port, { httpVersion: 'h2' })])]);
  const { stream, answer } = open(await h2Client(t, fixture));
  t.match(await answer, { ':status': 200, 'sec-websocket-protocol': 'chat' });
  await echoes(t, stream, 'ping');
  const up = new Promise((resolve) => streams[0]?.once('close', resolve));
  stream.destroy();
  await up;

  const socket = await fixture.connect('a.test');
  const greeted = readUntil(socket, (text) => text.endsWith('hello'));
  socket.write(upgradeHead);
  // The accept value is that of RFC 6455's example, for its key.
  t.match(await greeted, /^HTTP\/1\.1 101 .*\r\n(?:.*\r\n)*Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/);
  const echoed = readUntil(socket, (text) => text.endsWith('ping'));
  socket.write('ping');
  t.equal(await echoed, 'ping');
  const closed = new Promise((resolve) => streams[1]?.once('close', resolve));
  socket.destroy();
  await closed;
  for (const headers of asked) {
    t.match(headers, { ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'http', ':authority': 'a.test' });
    t.notOk('sec-websocket-key' in headers || 'upgrade' in headers || 'connection' in headers);
  }
});

void t.test('an HTTP/2 upstream without tunnels is asked over HTTP/1.1', async (t) => {
  const certificate = await issue(['up.test']);
  const http = createSecureServer({ cert: certificate.certPem, key: certificate.keyPem, allowHTTP1: true }, (_request, response) => {
    response.end('plain');
  });
  const sessions = new Set<ServerHttp2Session>();
  http.on('session', (made) => sessions.add(made));
  const sockets = new WebSocketServer({ noServer: true });
  http.on('upgrade', (request: Parameters<WebSocketServer['handleUpgrade']>[0], socket, head) =>
    sockets.handleUpgrade(request, socket, head, (made) => made.on('message', (data) => made.send(data, { binary: false }))),
  );
  await listen(t, http, sessions);
  t.teardown(() => {
    for (const made of sockets.clients) made.terminate();
  });
  const tls = { ...plainTls, serverName: 'up.test' };
  const fixture = await start(t, [mapping('a.test', [path((http.address() as AddressInfo).port, { httpVersion: 'h2', protocol: 'https', tls })])]);
  const client = await h2Client(t, fixture);
  for (let i = 0; i < 2; i++) {
    const { stream, answer } = open(client, { 'sec-websocket-version': '13' });
    t.match(await answer, { ':status': 200 });
    const echoed = readUntil(stream, (text) => text.endsWith('hi'));
    // One masked text frame; the server's comes back without a mask.
    stream.write(Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]));
    t.equal(await echoed, '\x81\x02hi');
    stream.close();
  }
  t.match(await new Promise((resolve) => client.request({ ':path': '/', ':authority': 'a.test' }).once('response', resolve)), { ':status': 200 });
});
