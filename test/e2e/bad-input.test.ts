// Bad input from strangers on every public port of a running mesh. The bytes come from a seed. After each class the three processes are
// the same ones, their memory is bounded, the app still answers somebody who is signed in, and the logs hold no fault and no secret.
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import t from 'tap';
import { blake2s, blake2sMac } from '#crypto/blake2s.ts';
import { fromBase64, utf8 } from '#lib/bytes.ts';
import { decodeStun, encodeStun } from '#wire/stun.ts';
import { clientHello, datagrams, exchange, rawTcp, rawTls, Seeded, type TlsTarget } from '../support/hostile.ts';
import { startMesh, type Mesh } from '../support/mesh.ts';
import { Witness } from '../support/witness.ts';

const waitMs = 5_000;
/** Connections to one port at a time. */
const atOnce = 20;

/** An upstream that keeps what it received. */
async function recordingUpstream(): Promise<{ readonly port: number; readonly heads: string[]; close(): void }> {
  const heads: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    socket.on('data', (chunk: Buffer) => {
      const text = chunk.toString('latin1');
      heads.push(text);
      if (text.includes('HTTP/1.1\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    port: (server.address() as AddressInfo).port,
    heads,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function inBatches<T>(items: readonly T[], each: (item: T, index: number) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += atOnce) await Promise.all(items.slice(at, at + atOnce).map((item, i) => each(item, at + i)));
}

function hostOf(mesh: Mesh): string {
  return new URL(mesh.url).hostname;
}

void t.test('bad input on every public port', async (t) => {
  const upstream = await recordingUpstream();
  t.teardown(() => upstream.close());
  const mesh = await startMesh({ upstream: `http://127.0.0.1:${upstream.port}` });
  t.teardown(() => mesh.stop());
  const witness = await Witness.of(mesh);
  t.teardown(() => witness.close());
  const host = hostOf(mesh);
  const site: TlsTarget = { port: mesh.port, caFile: mesh.caFile, servername: host };
  const control: TlsTarget = { port: Number(new URL(mesh.controlUrl).port), caFile: mesh.caFile, servername: 'mesh.localhost' };
  const from = { cookie: witness.cookie, host };
  await witness.testify(t);

  for (const [name, target] of [
    ['gateway', site],
    ['server', control],
  ] as const) {
    await t.test(`TLS at the ${name}: random bytes, cut and changed ClientHellos, plain HTTP`, async (t) => {
      const random = new Seeded(1);
      const hello = await clientHello(target.servername);
      const inputs = [
        ...Array.from({ length: 60 }, () => random.bytes(1 + random.below(2_000))),
        ...Array.from({ length: 100 }, () => random.mutate(hello)),
        // A record that promises more than there is, and one that is too large.
        Buffer.concat([Buffer.from([22, 3, 1, 255, 255]), random.bytes(70_000)]),
        Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
        Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
        Buffer.from([0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10]), // SSLv2
      ];
      let leaks = 0;
      await inBatches(inputs, async (input) => {
        const { text } = await exchange(await rawTcp(target.port), [input], 150);
        if (text.includes('HTTP/1.1 2')) leaks++;
      });
      t.equal(leaks, 0, 'nothing gets an answer of the app');
      await inBatches(
        Array.from({ length: 40 }, (_, i) => hello.subarray(0, Math.floor((hello.length * i) / 40))),
        async (cut) => {
          const { bytes } = await exchange(await rawTcp(target.port), [cut], 100);
          if (bytes.length > 0 && bytes[0] !== 21) leaks++;
        },
      );
      t.equal(leaks, 0, 'a cut hello gets an alert or nothing');
      await witness.testify(t);
    });
  }

  await t.test('names: unknown, none, split over many segments', async (t) => {
    await t.rejects(rawTls({ ...site, servername: 'nobody.localhost' }), { code: 'ERR_SSL_TLSV1_UNRECOGNIZED_NAME' }, 'an unknown name');
    const unnamed = await exchange(await rawTcp(site.port), [await clientHello(undefined)], waitMs);
    t.same([...unnamed.bytes], [21, 3, 3, 0, 2, 2, 112], 'without a name: unrecognized_name, and the connection ends');
    t.ok(unnamed.closed);
    const hello = await clientHello(host);
    const socket = await rawTcp(site.port);
    socket.setNoDelay(true);
    const answered = exchange(socket, [], waitMs, (text) => text.length > 5);
    for (let at = 0; at < hello.length; at += 7) {
      socket.write(hello.subarray(at, at + 7));
      await new Promise(setImmediate);
    }
    t.equal((await answered).bytes[0], 22, 'a hello in pieces of seven bytes gets its handshake');
    await witness.testify(t);
  });

  await t.test('500 idle connections and slow ones do not keep people out, and are closed in time', async (t) => {
    const hello = await clientHello(host);
    const begun = performance.now();
    const sockets = await Promise.all(Array.from({ length: 500 }, () => rawTcp(site.port)));
    for (const [i, socket] of sockets.entries()) {
      socket.on('error', () => undefined);
      if (i % 2 === 0) socket.write(hello.subarray(0, 1 + i));
    }
    const drip = setInterval(() => {
      for (const [i, socket] of sockets.entries()) if (i % 4 === 0 && socket.writable) socket.write(hello.subarray(1 + i, 2 + i));
    }, 1_000);
    t.teardown(() => clearInterval(drip));
    await witness.testify(t);
    const open = sockets.filter(({ closed }) => !closed);
    await Promise.all(open.map((socket) => new Promise((done) => socket.resume().once('close', done))));
    t.comment(`figure: 500 idle and slow connections closed after ${((performance.now() - begun) / 1000).toFixed(1)} s`);
    t.ok(performance.now() - begun < 20_000, 'all are closed by the gateway');
    await witness.testify(t);
  });

  await t.test('HTTP/1.1: what two parsers could read differently is refused before the upstream sees it', async (t) => {
    const before = upstream.heads.length;
    const fields = `Host: ${host}\r\nCookie: ${witness.cookie}\r\n`;
    const get = `GET /row HTTP/1.1\r\n${fields}`;
    const post = `POST /row HTTP/1.1\r\n${fields}`;
    const inner = `GET /smuggled HTTP/1.1\r\n${fields}\r\n`;
    const rows: Readonly<Record<string, string>> = {
      'S-1 CL and TE': `${post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
      'S-1 two CL': `${post}Content-Length: 0\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`,
      'S-1 CL list': `${post}Content-Length: 5, 5\r\n\r\nhello`,
      'S-1 CL plus': `${post}Content-Length: +5\r\n\r\nhello`,
      'S-1 CL hex': `${post}Content-Length: 0x5\r\n\r\nhello`,
      'S-1 CL huge': `${post}Content-Length: 18446744073709551616\r\n\r\nhello`,
      'S-2 xchunked': `${post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${inner}`,
      'S-2 chunked VT': `${post}Transfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n${inner}`,
      'S-2 two TE': `${post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${inner}`,
      'S-3 gzip, chunked': `${post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n${inner}`,
      'S-5 bare LF': `${get}X: a\nY: b\r\n\r\n`,
      'S-5 bare CR': `${get}X: a\rY: b\r\n\r\n`,
      'S-5 NUL': `${get}X: a\0b\r\n\r\n`,
      'S-5 obs-fold': `${get}X: a\r\n b\r\n\r\n`,
      'S-5 space before colon': `${get}Content-Length : 5\r\n\r\nhello`,
      'S-5 leading space': ` ${get}\r\n`,
      'S-15 CONNECT': `CONNECT ${host}:443 HTTP/1.1\r\n${fields}\r\n`,
      'T-6 two Host': `${get}Host: other.localhost\r\n\r\n`,
      'T-6 empty Host': `GET /row HTTP/1.1\r\nHost:\r\nCookie: ${witness.cookie}\r\n\r\n`,
      'T-6 Host with a path': `GET /row HTTP/1.1\r\nHost: ${host}/evil@x\r\nCookie: ${witness.cookie}\r\n\r\n`,
      'P-10 fragment': `GET /row#/x HTTP/1.1\r\n${fields}\r\n`,
      'P-14 another absolute target': `GET http://other.localhost/row HTTP/1.1\r\n${fields}\r\n`,
      'P-19 TRACE': `TRACE /row HTTP/1.1\r\n${fields}\r\n`,
      'H-17 two Authorization': `${get}Authorization: Bearer a\r\nAuthorization: Basic b\r\n\r\n`,
      'TE on 1.0': `POST /row HTTP/1.0\r\n${fields}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
      'HTTP/1.2': `GET /row HTTP/1.2\r\n${fields}\r\n`,
      'head of 64 KB': `${get}X: ${'a'.repeat(65_536)}\r\n\r\n`,
      '2,000 fields': `${get}${'X: a\r\n'.repeat(2_000)}\r\n`,
      'target of 16 KB': `GET /row${'a'.repeat(16_384)} HTTP/1.1\r\n${fields}\r\n`,
      'h2c preface': `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`,
      'S-14 upgrade with a body': `${post}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`,
    };
    const wellFramed = new Set(['T-6 empty Host', 'T-6 Host with a path', 'P-14 another absolute target', 'P-19 TRACE']);
    const bodies: Readonly<Record<string, string>> = {
      'S-6 size 0x2': '0x2\r\nhi\r\n0\r\n\r\n',
      'S-6 negative': '-1\r\nhi\r\n0\r\n\r\n',
      'S-6 overflow': 'ffffffffffffffff2\r\nhi\r\n0\r\n\r\n',
      'S-6 no CRLF': '2\r\nhiX0\r\n\r\n',
      'S-6 LF in extension': '2;a\nb\r\nhi\r\n0\r\n\r\n',
      'S-6 extension of 1 MB': `2;${'a'.repeat(1_048_576)}\r\nhi\r\n0\r\n\r\n`,
    };
    for (const [name, text] of Object.entries(rows)) {
      const kept = wellFramed.has(name) ? (answer: string) => answer.includes('"id"') : undefined;
      const { text: answer, closed } = await exchange(await rawTls(site), [Buffer.from(text, 'latin1')], waitMs, kept);
      t.match(answer, /^HTTP\/1\.1 (?:4\d\d|501|505) /, `${name}: ${answer.slice(9, 12)}`);
      t.notMatch(answer, /HTTP\/1\.1 200/, name);
      // A refusal by the checks leaves no doubt where the next request begins.
      if (!wellFramed.has(name)) t.ok(closed, `${name}: the connection ends`);
    }
    const seen = upstream.heads.slice(before);
    t.same(
      seen.filter((head) => /row|smuggled/.test(head)),
      [],
      'not a byte of them reached the upstream',
    );
    for (const [name, body] of Object.entries(bodies)) {
      const { text: answer } = await exchange(
        await rawTls(site),
        [Buffer.from(`${post}Transfer-Encoding: chunked\r\n\r\n${body}${inner}`, 'latin1')],
        waitMs,
      );
      t.notMatch(answer.slice(1), /HTTP\/1\.1 200[\s\S]*HTTP\/1\.1 200/, `${name}: ${answer.slice(9, 12)}`);
    }
    t.notOk(
      upstream.heads.slice(before).some((head) => head.includes('/smuggled')),
      'the request behind a broken body is never forwarded',
    );
    await witness.testify(t);
  });

  await t.test('HTTP/1.1: random bytes and endless heads inside TLS', async (t) => {
    const random = new Seeded(3);
    await inBatches(Array.from({ length: 60 }), async () => {
      const head = random.mutate(Buffer.from(`GET / HTTP/1.1\r\nHost: ${host}\r\nAccept: text/html\r\nX-One: two\r\n\r\n`));
      const answer = await exchange(await rawTls(site), [head], 300, (text) => text.includes('\r\n\r\n'));
      if (answer.text.startsWith('HTTP/1.1 200')) t.fail('a stranger got in');
    });
    let sent = 0;
    const endless = (function* (): Iterable<string> {
      yield `GET / HTTP/1.1\r\nHost: ${host}\r\n`;
      for (; sent < 5_000; sent++) yield `X-${sent}: ${'a'.repeat(1_000)}\r\n`;
    })();
    t.match((await exchange(await rawTls(site), endless, waitMs)).text, /^HTTP\/1\.1 431/, 'an endless head gets 431');
    await witness.testify(t);
  });

  await t.test('HTTP/2: rapid reset, bad frames, header bombs', async (t) => {
    const session = await openHttp2(site);
    const gone = new Promise<'ended'>((done) => session.once('close', () => done('ended')));
    const before = upstream.heads.length;
    for (let i = 0; i < 2_000 && !session.destroyed; i++) {
      const stream = session.request({ ':path': '/reset', ':authority': host, cookie: from.cookie });
      stream.on('error', () => undefined).close(8);
      if (i % 50 === 0) await new Promise(setImmediate);
    }
    t.equal(await gone, 'ended', 'the gateway ends a connection that resets streams as fast as it opens them');
    const reached = upstream.heads.length - before;
    t.comment(`figure: rapid reset of 2,000 streams, ${reached} reached the upstream`);
    t.ok(reached < 300);
    session.destroy();
    const random = new Seeded(4);
    const preface = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0, Buffer.alloc(0))]);
    const frames: Readonly<Record<string, readonly Buffer[]>> = {
      'random frames': Array.from({ length: 50 }, () => frame(random.below(16), random.below(256), random.below(8), random.bytes(random.below(200)))),
      'garbage HPACK': [frame(1, 5, 1, random.bytes(400))],
      'HEADERS never ended by 4,000 CONTINUATIONs': [
        frame(1, 1, 1, Buffer.from([0x82])),
        ...Array.from({ length: 4_000 }, () => frame(9, 0, 1, random.bytes(0))),
      ],
      'WINDOW_UPDATE overflow': [frame(8, 0, 0, Buffer.from([0x7f, 255, 255, 255])), frame(8, 0, 0, Buffer.from([0x7f, 255, 255, 255]))],
      'a frame of 16 MB': [Buffer.concat([Buffer.from([255, 255, 255, 0, 0, 0, 0, 0, 1]), Buffer.alloc(100_000)])],
      'PING flood': Array.from({ length: 20_000 }, () => frame(6, 0, 0, Buffer.alloc(8))),
      'SETTINGS flood': Array.from({ length: 20_000 }, () => frame(4, 0, 0, Buffer.from([0, 3, 0, 0, 0, 100]))),
      'DATA on a stream that is none': [frame(0, 0, 3, random.bytes(100))],
    };
    for (const [name, bytes] of Object.entries(frames)) {
      const { closed } = await exchange(await rawTls(site, ['h2']), [Buffer.concat([preface, ...bytes])], 2_000);
      t.comment(`${name}: ${closed ? 'closed' : 'kept open'}`);
    }
    const { http } = (await mesh.status('gateway')) as { readonly http: { readonly refused: Readonly<Record<string, number>> } };
    t.comment(`refused so far: ${JSON.stringify(http.refused)}`);
    for (const reason of ['http2_protocol', 'length_with_coding', 'tls_unknown_name'])
      t.ok((http.refused[reason] ?? 0) > 0, `the status counts ${reason}`);
    const bomb = await openHttp2(site);
    const answered = await new Promise<string>((done) => {
      const headers = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`x-${i}`, 'a'.repeat(60)]));
      const stream = bomb.request({ ':path': '/row', ':authority': host, cookie: from.cookie, ...headers });
      stream.once('response', (head) => done(String(head[':status'])));
      stream.once('error', (error) => done(error.message));
      stream.once('close', () => done('closed'));
    });
    t.not(answered, '200', 'too many fields are refused');
    bomb.destroy();
    await witness.testify(t);
  });

  await t.test('the server: HTTP garbage on the API, the identity provider and the relay', async (t) => {
    const random = new Seeded(5);
    const auth = 'Authorization: Bearer nbp_000000000000000000000000000000000000\r\n';
    const rows: Readonly<Record<string, readonly [string, RegExp]>> = {
      'API without a token': ['GET /api/peers HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n', /^HTTP\/1\.1 401/],
      'API with a wrong token': [`GET /api/peers HTTP/1.1\r\nHost: m\r\nConnection: close\r\n${auth}\r\n`, /^HTTP\/1\.1 401/],
      'API with deep JSON': [post('/api/setup', '['.repeat(100_000)), /^HTTP\/1\.1 4\d\d/],
      'API with 8 MB': [post('/api/setup', `"${'a'.repeat(8_388_608)}"`), /^(?:HTTP\/1\.1 4\d\d|$)/],
      'API with a prototype': [post('/api/setup', '{"__proto__":{"code":1},"constructor":1}'), /^HTTP\/1\.1 4\d\d/],
      'API with bytes': [post('/api/setup', random.bytes(500).toString('latin1')), /^HTTP\/1\.1 4\d\d/],
      'API path tricks': ['GET /api/peers/%00/../../x HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n', /^HTTP\/1\.1 4\d\d/],
      'API bad escape': ['GET /api/peers/%zz?a=%%% HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n', /^HTTP\/1\.1 4\d\d/],
      'target that is none': ['GET http://[::1 HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n', /^HTTP\/1\.1 4\d\d/],
      'authorize with garbage': [
        `GET /oauth2/auth?client_id=%00&redirect_uri=javascript:1&scope=${'a'.repeat(4_000)} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n`,
        /^HTTP\/1\.1 4\d\d/,
      ],
      'token with garbage': [post('/oauth2/token', 'grant_type=%ff&code=[]', 'application/x-www-form-urlencoded'), /^HTTP\/1\.1 4\d\d/],
      'token with 4 MB': [post('/oauth2/token', 'a'.repeat(4_194_304), 'application/x-www-form-urlencoded'), /^(?:HTTP\/1\.1 4\d\d|$)/],
      'interaction that is none': [post('/oauth2/interaction/../../x', 'email=a', 'application/x-www-form-urlencoded'), /^HTTP\/1\.1 4\d\d/],
      'relay without an upgrade': ['GET /relay HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n', /^HTTP\/1\.1 4\d\d/],
      'upgrade elsewhere': [upgrade('/api'), /^HTTP\/1\.1 404/],
      'head of 64 KB': [`GET /api HTTP/1.1\r\nHost: m\r\nX: ${'a'.repeat(65_536)}\r\n\r\n`, /^(?:HTTP\/1\.1 4\d\d|$)/],
      'CL and TE': [
        'POST /api/setup HTTP/1.1\r\nHost: m\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
        /^(?:HTTP\/1\.1 400|$)/,
      ],
    };
    for (const [name, [text, wanted]] of Object.entries(rows)) {
      const { text: answer } = await exchange(await rawTls(control), [Buffer.from(text, 'latin1')], waitMs);
      t.match(answer, wanted, `${name}: ${answer.slice(9, 12)}`);
      t.notMatch(answer, /\n\s+at /, `${name}: no stack trace`);
    }
    await inBatches(Array.from({ length: 60 }), async () => {
      const head = random.mutate(Buffer.from('GET /oauth2/.well-known/openid-configuration HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n'));
      await exchange(await rawTls(control), [head], 300);
    });
    const frames: Readonly<Record<string, Buffer>> = {
      'an empty message': Buffer.from([0x82, 0x80, 1, 2, 3, 4]),
      'a message that is no relay message': webSocketFrame(2, random.bytes(100)),
      'a text message': webSocketFrame(1, Buffer.from('hello')),
      'an unmasked frame': Buffer.from([0x82, 3, 1, 2, 3]),
      'a frame of 2^63 bytes': Buffer.from([0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0]),
      'a message of 1 MB': webSocketFrame(2, random.bytes(1_048_576)),
      'a wrong token': webSocketFrame(2, Buffer.concat([Buffer.from([1, 6, 0x21, 0x12, 0xa4, 0x42]), random.bytes(120)])),
      'reserved bits': Buffer.from([0xf2, 0x80, 1, 2, 3, 4]),
    };
    for (const [name, bytes] of Object.entries(frames)) {
      const { text: answer, closed } = await exchange(await rawTls(control), [Buffer.from(upgrade('/relay')), bytes], waitMs);
      t.match(answer, /^HTTP\/1\.1 101/, name);
      t.ok(closed, `${name}: the relay ends the connection`);
    }
    await witness.testify(t);
  });

  await t.test('the server: gRPC with wrong paths, oversized and malformed messages', async (t) => {
    const random = new Seeded(6);
    const session = await openHttp2(control);
    t.teardown(() => session.destroy());
    const box = (body: Buffer, key = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='): Buffer => {
      const text = Buffer.from(key);
      return grpcMessage(Buffer.concat([Buffer.from([10, text.length]), text, Buffer.from([18, ...varint(body.length)]), body]));
    };
    const management = '/management.ManagementService/';
    const proxy = '/management.ProxyService/';
    t.equal(await grpcStatus(session, '/nobody.Nothing/Call', [grpcMessage(Buffer.alloc(0))]), '12', 'unknown method: UNIMPLEMENTED');
    t.equal(await grpcStatus(session, `${management}GetServerKey`, [grpcMessage(Buffer.alloc(0))]), '0');
    t.equal(await grpcStatus(session, `${management}GetServerKey`, [grpcMessage(Buffer.alloc(2_000_000))]), '8', 'oversized: RESOURCE_EXHAUSTED');
    for (const method of [`${management}Login`, `${management}Sync`, '/signalexchange.SignalExchange/Send']) {
      for (const [name, message] of Object.entries({
        'malformed protobuf': grpcMessage(Buffer.from([0xff, 0xff, 0xff, 0xff])),
        'a length beyond the message': grpcMessage(Buffer.from([10, 127, 1])),
        'an empty message': grpcMessage(Buffer.alloc(0)),
        'a box of noise': box(random.bytes(300)),
        'a box of nothing': box(Buffer.alloc(0)),
        'a key that is none': box(random.bytes(100), 'nobody'),
        'a compressed message': Buffer.concat([Buffer.from([1, 0, 0, 0, 5]), random.bytes(5)]),
      })) {
        const code = await grpcStatus(session, method, [message]);
        t.not(code, '0', `${method.split('/')[2]}, ${name}: ${code}`);
      }
    }
    for (const method of ['SyncMappings', 'GetMappingUpdate', 'SendAccessLog', 'CreateProxyPeer', 'ValidateSession']) {
      t.equal(await grpcStatus(session, `${proxy}${method}`, [grpcMessage(Buffer.alloc(0))]), '16', `${method} without a token: UNAUTHENTICATED`);
    }
    for (const method of ['RelyingParty', 'WatchRevocations', 'VerifyServiceToken', 'FindSession']) {
      t.equal(await grpcStatus(session, `/meshgate.v1.GatewayService/${method}`, [grpcMessage(Buffer.alloc(0))]), '16', `${method} without a token`);
    }
    const streams = await Promise.all(
      Array.from({ length: 40 }, () => grpcStatus(session, '/signalexchange.SignalExchange/ConnectStream', [box(random.bytes(200))])),
    );
    t.notOk(streams.includes('0'), 'streams without a name are refused');
    const raw = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0, Buffer.alloc(0))]);
    for (let i = 0; i < 10; i++) {
      const noise = Array.from({ length: 30 }, () => frame(random.below(12), random.below(256), random.below(6), random.bytes(random.below(300))));
      await exchange(await rawTls(control, ['h2']), [raw, ...noise], 200);
    }
    await witness.testify(t);
  });

  await t.test('STUN: noise gets silence, a flood of requests costs no more than its budget', async (t) => {
    const random = new Seeded(7);
    const noise = Array.from({ length: 2_000 }, (_, i) => random.bytes(i % 100 === 0 ? 60_000 : random.below(1_500)));
    t.equal((await datagrams(control.port, noise, 200)).answers.length, 0, 'noise gets no answer');
    const request = Buffer.from(encodeStun({ class: 'request', transactionId: random.bytes(12) }));
    const mutated = Array.from({ length: 2_000 }, () => random.mutate(request));
    const { answers } = await datagrams(control.port, mutated, 200);
    t.ok(
      answers.every((answer) => decodeStun(answer) !== undefined),
      'what is answered is STUN',
    );
    const flood = await datagrams(
      control.port,
      Array.from({ length: 20_000 }, () => request),
      500,
    );
    t.comment(`figure: ${flood.sent} STUN requests, ${flood.answers.length} answers`);
    t.ok(flood.answers.length > 0);
    await witness.testify(t);
  });

  for (const name of ['gateway', 'agent'] as const) {
    await t.test(`WireGuard at the ${name}: noise, handshakes that are none, a flood of initiations`, async (t) => {
      const other = name === 'gateway' ? 'agent' : 'gateway';
      const { port } = remoteOf(await mesh.status(other));
      const { mesh: node } = (await mesh.status(name)) as { readonly mesh: { readonly publicKey: string } };
      const random = new Seeded(8);
      const key = blake2s(utf8('mac1----'), fromBase64(node.publicKey) ?? Buffer.alloc(32));
      const message = (type: number, length: number, withMac: boolean): Buffer => {
        const bytes = random.bytes(length);
        bytes.set([type, 0, 0, 0]);
        if (withMac) bytes.set(blake2sMac(16, key, bytes.subarray(0, length - 32)), length - 32);
        return bytes;
      };
      const noise = [
        ...Array.from({ length: 1_000 }, (_, i) => random.bytes(i % 100 === 0 ? 60_000 : random.below(1_500))),
        ...Array.from({ length: 500 }, () => message(1, 148, false)),
        ...Array.from({ length: 500 }, () => message(2, 92, random.below(2) === 0)),
        ...Array.from({ length: 200 }, () => message(3, 64, false)),
        ...Array.from({ length: 500 }, () => message(4, 32 + 16 * random.below(80), false)),
        Buffer.from([1, 0, 0, 0]),
        Buffer.alloc(148),
      ];
      t.equal((await datagrams(port, noise, 300)).answers.length, 0, 'silence');
      const begun = performance.now();
      const flood = await datagrams(
        port,
        (function* () {
          for (let i = 0; i < 8_000; i++) yield message(1, 148, true);
        })(),
        300,
      );
      const kinds = new Set(flood.answers.map((answer) => answer[0]));
      t.comment(
        `figure: ${flood.sent} initiations with a good MAC1 in ${(performance.now() - begun).toFixed(0)} ms, ${flood.answers.length} cookies asked for`,
      );
      t.ok(
        [...kinds].every((kind) => kind === 3),
        'no answer but a cookie reply',
      );
      t.ok(
        flood.answers.every((answer) => answer.length <= 148),
        'no answer is longer than its question',
      );
      await witness.testify(t);
    });
  }
});

function post(path: string, body: string, type = 'application/json'): string {
  return `POST ${path} HTTP/1.1\r\nHost: m\r\nConnection: close\r\nContent-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

function upgrade(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: m\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`;
}

/** A masked frame with a mask of zeros. */
function webSocketFrame(opcode: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(14);
  head[0] = 0x80 | opcode;
  head[1] = 0xff;
  head.writeBigUInt64BE(BigInt(payload.length), 2);
  return Buffer.concat([head, payload]);
}

/** One HTTP/2 frame (RFC 9113 §4.1). */
function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

async function openHttp2(target: TlsTarget): Promise<ClientHttp2Session> {
  const socket = await rawTls(target, ['h2']);
  const session = connectHttp2(`https://${target.servername}`, { createConnection: () => socket });
  session.on('error', () => undefined);
  return session;
}

function grpcMessage(body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

function varint(value: number): readonly number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
}

/** The gRPC status of a call, or why there is none. */
function grpcStatus(session: ClientHttp2Session, path: string, messages: readonly Buffer[]): Promise<string> {
  return new Promise((resolve) => {
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
    const timer = setTimeout(() => {
      resolve('no answer');
      stream.close();
    }, waitMs);
    let status: string | undefined;
    const look = (headers: Readonly<Record<string, unknown>>): void => {
      const found = headers['grpc-status'];
      if (typeof found === 'string') status = found;
    };
    stream.on('response', look);
    stream.on('trailers', look);
    stream.on('error', (error) => {
      status ??= error.message;
    });
    stream.on('close', () => {
      clearTimeout(timer);
      resolve(status ?? 'closed');
    });
    stream.resume();
    for (const message of messages) stream.write(message);
    stream.end();
  });
}

/** Where the other side of the mesh sees the one peer. */
function remoteOf(status: unknown): { readonly port: number } {
  const { mesh: node } = status as { readonly mesh: { readonly peers: readonly { readonly path?: { readonly remote: string } }[] } };
  const remote = node.peers[0]?.path?.remote ?? '';
  return { port: Number(remote.slice(remote.lastIndexOf(':') + 1)) };
}
