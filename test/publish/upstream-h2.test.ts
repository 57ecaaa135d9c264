// HTTP/2 towards upstreams: what arrives, one connection for many, and what happens when the upstream refuses, leaves or dies.
import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream, type Settings } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import t, { type Test } from 'tap';
import { ManualClock } from '../support/manual-clock.ts';
import { PING_ANSWER_MS, PING_SUSPECT_MS, REPLAY_BYTES, UPSTREAM_SESSIONS } from '#publish/constants.ts';
import { exchange, h2Client, listenTcp, mapping, path, startEcho, startFixture, type Fixture } from './harness.ts';

interface Upstream {
  readonly port: number;
  readonly server: Http2Server;
  readonly sessions: ServerHttp2Session[];
  readonly seen: IncomingHttpHeaders[];
}

async function serve(
  t: Test,
  answer: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, count: number) => void,
  settings: Settings = {},
): Promise<Upstream> {
  const sessions: ServerHttp2Session[] = [];
  const seen: IncomingHttpHeaders[] = [];
  const server = createServer({ settings });
  server.on('session', (made) => {
    sessions.push(made);
    made.on('error', () => undefined);
  });
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => undefined);
    seen.push(headers);
    answer(stream, headers, seen.length);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const made of sessions) made.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return { port: (server.address() as AddressInfo).port, server, sessions, seen };
}

const ok = (stream: ServerHttp2Stream): void => {
  stream.respond({ ':status': 200, 'x-up': 'yes' });
  stream.end('ok');
};

async function start(t: Test, port: number, changes: Parameters<typeof startFixture>[1] = {}): Promise<Fixture> {
  const fixture = await startFixture([mapping('a.test', [path(port, { httpVersion: 'h2' })])], changes);
  t.teardown(() => fixture.close());
  return fixture;
}

