// Requests through the publisher to an upstream, on real sockets: what arrives there, and what comes back.
import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import type { ServiceMapping } from '#model/service.ts';
import { exchange, issue, listenTcp, mapping, path, readAll, readUntil, startEcho, startFixture, type Echo, type Fixture } from './harness.ts';

async function withEcho(
  t: Test,
  mappings: (port: number) => readonly ServiceMapping[] = (port) => [mapping('a.test', [path(port)])],
): Promise<{ fixture: Fixture; echo: Echo }> {
  const echo = await startEcho();
  const fixture = await startFixture(mappings(echo.port));
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  return { fixture, echo };
}

/** An upstream that runs `serve` for each connection. */
async function withUpstream(t: Test, serve: (socket: Socket) => void, changes: Partial<ServiceMapping> = {}): Promise<Fixture> {
  const upstream = await listenTcp(serve);
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)], changes)]);
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  return fixture;
}

const get = 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';

void t.test('a request over TLS reaches the upstream with its own bytes and the answer comes back', async (t) => {
  const { fixture, echo } = await withEcho(t);
  const answer = await exchange(fixture, 'GET /hello%2Fworld//x?x=1&y=%20 HTTP/1.1\r\nHost: a.test\r\nX-Odd-Case: Kept\r\nConnection: close\r\n\r\n');
  t.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
  t.match(answer, /X-Up: yes\r\n/);
  t.match(echo.received[0], /^GET \/hello%2Fworld\/\/x\?x=1&y=%20 HTTP\/1\.1\r\nHost: a\.test\r\nX-Odd-Case: Kept\r\n/);
  t.match(fixture.entries[0], {
    status: 200,
    path: '/hello%2Fworld//x',
    reason: 'public_service',
    method: 'GET',
    host: 'a.test',
    serviceId: 's-a.test',
  });
});

void t.test('a kept connection serves pipelined requests in order over one upstream connection', async (t) => {
  const { fixture, echo } = await withEcho(t);
  const socket = await fixture.connect('a.test');
  const answers = readUntil(socket, (text) => text.split('HTTP/1.1 200').length === 4 && text.endsWith('\r\n\r\n'));
  socket.write(
    'GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: a.test\r\n\r\n',
  );
  const text = await answers;
  t.ok(text.indexOf('GET /1') < text.indexOf('POST /2') && text.indexOf('POST /2') < text.indexOf('GET /3'));
  t.equal(echo.connections(), 1);
  t.match(echo.received[1], /\r\n\r\nabc$/);
  socket.destroy();
});

void t.test('a request cut at every byte is the same request', async (t) => {
  const { fixture, echo } = await withEcho(t);
  const request = 'POST /p HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n';
  const socket = await fixture.connect('a.test');
  for (let cut = 1; cut < request.length; cut++) {
    const answer = readUntil(socket, (text) => text.endsWith('\r\n\r\n') && text.includes('POST /p'));
    socket.write(request.slice(0, cut));
    await new Promise((resolve) => setImmediate(resolve));
    socket.write(request.slice(cut));
    t.match(await answer, /^HTTP\/1\.1 200/, `cut at ${cut}`);
  }
  const bodies = echo.received.map((bytes) => bytes.slice(bytes.indexOf('\r\n\r\n') + 4).replaceAll(/[0-9]\r\n|\r\n/g, ''));
  t.same(new Set(bodies), new Set(['abc']));
  socket.destroy();
});

