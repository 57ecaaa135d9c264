// HTTP/2 clients: the same handler, the same rules, an HTTP/1.1 upstream behind.
import { connect as h2Connect, type ClientHttp2Session, type ClientHttp2Stream, type OutgoingHttpHeaders } from 'node:http2';
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { H2_RESETS } from '#publish/constants.ts';
import { listenTcp, mapping, path, session, startEcho, startFixture, withLogin, type Fixture } from './harness.ts';

async function client(t: Test, fixture: Fixture, host = 'a.test'): Promise<ClientHttp2Session> {
  const socket = await fixture.connect(host, ['h2']);
  t.equal(socket.alpnProtocol, 'h2');
  const connection = h2Connect(`https://${host}`, { createConnection: () => socket });
  connection.on('error', () => undefined);
  t.teardown(() => connection.destroy());
  return connection;
}

interface Got {
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
  readonly trailers: Readonly<Record<string, unknown>>;
  readonly code: number;
}

function finish(stream: ClientHttp2Stream): Promise<Got> {
  return new Promise((resolve) => {
    let headers = {};
    let trailers = {};
    let body = '';
    stream.on('response', (got) => (headers = got));
    stream.on('trailers', (got) => (trailers = got));
    stream.on('data', (chunk: Buffer) => (body += chunk.toString('latin1')));
    stream.on('error', () => undefined);
    stream.on('close', () => resolve({ headers, body, trailers, code: stream.rstCode }));
  });
}

function ask(connection: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: string): Promise<Got> {
  const stream = connection.request({ ':path': '/', ':authority': 'a.test', ...headers }, { endStream: body === undefined });
  const got = finish(stream);
  if (body !== undefined) stream.end(body);
  return got;
}

void t.test('requests and bodies reach the upstream as HTTP/1.1', async (t) => {
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)])]);
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  const connection = await client(t, fixture);
  const got = await ask(connection, { ':path': '/x%2Fy?z', cookie: ['a=1', '__Host-meshgate=s', 'b=2'], 'remote-user': 'root', 'x-fine': '1' });
  t.match(got.headers, { ':status': 200, 'x-up': 'yes' });
  t.match(echo.received[0], /^GET \/x%2Fy\?z HTTP\/1\.1\r\nHost: a\.test\r\nx-fine: 1\r\ncookie: a=1; b=2\r\nX-Forwarded-For: 127\.0\.0\.1\r\n/);
  t.notMatch(echo.received[0], /root|meshgate=/);
  await ask(connection, { ':method': 'POST', 'content-length': 3 }, 'abc');
  t.match(echo.received[1], /Content-Length: 3\r\n\r\nabc$/);
  await ask(connection, { ':method': 'POST' }, 'abc');
  t.match(echo.received[2], /Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n$/);
  t.match((await ask(connection, { ':method': 'HEAD' })).headers, { ':status': 200, 'content-length': /\d+/ });
  t.match(fixture.entries[0], { status: 200, path: '/x%2Fy', reason: 'public_service' });
});

void t.test('refusals: other hosts, methods, tunnels, missing sign-in', async (t) => {
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)], withLogin), mapping('b.test', [path(echo.port)])]);
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  const connection = await client(t, fixture);
  t.match((await ask(connection, { ':authority': 'b.test' })).headers, { ':status': 421 });
  t.match((await ask(connection, { ':method': 'TRACE' })).headers, { ':status': 405 });
  t.match((await ask(connection, {})).headers, { ':status': 401, 'www-authenticate': /Bearer/, 'content-type': 'application/problem+json' });
  t.match((await ask(connection, { accept: 'text/html' })).headers, { ':status': 302, location: /^https:\/\/idp\.test\// });
  t.match((await ask(connection, { ':method': 'POST', accept: 'text/html' }, 'body')).headers, { ':status': 401 });
  t.match(await ask(connection, { ':path': '/a#b' }), { headers: {}, code: 1 });
  t.match(await ask(connection, { ':path': '/a b' }), { headers: {}, code: 1 });
  t.match(await ask(connection, { host: 'b.test' }), { headers: {}, code: 1 });
  t.match(await ask(connection, { ':method': 'get' }), { headers: {}, code: 1 });
  t.match(await ask(connection, { 'content-length': 5, ':method': 'POST', authorization: 'x' }, 'ab').then(({ code }) => code !== 0), true);
  t.equal(echo.received.length, 0);
  fixture.identity.sessions.set('s1', { kind: 'live', session: session('s1', mapping('a.test', []).id) });
  t.match((await ask(connection, { cookie: '__Host-meshgate=s1' })).headers, { ':status': 200 });
  t.match(echo.received[0], /X-Identity-User: alice@example\.test\r\n/);
});

