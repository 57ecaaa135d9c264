// Attack rows T: which host is meant, from the ClientHello to the Host field; and what TLS will not do. With X-5, the host that is ourselves.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as tcpConnect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as tlsConnect, createServer as createTlsServer } from 'node:tls';
import t, { type Test } from 'tap';
import { issue, listenTcp, mapping, path, startFixture, withLogin, type Fixture } from '../publish/harness.ts';
import { clientHello, Seeded } from '../support/hostile.ts';
import { createTestCa } from '../support/test-ca.ts';
import { oldTls } from '#cli/attack/cases.ts';
import { request } from '#cli/attack/h2-raw.ts';
import { pick, Range, rounds, seed, startRecorder, variants, type Recorder } from './harness.ts';

async function start(t: Test): Promise<{ range: Range; open: Recorder; closed: Recorder }> {
  const open = await startRecorder(t);
  const closed = await startRecorder(t);
  const mappings = [
    mapping('a.test', [path(open.port)]),
    mapping('b.test', [path(closed.port)], withLogin),
    mapping('x.wild.test', [path(open.port)]),
    mapping('y.wild.test', [path(closed.port)], withLogin),
  ];
  return { range: await Range.start(t, mappings, [open, closed]), open, closed };
}

/** What comes back for raw bytes in parts: 22 begins a handshake, 21 an alert, undefined is silence until the end. */
function firstByte(fixture: Fixture, parts: readonly Buffer[]): Promise<number | undefined> {
  return new Promise((resolve) => {
    const socket = tcpConnect({ port: fixture.port, host: '127.0.0.1', noDelay: true });
    socket.on('error', () => undefined);
    socket.once('data', (chunk: Buffer) => {
      resolve(chunk[0]);
      socket.destroy();
    });
    socket.once('close', () => resolve(undefined));
    const [first = Buffer.alloc(0), ...rest] = parts;
    socket.write(first, () => {
      let chain = Promise.resolve();
      for (const part of rest) {
        chain = chain.then(async () => {
          await new Promise((done) => setImmediate(done));
          if (socket.writable) socket.write(part);
        });
      }
    });
  });
}

/** The handshake message of a hello in records of the given sizes. */
function inRecords(hello: Buffer, sizes: () => number): Buffer {
  const message = hello.subarray(5);
  const out: Buffer[] = [];
  for (let at = 0; at < message.length;) {
    const part = message.subarray(at, at + sizes());
    at += part.length;
    out.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part);
  }
  return Buffer.concat(out);
}

void t.test('T-1: a ClientHello cut anywhere, or over many records, names the same host; none falls to another', async (t) => {
  const { range } = await start(t);
  const random = new Seeded(seed);
  const known = await clientHello('a.test');
  const unknown = await clientHello('c.test');
  const unnamed = await clientHello(undefined);
  for (let cut = 1; cut < known.length; cut += 1 + random.below(9)) {
    t.equal(await firstByte(range.direct, [known.subarray(0, cut), known.subarray(cut)]), 22, `cut at ${cut}`);
    t.equal(await firstByte(range.direct, [unknown.subarray(0, cut), unknown.subarray(cut)]), 21, `unknown name, cut at ${cut}`);
  }
  for (let i = 0; i < rounds(30); i++) {
    const sizes = (): number => 1 + random.below(200);
    t.equal(await firstByte(range.direct, [inRecords(known, sizes)]), 22);
    t.equal(await firstByte(range.direct, [inRecords(pick(random, [unknown, unnamed]), sizes)]), 21);
  }
  const bytes = inRecords(known, () => 40);
  t.equal(
    await firstByte(
      range.direct,
      Array.from({ length: Math.ceil(bytes.length / 7) }, (_none, i) => bytes.subarray(7 * i, 7 * i + 7)),
    ),
    22,
    'records cut across',
  );
  // A hello of 60 KB, the most of it an extension that nobody knows.
  const big = Buffer.concat([known.subarray(9)]);
  const extensionsAt = big.length - extensionsLength(known);
  const huge = Buffer.concat([big, Buffer.from([0xfa, 0xce, 0xea, 0x60]), Buffer.alloc(60_000)]);
  huge.writeUInt16BE(extensionsLength(known) + 60_004, extensionsAt - 2);
  const message = Buffer.concat([Buffer.from([1, 0, huge.length >> 8, huge.length & 255]), huge]);
  message.writeUIntBE(huge.length, 1, 3);
  const got = await firstByte(range.direct, [inRecords(Buffer.concat([Buffer.alloc(5), message]), () => 16_000)]);
  t.ok(got === 22 || got === 21 || got === undefined, `answered, refused or closed: ${got}`);
  t.equal(range.direct.publisher.stats().streams, 0);
});