const get = 'GET /x%2Fy?z HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';
const post = (body: string): string => `POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

void t.test('requests arrive as HTTP/2, with nothing of HTTP/1.1 connections', async (t) => {
  const up = await serve(t, ok);
  const fixture = await start(t, up.port);
  const answer = await exchange(
    fixture,
    'GET /x%2Fy?z HTTP/1.1\r\nHost: a.test\r\nX-Odd: \xe9\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nConnection: close, x-hop, te\r\n\r\n',
  );
  t.match(answer, /^HTTP\/1\.1 200 \r\n(?:.*\r\n)*x-up: yes\r\n(?:.*\r\n)*\r\n2\r\nok\r\n0\r\n\r\n$/);
  const [headers = {}] = up.seen;
  t.match(headers, { ':method': 'GET', ':path': '/x%2Fy?z', ':authority': 'a.test', ':scheme': 'http', te: 'trailers', 'x-odd': '\xe9' });
  for (const name of ['connection', 'host', 'keep-alive', 'x-hop', 'transfer-encoding']) t.notOk(name in headers, name);
});

void t.test('fields that should stand once are passed on as often as they came', async (t) => {
  const raw: string[][] = [];
  const up = await serve(t, ok);
  up.server.on('stream', (_stream, _headers, _flags, rawHeaders: string[]) => raw.push(rawHeaders));
  const fixture = await start(t, up.port);
  const answer = await exchange(
    fixture,
    get.replace('Connection:', 'Referer: a\r\nReferer: b\r\nUser-Agent: c\r\nUser-Agent: d\r\nCookie: e=1\r\nCookie: f=2\r\nConnection:'),
  );
  t.match(answer, /^HTTP\/1\.1 200/);
  const got = (raw[0] ?? []).filter((_value, i, all) => i % 2 === 1 && /^(?:referer|user-agent|cookie)$/.test(all[i - 1] ?? ''));
  t.same(got, ['a', 'b', 'c', 'd', 'e=1', 'f=2']);
});

void t.test('many requests of many clients share one connection', async (t) => {
  const waiting: ServerHttp2Stream[] = [];
  const up = await serve(t, (stream) => {
    waiting.push(stream);
    if (waiting.length === 20) for (const each of waiting) ok(each);
  });
  const fixture = await start(t, up.port);
  const answers = await Promise.all(Array.from({ length: 20 }, () => exchange(fixture, get)));
  t.ok(answers.every((answer) => answer.includes('ok')));
  t.equal(up.sessions.length, 1);
});

void t.test('what the upstream allows at a time opens further connections, up to a number', async (t) => {
  const waiting: ServerHttp2Stream[] = [];
  const up = await serve(t, (stream) => void waiting.push(stream), { maxConcurrentStreams: 2 });
  const fixture = await start(t, up.port);
  const client = await h2Client(t, fixture);
  const statuses: Promise<unknown>[] = [];
  for (let i = 0; i < UPSTREAM_SESSIONS * 2 + 1; i++) {
    const stream = client.request({ ':path': '/', ':authority': 'a.test' });
    stream.on('error', () => undefined);
    statuses.push(new Promise((resolve) => stream.once('response', (headers) => resolve(headers[':status']))));
  }
  t.equal(await Promise.race(statuses), 503);
  t.equal(up.sessions.length, UPSTREAM_SESSIONS);
  t.equal(waiting.length, UPSTREAM_SESSIONS * 2);
  for (const stream of waiting) ok(stream);
  t.equal((await Promise.all(statuses)).filter((status) => status === 200).length, UPSTREAM_SESSIONS * 2);
});

void t.test('a refused stream is sent again, body and all, and only while all of it is at hand', async (t) => {
  const bodies: string[] = [];
  const up = await serve(t, (stream, headers, count) => {
    let body = '';
    stream.on('data', (chunk: Buffer) => {
      body += chunk.toString('latin1');
      if (headers['content-length'] === String(REPLAY_BYTES * 2) && body.length > REPLAY_BYTES) stream.close(7);
    });
    stream.on('end', () => {
      bodies.push(body);
      if (count % 2 === 0) ok(stream);
      else stream.close(7);
    });
  });
  const fixture = await start(t, up.port);
  t.match(await exchange(fixture, post('abc')), /^HTTP\/1\.1 200/);
  t.same(bodies, ['abc', 'abc']);
  t.match(await exchange(fixture, post('x'.repeat(REPLAY_BYTES * 2))), /^HTTP\/1\.1 502/);
  t.equal(up.seen.length, 3);
});

void t.test('a server that refuses everything is not asked for ever', async (t) => {
  const up = await serve(t, (stream) => stream.close(7));
  const fixture = await start(t, up.port);
  t.match(await exchange(fixture, post('abc')), /^HTTP\/1\.1 502/);
  t.match(fixture.entries.at(-1), { status: 502, reason: 'upstream_closed' });
  t.ok(up.seen.length <= 3, String(up.seen.length));
});

function frame(type: number, flags: number, id: number, payload: Uint8Array = new Uint8Array()): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
}

const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PING = 6;
const GOAWAY = 7;
/** `:status: 200` of HPACK's static table, with END_HEADERS; and END_STREAM too. */
const headOf = (id: number, end: boolean): Buffer => frame(HEADERS, end ? 5 : 4, id, Buffer.from([0x88]));
const number32 = (...values: number[]): Buffer => {
  const out = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) out.writeUInt32BE(value, i * 4);
  return out;
};

/** An upstream that speaks frames: `on` gets each frame of each connection. */
async function frames(
  t: Test,
  on: (socket: Socket, type: number, id: number, connection: number) => void,
): Promise<{ port: number; sockets: Set<Socket>; connections: () => number }> {
  let connections = 0;
  const server = await listenTcp((socket) => {
    const connection = ++connections;
    let pending = Buffer.alloc(0);
    let begun = false;
    socket.write(frame(SETTINGS, 0, 0));
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      if (!begun && pending.length >= 24) {
        begun = true;
        pending = pending.subarray(24);
      }
      while (pending.length >= 9 && pending.length >= 9 + pending.readUIntBE(0, 3)) {
        const size = pending.readUIntBE(0, 3);
        const type = pending[3] ?? 0;
        const id = pending.readUInt32BE(5);
        pending = pending.subarray(9 + size);
        on(socket, type, id, connection);
      }
    });
  });
  t.teardown(server.close);
  return { port: server.port, sockets: server.sockets, connections: () => connections };
}

void t.test('a goodbye moves what stands above its last stream to a new connection, whatever its method', async (t) => {
  for (const code of [0, 11]) {
    const up = await frames(t, (socket, type, id, connection) => {
      if (type !== HEADERS) return;
      if (connection > 1) socket.write(headOf(id, true));
      else if (id === 1) socket.write(headOf(id, true));
      else socket.end(frame(GOAWAY, 0, 0, number32(1, code)));
    });
    const fixture = await start(t, up.port);
    t.match(await exchange(fixture, get), /^HTTP\/1\.1 200/);
    t.match(await exchange(fixture, post('abc')), /^HTTP\/1\.1 200/, `code ${code}`);
    t.match(await exchange(fixture, get), /^HTTP\/1\.1 200/);
    t.equal(up.connections(), 2);
  }
});

void t.test('what the upstream has looked at is not sent again', async (t) => {
  let requests = 0;
  const up = await frames(t, (socket, type, id) => {
    if (type !== HEADERS) return;
    requests++;
    socket.end(frame(GOAWAY, 0, 0, number32(id, 2)));
  });
  const fixture = await start(t, up.port);
  t.match(await exchange(fixture, post('abc')), /^HTTP\/1\.1 502/);
  t.equal(requests, 1);
});

void t.test('a connection that closes without a word costs only what may not be repeated', async (t) => {
  const up = await frames(t, (socket, type, id) => {
    if (type !== HEADERS) return;
    if (id === 1) socket.write(headOf(id, true));
    else socket.destroy();
  });
  const fixture = await start(t, up.port);
  t.match(await exchange(fixture, get), /^HTTP\/1\.1 200/);
  t.match(await exchange(fixture, get), /^HTTP\/1\.1 200/, 'again on a new connection');
  t.match(await exchange(fixture, post('abc')), /^HTTP\/1\.1 502/);
});

void t.test('an answer that breaks off never looks whole', async (t) => {
  for (const [name, end] of [
    ['reset', (socket: Socket, id: number) => socket.write(frame(RST_STREAM, 0, id, number32(2)))],
    ['cancel', (socket: Socket, id: number) => socket.write(frame(RST_STREAM, 0, id, number32(8)))],
    ['reset without an error', (socket: Socket, id: number) => socket.write(frame(RST_STREAM, 0, id, number32(0)))],
    ['close', (socket: Socket) => socket.end()],
    ['goodbye', (socket: Socket) => socket.end(frame(GOAWAY, 0, 0, number32(1, 0)))],
  ] as const) {
    const up = await frames(t, (socket, type, id) => {
      if (type !== HEADERS) return;
      socket.write(Buffer.concat([headOf(id, false), frame(0, 0, id, Buffer.from('part'))]));
      setImmediate(() => end(socket, id));
    });
    const fixture = await start(t, up.port);
    const answer = await exchange(fixture, get);
    t.match(answer, /^HTTP\/1\.1 200 /, name);
    t.notMatch(answer, /\r\n0\r\n/, name);
    const stream = (await h2Client(t, fixture)).request({ ':path': '/', ':authority': 'a.test' });
    stream.on('error', () => undefined);
    stream.resume();
    await new Promise((resolve) => stream.once('close', resolve));
    t.not(stream.rstCode, 0, name);
  }
});

void t.test('what is no HTTP/2 is told so', async (t) => {
  const echo = await startEcho();
  t.teardown(echo.close);
  const fixture = await start(t, echo.port);
  const silent = await listenTcp((socket) => socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')));
  t.teardown(silent.close);
  fixture.setRoutes([mapping('a.test', [path(silent.port, { httpVersion: 'h2' })])]);
  t.match(await exchange(fixture, get), /^HTTP\/1\.1 502/);
  t.match(fixture.entries.at(-1), { reason: 'upstream_protocol' });
  t.equal(echo.received.length, 0);
});

void t.test('a request that signs its connection in has one of its own, over HTTP/1.1', async (t) => {
  const echo = await startEcho();
  t.teardown(echo.close);
  const fixture = await start(t, echo.port);
  t.match(await exchange(fixture, get.replace('Connection:', 'Authorization: NTLM abc\r\nConnection:')), /Authorization: NTLM abc/);
  t.equal(echo.received.length, 1);
});

void t.test('a dead connection is found by a ping and replaced', async (t) => {
  const clock = new ManualClock();
  let pings = 0;
  const up = await frames(t, (socket, type, id, connection) => {
    if (type === PING) pings++;
    if (type === HEADERS && (id === 1 || connection > 1)) socket.write(headOf(id, true));
  });
  const fixture = await start(t, up.port, { clock });
  const client = await h2Client(t, fixture);
  const ask = (): ReturnType<typeof client.request> => client.request({ ':path': '/', ':authority': 'a.test' }).on('error', () => undefined);
  const status = (stream: ReturnType<typeof ask>): Promise<unknown> =>
    new Promise((resolve) => stream.once('response', (headers) => resolve(headers[':status'])));
  t.equal(await status(ask()), 200);
  const hanging = ask();
  const entry = fixture.nextEntry();
  await new Promise((resolve) => setImmediate(resolve));
  await until(() => fixture.publisher.stats().streams === 1);
  clock.advance(PING_SUSPECT_MS);
  hanging.close(8);
  await entry;
  await until(() => pings === 1);
  clock.advance(PING_ANSWER_MS + 1_000);
  t.equal(await status(ask()), 200);
  t.equal(up.connections(), 2);
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