void t.test('answers stream, trailers come through, broken ones are cut', async (t) => {
  const upstream = await listenTcp((socket: Socket) => {
    socket.on('data', (chunk: Buffer) => {
      const target = chunk.toString('latin1').split(' ')[1];
      if (target === '/cut') socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc');
      else if (target === '/bad') socket.end('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na');
      else if (target === '/204') socket.write('HTTP/1.1 204 No Content\r\n\r\n');
      else socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n');
    });
  });
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)])]);
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  const connection = await client(t, fixture);
  const got = await ask(connection, {});
  t.match(got, { headers: { ':status': 200 }, body: 'abc', trailers: { 'x-sum': '1' }, code: 0 });
  t.notOk('x-hop' in got.headers);
  t.match((await ask(connection, { ':path': '/204' })).headers, { ':status': 204 });
  const cut = await ask(connection, { ':path': '/cut' });
  t.equal(cut.headers[':status'], 200);
  t.not(cut.code, 0);
  t.match((await ask(connection, { ':path': '/bad' })).headers, { ':status': 502 });
});

void t.test('a large body goes both ways under flow control', async (t) => {
  const size = 8 * 1024 * 1024;
  const upstream = await listenTcp((socket: Socket) => {
    let begun = false;
    socket.on('data', (chunk: Buffer) => {
      if (!begun) {
        begun = true;
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
        chunk = chunk.subarray(chunk.indexOf('\r\n\r\n') + 4);
      }
      if (!socket.write(chunk)) {
        socket.pause();
        socket.once('drain', () => socket.resume());
      }
    });
  });
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)])]);
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  const connection = await client(t, fixture);
  const stream = connection.request({ ':path': '/', ':method': 'POST', 'content-length': size });
  let got = 0;
  stream.on('data', (chunk: Buffer) => (got += chunk.length));
  const closed = new Promise((resolve) => stream.once('close', resolve));
  for (let sent = 0; sent < size; sent += 65_536) {
    if (!stream.write(Buffer.alloc(65_536, 1))) await new Promise((resolve) => stream.once('drain', resolve));
  }
  stream.end();
  await closed;
  t.equal(got, size);
  t.match(fixture.entries.at(-1), { bytesUp: size, bytesDown: size });
});

void t.test('a client that opens and resets streams is cut off', async (t) => {
  let reached = 0;
  const upstream = await listenTcp((socket: Socket) => socket.on('data', () => reached++));
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)])]);
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  const connection = await client(t, fixture);
  const closed = new Promise<void>((resolve) => connection.once('close', resolve));
  const more = (): void => {
    for (let i = 0; i < 50 && !connection.closed && !connection.destroyed; i++) {
      const stream = connection.request({ ':path': '/' });
      stream.on('error', () => undefined);
      stream.close(8);
    }
    if (!connection.closed && !connection.destroyed) setImmediate(more);
  };
  more();
  await closed;
  t.ok(fixture.entries.length <= 2 * H2_RESETS + 2, `${fixture.entries.length} requests ran`);
  t.match(
    await (await import('./harness.ts')).exchange(fixture, 'GET /.meshgate/x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n'),
    /^HTTP\/1\.1 404/,
  );
});