/** The length of the extensions of a hello that Node's client made: the last vector of it. */
function extensionsLength(hello: Buffer): number {
  let at = 9 + 2 + 32;
  at += 1 + (hello[at] ?? 0);
  at += 2 + hello.readUInt16BE(at);
  at += 1 + (hello[at] ?? 0);
  return hello.readUInt16BE(at);
}

void t.test('T-2: another host than TLS named is misdirected, also over a connection that HTTP/2 would coalesce', async (t) => {
  const { range, closed } = await start(t);
  for (const [serverName, host] of [
    ['a.test', 'b.test'],
    ['x.wild.test', 'y.wild.test'],
    ['a.test', 'B.TEST'],
    ['a.test', 'b.test.'],
    ['x.wild.test', 'y.wild.test:443'],
    ['b.test', 'a.test'],
    ['a.test', 'unknown.test'],
  ] as const) {
    for (const got of await range.all({ host, serverName }))
      t.same([got.status, got.upstream.length], [421, 0], `${got.variant} ${serverName} ${host}`);
  }
  for (const variant of ['h2 direct', 'h2 behind'] as const) {
    const both = await range.h2(variant, [...request('GET', '/', 'a.test'), ['host', 'b.test']]);
    t.same([both.status, both.upstream.length], [0, 0]);
    const alone = await range.h2(variant, [
      [':method', 'GET'],
      [':scheme', 'https'],
      [':path', '/'],
      ['host', 'b.test'],
    ]);
    t.same([alone.status, alone.upstream.length], [421, 0]);
    // The connection goes on for its own host.
    t.equal((await range.h2(variant, request())).status, 200);
  }
  t.equal(closed.bytes(), 0);
});