void t.test('large bodies go both ways unchanged, with little in memory', async (t) => {
  const size = 24 * 1024 * 1024;
  let seen = 0;
  const upstream = await listenTcp((socket) => {
    let head = '';
    socket.on('data', (chunk: Buffer) => {
      if (seen === 0 && head === '') {
        const end = chunk.indexOf('\r\n\r\n');
        head = chunk.toString('latin1', 0, end);
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
        chunk = chunk.subarray(end + 4);
      }
      seen += chunk.length;
      if (!socket.write(chunk)) {
        socket.pause();
        socket.once('drain', () => socket.resume());
      }
    });
  });
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)])]);
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  const socket = await fixture.connect('a.test');
  const up = createHash('sha256');
  const down = createHash('sha256');
  let got = 0;
  const finished = new Promise<void>((resolve) => {
    let head = true;
    socket.on('data', (chunk: Buffer) => {
      if (head) {
        head = false;
        chunk = chunk.subarray(chunk.indexOf('\r\n\r\n') + 4);
      }
      got += chunk.length;
      down.update(chunk);
      if (got >= size) resolve();
    });
  });
  socket.write(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${size}\r\n\r\n`);
  const block = Buffer.alloc(256 * 1024);
  for (let sent = 0; sent < size; sent += block.length) {
    block.writeUInt32LE(sent, sent % 1000);
    const copy = Buffer.from(block);
    up.update(copy);
    if (!socket.write(copy)) await new Promise((resolve) => socket.once('drain', resolve));
  }
  await finished;
  t.equal(got, size);
  t.equal(down.digest('hex'), up.digest('hex'));
  socket.destroy();
});

void t.test('a slow reader holds the upstream back', async (t) => {
  let written = 0;
  const size = 64 * 1024 * 1024;
  let stalled: () => void = () => undefined;
  const isStalled = new Promise<void>((resolve) => (stalled = resolve));
  const fixture = await withUpstream(t, (socket) => {
    socket.once('data', () => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
      const block = Buffer.alloc(64 * 1024);
      let quiet: NodeJS.Timeout | undefined;
      const more = (): void => {
        clearTimeout(quiet);
        while (written < size && socket.write(block)) written += block.length;
        // No drain for a while: everything between is full.
        quiet = setTimeout(stalled, 300);
      };
      socket.on('drain', more);
      more();
    });
  });
  const socket = await fixture.connect('a.test');
  socket.pause();
  socket.write(get);
  await isStalled;
  t.ok(written < size / 2, `${written} bytes left the upstream`);
  socket.destroy();
});

void t.test('events arrive one by one, and the client leaving ends the upstream', async (t) => {
  let gone: () => void = () => undefined;
  const upstreamGone = new Promise<void>((resolve) => (gone = resolve));
  let send: (text: string) => void = () => undefined;
  const fixture = await withUpstream(t, (socket) => {
    socket.on('close', () => gone());
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n');
      send = (text) => socket.write(text);
      send('data: 1\n\n');
    });
  });
  const socket = await fixture.connect('a.test');
  const first = readUntil(socket, (text) => text.includes('data: 1\n\n'));
  socket.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  t.match(await first, /Transfer-Encoding: chunked\r\n/);
  const second = readUntil(socket, (text) => text.includes('data: 2\n\n'));
  send('data: 2\n\n');
  await second;
  const entry = fixture.nextEntry();
  socket.destroy();
  await upstreamGone;
  t.match(await entry, { status: 200, bytesDown: 18 });
});

void t.test('a stale kept connection is replaced once, for requests that may be repeated', async (t) => {
  let connections = 0;
  const sockets: Socket[] = [];
  const fixture = await withUpstream(t, (socket) => {
    const number = ++connections;
    sockets.push(socket);
    let requests = 0;
    socket.on('data', () => {
      if (number === 1 && ++requests === 2) socket.destroy();
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  });
  const socket = await fixture.connect('a.test');
  for (let i = 0; i < 2; i++) {
    const answer = readUntil(socket, (text) => text.endsWith('ok'));
    socket.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
    t.match(await answer, /^HTTP\/1\.1 200/);
  }
  t.equal(connections, 2);
  socket.destroy();
});

void t.test('a request with a body is not repeated', async (t) => {
  let requests = 0;
  const fixture = await withUpstream(t, (socket) => {
    socket.on('data', () => {
      if (++requests === 2) socket.destroy();
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  });
  const socket = await fixture.connect('a.test');
  let answer = readUntil(socket, (text) => text.endsWith('ok'));
  socket.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  await answer;
  answer = readAll(socket);
  socket.write('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx');
  t.match(await answer, /^HTTP\/1\.1 502/);
  t.equal(requests, 2);
});

void t.test('answers of an upstream that break the grammar never reach the client, nor the pool', async (t) => {
  const bad = [
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na',
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\na',
    'HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n',
    'HTTP/2 200 OK\r\n\r\n',
    'HTTP/1.1 100 Continue\r\n\r\n'.repeat(20),
    'HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n',
    '',
  ];
  let next = 0;
  const fixture = await withUpstream(t, (socket) => {
    socket.once('data', () => socket.end(bad[next++] ?? ''));
  });
  for (const text of bad) {
    const answer = await exchange(fixture, get);
    t.match(answer, /^HTTP\/1\.1 502 Service unreachable\r\n/, JSON.stringify(text));
    t.notMatch(answer, /h2c|127\.0\.0\.1/);
  }
});

void t.test('an answer that breaks off is cut, not completed', async (t) => {
  const cutShort = [
    'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX',
  ];
  let next = 0;
  const fixture = await withUpstream(t, (socket) => {
    socket.once('data', () => socket.end(cutShort[next++] ?? ''));
  });
  for (const text of cutShort) {
    const answer = await exchange(fixture, get);
    t.match(answer, /^HTTP\/1\.1 200/, text);
    t.notMatch(answer, /\r\n0\r\n/);
  }
});

void t.test('bytes after the end of an answer are nobody else’s answer', async (t) => {
  let connections = 0;
  const fixture = await withUpstream(t, (socket) => {
    connections++;
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'));
  });
  for (let i = 0; i < 3; i++) t.notMatch(await exchange(fixture, get), /poison/);
  t.equal(connections, 3);
});

void t.test('an upstream that refuses, hides or dawdles is told from one that answers', async (t) => {
  const silent = await listenTcp(() => undefined);
  const closed = await listenTcp(() => undefined);
  await closed.close();
  const fixture = await startFixture([
    mapping('a.test', [
      path(closed.port),
      path(silent.port, { path: '/slow', requestTimeoutMs: 50 }),
      path(1, { path: '/far', host: 'none.invalid' }),
    ]),
  ]);
  t.teardown(() => Promise.all([fixture.close(), silent.close()]));
  t.match(await exchange(fixture, get), /^HTTP\/1\.1 502/);
  t.match(fixture.entries.at(-1), { status: 502, reason: 'upstream_refused' });
  t.match(await exchange(fixture, get.replace('/ ', '/slow ')), /^HTTP\/1\.1 504/);
  t.match(fixture.entries.at(-1), { status: 504, reason: 'upstream_timeout' });
  t.match(await exchange(fixture, get.replace('/ ', '/far ')), /^HTTP\/1\.1 502/);
  t.match(fixture.entries.at(-1), { status: 502, reason: 'upstream_unreachable' });
});

void t.test('trailers, interim answers and 100-continue', async (t) => {
  let received = '';
  const fixture = await withUpstream(t, (socket) => {
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1');
      if (received.endsWith('\r\n\r\n') && received.includes('\r\n0\r\n')) {
        socket.write(
          'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\nSet-Cookie: __Host-meshgate=evil\r\nContent-Length: 9\r\n\r\n',
        );
      }
    });
  });
  const socket = await fixture.connect('a.test');
  const cont = readUntil(socket, (text) => text.includes('\r\n\r\n'));
  const answer = readAll(socket);
  socket.write(
    'POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: close\r\n\r\n',
  );
  t.equal(await cont, 'HTTP/1.1 100 Continue\r\n\r\n');
  t.match(received, /\r\nExpect: 100-continue\r\n/);
  socket.write('1\r\na\r\n0\r\nX-Sum: 1\r\nHost: evil\r\nContent-Length: 5\r\nAuthorization: x\r\nRemote-User: root\r\n\r\n');
  const text = await answer;
  t.match(text, /HTTP\/1\.1 103 \r\nLink: <\/x>\r\n\r\nHTTP\/1\.1 200 OK/);
  t.match(text, /1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n$/);
  t.match(received, /1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n$/);
});

void t.test('paths are matched at segment boundaries, stripped or kept, and put below a base', async (t) => {
  const { fixture, echo } = await withEcho(t, (port) => [
    mapping('a.test', [
      path(port, { path: '/api', pathRewrite: 'strip', basePath: '/v2/', customHeaders: { 'X-Key': 'ours', Host: 'evil', 'Bad Name': 'x' } }),
      path(port, { path: '/api/deep' }),
      path(port, { path: '/kept/' }),
    ]),
  ]);
  const rows: [string, string | undefined][] = [
    ['/api', '/v2/'],
    ['/api?x', '/v2/?x'],
    ['/api/a%2Fb', '/v2/a%2Fb'],
    ['/api//evil', '/v2//evil'],
    ['/api/deep/x', '/api/deep/x'],
    ['/kept', '/kept'],
    ['/kept/..%2fapi', undefined],
    ['/kept/x%2fapi', '/kept/x%2fapi'],
    ['/apiadmin', undefined],
    ['/api%2fx', undefined],
    ['/api;x', undefined],
    ['/', undefined],
  ];
  for (const [asked, forwarded] of rows) {
    const before = echo.received.length;
    const answer = await exchange(fixture, `GET ${asked} HTTP/1.1\r\nHost: a.test\r\nX-Key: theirs\r\nConnection: close\r\n\r\n`);
    t.match(answer, forwarded === undefined ? /^HTTP\/1\.1 404/ : /^HTTP\/1\.1 200/, asked);
    t.equal(echo.received[before]?.split(' ')[1], forwarded, asked);
  }
  t.match(echo.received[0], /X-Key: ours\r\n/);
  t.notMatch(echo.received[0], /theirs|evil|Bad Name/);
});

void t.test('redirects to the inner address are rewritten where asked, others are not', async (t) => {
  let location = '';
  const upstream = await listenTcp((socket) => {
    socket.on('data', () => socket.write(`HTTP/1.1 302 Found\r\nLocation: ${location}\r\nContent-Length: 0\r\n\r\n`));
  });
  const inner = `127.0.0.1:${upstream.port}`;
  const fixture = await startFixture([
    mapping('a.test', [path(upstream.port, { path: '/app', pathRewrite: 'strip' })], { rewriteRedirects: true, passHostHeader: false }),
  ]);
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  for (const [from, to] of [
    [`http://${inner}/x?y`, 'https://a.test/app/x?y'],
    [`http://${inner}`, 'https://a.test/app/'],
    [`http://${inner}.evil.test/`, `http://${inner}.evil.test/`],
    ['/relative', '/app/relative'],
    ['https://other.test/', 'https://other.test/'],
  ] as const) {
    location = from;
    t.ok((await exchange(fixture, get.replace('/ ', '/app '))).includes(`Location: ${to}\r\n`), from);
  }
});

