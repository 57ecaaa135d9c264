// Upstreams that answer what a client's protocol cannot carry, or more than they were asked for: the exchange ends, the process and its neighbours go on.
import { connect as h2Connect, type ClientHttp2Session } from 'node:http2';
import t, { type Test } from 'tap';
import { listenTcp, mapping, path, startFixture, exchange, type Fixture } from './harness.ts';

async function h2(t: Test, fixture: Fixture): Promise<ClientHttp2Session> {
  const socket = await fixture.connect('a.test', ['h2']);
  const connection = h2Connect('https://a.test', { createConnection: () => socket });
  connection.on('error', () => undefined);
  t.teardown(() => connection.destroy());
  return connection;
}

interface Got {
  readonly status: unknown;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

function get(connection: ClientHttp2Session, target = '/', method = 'GET'): Promise<Got> {
  return new Promise((resolve) => {
    const stream = connection.request({ ':path': target, ':authority': 'a.test', ':method': method });
    let headers: Readonly<Record<string, unknown>> = {};
    let body = '';
    stream.on('response', (got) => (headers = got));
    stream.on('data', (chunk: Buffer) => (body += chunk.toString('latin1')));
    stream.on('error', () => undefined);
    stream.on('close', () => resolve({ status: headers[':status'], headers, body }));
    stream.end();
  });
}

/** An upstream that answers every request with the text for its path. */
async function startScript(t: Test, answers: Readonly<Record<string, string>>): Promise<{ port: number; connections: () => number }> {
  let connections = 0;
  const server = await listenTcp((socket) => {
    connections++;
    socket.on('data', (chunk: Buffer) => {
      const target = /^[A-Z]+ (\S+)/.exec(chunk.toString('latin1'))?.[1] ?? '';
      socket.write(answers[target] ?? 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', 'latin1');
    });
  });
  t.teardown(server.close);
  return { port: server.port, connections: () => connections };
}

void t.test('an answer that HTTP/2 has no form for', async (t) => {
  const rest = 'Content-Length: 2\r\n\r\nhi';
  const upstream = await startScript(t, {
    '/twice': `HTTP/1.1 200 OK\r\nX-Content-Type-Options: nosniff\r\nX-Content-Type-Options: nosniff\r\nDate: a\r\nDate: b\r\n${rest}`,
    '/cookies': `HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n${rest}`,
    '/settings': `HTTP/1.1 200 OK\r\nHTTP2-Settings: x\r\n${rest}`,
    '/999': `HTTP/1.1 999 Odd\r\n${rest}`,
    '/205': `HTTP/1.1 205 Reset\r\n${rest}`,
    '/early': `HTTP/1.1 103 Early\r\nLink: </a>\r\nDate: a\r\nDate: b\r\nHTTP2-Settings: x\r\n\r\nHTTP/1.1 200 OK\r\n${rest}`,
    '/trailers': `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nDate: a\r\nDate: b\r\nHTTP2-Settings: x\r\n\r\n`,
  });
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)])]);
  t.teardown(fixture.close);
  const connection = await h2(t, fixture);
  for (const target of ['/twice', '/settings', '/early', '/trailers', '/cookies']) {
    t.match(await get(connection, target), { status: 200, body: 'hi' }, target);
  }
  t.match((await get(connection, '/cookies')).headers['set-cookie'], ['a=1', 'b=2']);
  t.match(await get(connection, '/999'), { status: 502 });
  t.match(await get(connection, '/205'), { status: 205, body: '' });
  t.match(await get(connection, '/'), { status: 200, body: 'ok' }, 'the connection goes on');
  t.match(await exchange(fixture, 'GET /999 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 502 /);
});