function handshake(fixture: Fixture, options: object): Promise<string> {
  return new Promise((resolve) => {
    const socket = tlsConnect({ host: '127.0.0.1', port: fixture.port, ca: fixture.ca, ALPNProtocols: ['http/1.1'], ...options });
    socket.once('secureConnect', () => {
      resolve('ok');
      socket.destroy();
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(`${error.code ?? ''} ${error.message}`));
  });
}

void t.test('T-3: a server name in another spelling is the same host; what is no name is none', async (t) => {
  const { range } = await start(t);
  const random = new Seeded(seed);
  const hello = await clientHello('a.test');
  const at = hello.indexOf('a.test');
  const withName = (name: string): Buffer => {
    const bytes = Buffer.from(hello);
    bytes.write(name, at, 'latin1');
    return bytes;
  };
  for (let i = 0; i < rounds(20); i++) {
    const name = Array.from('a.test', (char) => (random.below(2) === 0 ? char.toUpperCase() : char)).join('');
    t.equal(await firstByte(range.direct, [withName(name)]), 22, name);
  }
  // The same length, so that only the name changes: a trailing dot of another name, controls, spaces, empty labels, other letters.
  for (const name of [
    'a.tes.',
    'a.tes\0',
    '\0.test',
    'a..est',
    '.a.tes',
    'a test',
    'a.tes\xfe',
    '*.test',
    'a/test',
    'a@test',
    '-.test',
    'a.tes-',
    'xn--a.',
    '1.1.1.',
    '[::1].',
  ]) {
    t.not(await firstByte(range.direct, [withName(name)]), 22, JSON.stringify(name));
  }
  for (const host of ['A.Test', 'a.test.', 'A.TEST.:443'])
    for (const got of await range.all({ host, serverName: 'a.test' })) t.equal(got.status, 200, host);
  for (const host of ['xn--a-ecp.ru', 'xn--80ak6aa92e.com', '\u0430.test', 'a.t\u00e9st', 'xn--a.test']) {
    for (const got of await range.all({ host, serverName: 'a.test' }))
      t.ok([0, 400, 421].includes(got.status), `${got.variant} ${host} ${got.status}`);
  }
});

void t.test('T-5: one canonical host for routing, for access and for what the upstream is told of the port', async (t) => {
  const { range, closed } = await start(t);
  const random = new Seeded(seed);
  for (let i = 0; i < rounds(30); i++) {
    const name = Array.from(pick(random, ['a.test', 'b.test']), (char) => (random.below(2) === 0 ? char.toUpperCase() : char)).join('');
    const host = name + pick(random, ['', '.', ':443', '.:443', ':1', ':65535', ':00443']);
    const open = name.toLowerCase() === 'a.test';
    for (const got of await range.all({ host, serverName: name.toLowerCase() })) t.equal(got.status, open ? 200 : 401, `${got.variant} ${host}`);
  }
  for (const host of ['a.test:65536', 'a.test:-1', 'a.test:', 'a.test:x', 'a.test:443:443', 'a.test:4 3']) {
    for (const got of await range.all({ host, serverName: 'a.test' })) t.ok([0, 400].includes(got.status), `${got.variant} ${host} ${got.status}`);
  }
  t.equal(closed.bytes(), 0);
});

void t.test('T-6: a Host that is not exactly one host is refused', async (t) => {
  const { range, open, closed } = await start(t);
  const random = new Seeded(seed);
  const bad = [
    '',
    ' ',
    'a.test, b.test',
    'a.test b.test',
    'a.test/x',
    'a.test/@b.test',
    'user@a.test',
    'a.test@b.test',
    'a.test#x',
    'a.test?x',
    'a.test%2f',
    '%61.test',
    'a.test%00',
    '[::1',
    '::1',
    '[::1]:x',
    '[a.test]',
    'a..test',
    '.a.test',
    'a.test\\b',
    'http://a.test',
    'a.test;b',
    '"a.test"',
    `${'a'.repeat(254)}.test`,
  ];
  for (const host of bad) {
    for (const got of await range.all({ host, serverName: 'a.test' }))
      t.ok([0, 400, 421].includes(got.status), `${got.variant} ${JSON.stringify(host)} ${got.status}`);
  }
  for (let i = 0; i < rounds(20); i++) {
    const second = pick(random, ['a.test', 'b.test', 'A.TEST', '']);
    for (const variant of ['h1 direct', 'h1 behind'] as const) {
      const got = await range.ask(variant, { fields: [[pick(random, ['Host', 'HOST', 'host']), second]] });
      t.same([got.status, got.ended], [400, true], second);
    }
  }
  const none = await range.h1('h1 direct', 'GET / HTTP/1.1\r\n\r\n');
  t.equal(none.status, 400);
  t.ok(await range.quiet());
  t.same([open.bytes(), closed.bytes()], [0, 0]);
});

void t.test('T-8: among thousands of hosts each finds its own, in any spelling', async (t) => {
  const recorder = await startRecorder(t);
  const count = 3_000;
  const mappings = Array.from({ length: count }, (_none, i) => mapping(`h${i}.wild.test`, [path(recorder.port, { basePath: `/n${i}` })]));
  const range = await Range.start(t, mappings, [recorder]);
  const random = new Seeded(seed);
  for (let i = 0; i < rounds(20); i++) {
    const n = random.below(count);
    const host = pick(random, [`h${n}.wild.test`, `H${n}.WILD.test.`, `h${n}.Wild.Test:443`]);
    const got = await range.ask(pick(random, variants), { host, serverName: `h${n}.wild.test` });
    t.match(got.upstream[0], new RegExp(`^GET /n${n}/ `), host);
  }
});

const noOpenssl = spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not here to ask for early data';

void t.test('T-12: no data before the handshake is over', { skip: noOpenssl }, async (t) => {
  const fixture = await startFixture([]);
  t.teardown(fixture.close);
  const folder = await mkdtemp(join(tmpdir(), 'meshgate-early-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const client = spawn('openssl', [
    's_client',
    '-connect',
    `127.0.0.1:${fixture.port}`,
    '-servername',
    'a.test',
    '-tls1_3',
    '-alpn',
    'http/1.1',
    '-sess_out',
    join(folder, 'session'),
  ]);
  // Its output comes with its end, which the answer brings.
  client.stdin.write('GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n');
  let text = '';
  const ticket = new Promise<void>((resolve) => {
    client.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (/Max Early Data: \d+/.test(text)) resolve();
    });
    client.once('close', () => resolve());
  });
  await ticket;
  client.kill();
  t.match(text, /Max Early Data: 0\b/, 'tickets allow none');
});

void t.test('T-13: the protocol of ACME’s challenge speaks no HTTP, and an unknown host gets nothing by it', async (t) => {
  const { range, open } = await start(t);
  for (const servername of ['a.test', 'c.test', 'b.test'])
    t.not(await handshake(range.direct, { servername, ALPNProtocols: ['acme-tls/1'], rejectUnauthorized: false }), 'ok', servername);
  t.equal(open.bytes(), 0);
});