void t.test('an https upstream must prove its name, unless told otherwise', async (t) => {
  const certificate = await issue(['up.test']);
  const server = createTlsServer({ cert: certificate.certPem, key: certificate.keyPem }, (socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const { dialTcp } = await import('./harness.ts');
  const fixture = await startFixture(
    [
      mapping('a.test', [
        path(port, { protocol: 'https' }),
        path(port, { path: '/named', protocol: 'https', host: 'up.test' }),
        path(port, { path: '/lax', protocol: 'https', skipTlsVerify: true }),
      ]),
    ],
    { dial: (target, options) => dialTcp({ host: '127.0.0.1', port: target.port }, options) },
  );
  t.teardown(async () => {
    await fixture.close();
    await new Promise((resolve) => server.close(resolve));
  });
  t.match(await exchange(fixture, get), /^HTTP\/1\.1 502/);
  t.match(fixture.entries.at(-1), { reason: 'upstream_wrong_name' });
  t.match(await exchange(fixture, get.replace('/ ', '/named ')), /ok$/);
  t.match(await exchange(fixture, get.replace('/ ', '/lax ')), /ok$/);
  t.match(await exchange(fixture, get), /^HTTP\/1\.1 502/);
});

void t.test('HEAD, 204 and 304 have no body; HTTP/1.0 clients get none in chunks', async (t) => {
  const fixture = await withUpstream(t, (socket) => {
    socket.on('data', (chunk: Buffer) => {
      const target = chunk.toString('latin1').split(' ')[1];
      if (target === '/head') socket.write('HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n');
      else if (target === '/204') socket.write('HTTP/1.1 204 No Content\r\n\r\n');
      else if (target === '/304') socket.write('HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n');
      else socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n');
    });
  });
  t.match(
    await exchange(fixture, 'HEAD /head HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n'),
    /Content-Length: 77\r\nConnection: close\r\n\r\n$/,
  );
  t.notMatch(await exchange(fixture, get.replace('/ ', '/204 ')), /content-length/i);
  t.match(await exchange(fixture, get.replace('/ ', '/304 ')), /Content-Length: 77\r\nConnection: close\r\n\r\n$/);
  t.match(await exchange(fixture, 'GET / HTTP/1.0\r\nHost: a.test\r\n\r\n'), /^HTTP\/1\.1 200 OK\r\nConnection: close\r\n\r\na$/);
});

void t.test('aborted requests give their upstream connections back', async (t) => {
  let open = 0;
  const fixture = await withUpstream(t, (socket) => {
    open++;
    socket.on('close', () => open--);
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx'));
  });
  for (let i = 0; i < 20; i++) {
    const socket = await fixture.connect('a.test');
    const begun = readUntil(socket, (text) => text.includes('\r\n\r\nx'));
    socket.write(i % 2 === 0 ? get : 'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nabc');
    await begun;
    const entry = fixture.nextEntry();
    socket.destroy();
    await entry;
  }
  await new Promise((resolve) => setImmediate(resolve));
  t.match(fixture.publisher.stats(), { streams: 0 });
  t.ok(open <= 1, `${open} left`);
});