void t.test('T-14: a challenge path with a token that is not ours goes through everything else', async (t) => {
  const { range, closed } = await start(t);
  const random = new Seeded(seed);
  for (let i = 0; i < rounds(10); i++) {
    const token = pick(random, ['x', 'evil-token_1', '../x', '%2e%2e/x', '', 'a/b', random.bytes(16).toString('base64url')]);
    for (const got of await range.all({ host: 'b.test', target: `/.well-known/acme-challenge/${token}` }))
      t.equal(got.status, 401, `${got.variant} ${token}`);
    for (const got of await range.all({ host: 'a.test', target: `/.well-known/acme-challenge/${token}` })) t.equal(got.upstream.length, 1, token);
  }
  t.equal(closed.bytes(), 0);
});

void t.test('T-16: old versions, weak suites and renegotiation are refused', async (t) => {
  const { range } = await start(t);
  const fixture = range.direct;
  t.equal(await handshake(fixture, { servername: 'a.test' }), 'ok');
  for (const options of oldTls) {
    const got = await handshake(fixture, { servername: 'a.test', ...options }).catch(String);
    t.not(got, 'ok', JSON.stringify(options));
  }
  t.not(await firstByte(fixture, [Buffer.from('802e0100020015000000100100800200800300800400800500800600400700c0', 'hex')]), 22, 'SSLv2');
  const socket = tlsConnect({
    host: '127.0.0.1',
    port: fixture.port,
    servername: 'a.test',
    ca: fixture.ca,
    maxVersion: 'TLSv1.2',
    ALPNProtocols: ['http/1.1'],
  });
  await new Promise((resolve) => socket.once('secureConnect', resolve));
  const renegotiated = await new Promise((resolve) => {
    socket.on('error', () => resolve('refused'));
    socket.once('close', () => resolve('refused'));
    socket.renegotiate({}, (error) => resolve(error === null ? 'done' : 'refused'));
  });
  t.equal(renegotiated, 'refused');
});

void t.test('T-17: an upstream has to prove its name; whoever waives that is the service, one by one', async (t) => {
  const other = await createTestCa();
  const good = await issue(['inner.test']);
  const strange = await other.issue(['inner.test']);
  let requests = 0;
  const serve = async (cert: string, key: string): Promise<number> => {
    const server = createTlsServer({ cert, key }, (socket) => {
      socket.on('error', () => undefined);
      socket.on('data', () => {
        requests++;
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
    });
    server.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => server.close());
    return (server.address() as { port: number }).port;
  };
  // Both are asked for as 127.0.0.1, which stands in neither certificate.
  const rows = [
    ['another name', await serve(good.certPem, good.keyPem)],
    ['another authority', await serve(strange.certPem, strange.keyPem)],
  ] as const;
  for (const [what, port] of rows) {
    const range = await Range.start(
      t,
      [mapping('a.test', [path(port, { protocol: 'https' })]), mapping('b.test', [path(port, { protocol: 'https', skipTlsVerify: true })])],
      [],
    );
    for (const got of await range.all({})) t.equal(got.status, 502, `${what} ${got.variant}`);
    t.equal(requests, 0, 'nothing was said to it');
    for (const got of await range.all({ host: 'b.test' })) t.equal(got.status, 200, `${what} waived ${got.variant}`);
    requests = 0;
  }
});

void t.test('X-5: a request that comes back to us ends within two rounds', async (t) => {
  let port = 0;
  const looping = await startFixture([mapping('a.test', [path(1, { protocol: 'https', skipTlsVerify: true })])]);
  t.teardown(looping.close);
  port = looping.port;
  // The service's target is the gateway itself. It is named by address, so the inner handshake says the public host through a hop in between.
  let rounds = 0;
  const hop = await listenTcp((socket) => {
    socket.once('data', (first: Buffer) => {
      rounds++;
      const inner = tlsConnect({ host: '127.0.0.1', port, servername: 'a.test', ca: looping.ca, ALPNProtocols: ['http/1.1'] });
      inner.on('error', () => socket.destroy());
      inner.write(first);
      socket.pipe(inner).pipe(socket);
    });
  });
  t.teardown(hop.close);
  looping.setRoutes([mapping('a.test', [path(hop.port)])]);
  const range = new Range(looping, looping, []);
  t.teardown(() => range.close());
  for (const variant of variants) {
    rounds = 0;
    const got = await range.ask(variant, {});
    t.equal(got.status, 508, variant);
    t.ok(rounds <= 2, `${rounds} rounds`);
  }
});
