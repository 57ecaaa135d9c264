// Challenge paths (attack rows T-13, T-14, T-15, R-4): only live answers, only for the exact host; everything else goes its usual way.
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect as tcpConnect, type Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import t from 'tap';
import { systemClock } from '#lib/clock.ts';
import { LiveChallenges } from '#publish/certs/acme/challenges.ts';
import { unshared, type ClusterStore } from '#publish/certs/acme/cluster-store.ts';
import { CHALLENGE_HANDSHAKE_MS, NO_ANSWER_MS } from '#publish/certs/acme/constants.ts';
import { plainConnectionsPerAddress } from '../../../src/gateway/constants.ts';
import { listenPlainHttp } from '../../../src/gateway/listen/plain-http.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';
import { exchange, mapping, path, readAll, startEcho, startFixture, withLogin, type Fixture } from '../harness.ts';
import { openDoor } from '../../support/open-door.ts';

const authorization = `tok_-1.${'a'.repeat(43)}`;

function live(store: ClusterStore = unshared): LiveChallenges {
  return new LiveChallenges({ known: (host) => host === 'a.test', store, clock: systemClock });
}

/** What a validating authority sees: the certificate, or why there is none. */
function validate(fixture: Fixture, servername: string, alpn: readonly string[] = ['acme-tls/1']): Promise<X509Certificate | string> {
  return new Promise((resolve) => {
    const socket = tlsConnect({ host: '127.0.0.1', port: fixture.port, servername, ALPNProtocols: [...alpn], rejectUnauthorized: false }, () => {
      const certificate = socket.getPeerX509Certificate();
      resolve(certificate ?? 'no certificate');
      socket.destroy();
    });
    socket.once('error', (error) => resolve(error.message));
  });
}

void t.test('T-13: acme-tls/1 is answered for a live name only, with nothing but the challenge certificate', async (t) => {
  const challenges = live();
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)])], { challenges });
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  t.match(await validate(fixture, 'a.test'), /unrecognized.?name/i, 'a host of ours without a live challenge');
  const end = await challenges.add({ type: 'tls-alpn-01', name: 'a.test', token: 'tok', keyAuthorization: authorization });
  const seen = await validate(fixture, 'a.test');
  if (typeof seen === 'string') return t.fail(seen);
  t.equal(seen.subject, seen.issuer, 'self-signed');
  t.equal(seen.subjectAltName, 'DNS:a.test');
  for (const name of ['b.test', 'x.a.test', 'unknown.test']) t.match(await validate(fixture, name), /unrecognized.?name/i, name);
  const mixed = await validate(fixture, 'a.test', ['acme-tls/1', 'http/1.1']);
  t.match(typeof mixed === 'string' ? mixed : mixed.issuer, /test CA/, 'a visitor who offers more gets the certificate of the host');
  end();
  t.match(await validate(fixture, 'a.test'), /unrecognized.?name/i, 'afterwards');
  t.equal(echo.connections(), 0, 'nothing reached the upstream');
  return undefined;
});

void t.test('T-13: many that stall in the middle are gone after the deadline', async (t) => {
  const challenges = live({ ...unshared, find: () => new Promise(() => undefined) });
  const fixture = await startFixture([], { challenges });
  t.teardown(() => fixture.close());
  // A ClientHello as OpenSSL writes it, caught and played again: then silence.
  const hello = await captureHello();
  const begun = performance.now();
  await Promise.all(
    Array.from({ length: 200 }, async () => {
      const socket = tcpConnect(fixture.port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write(hello);
      await new Promise((resolve) => socket.once('close', resolve).resume());
    }),
  );
  const ms = performance.now() - begun;
  t.comment(`figure: 200 stalled challenge handshakes closed after ${Math.round(ms)} ms`);
  t.ok(ms < CHALLENGE_HANDSHAKE_MS + 3_000);
  await until('all are forgotten', () => fixture.publisher.stats().connections === 0);
});

async function captureHello(): Promise<Buffer> {
  const { createServer } = await import('node:net');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const caught = new Promise<Buffer>((resolve) => {
    server.once('connection', (socket) => socket.on('error', () => undefined).once('data', (chunk) => resolve(chunk as Buffer)));
  });
  const client = tlsConnect({ host: '127.0.0.1', port, servername: 'a.test', ALPNProtocols: ['acme-tls/1'] });
  client.on('error', () => undefined);
  const hello = await caught;
  client.destroy();
  server.close();
  return hello;
}

void t.test('T-14: the challenge path over https goes through the whole policy', async (t) => {
  const challenges = live();
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)], withLogin)], { challenges });
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  await challenges.add({ type: 'http-01', name: 'a.test', token: 'tok_-1', keyAuthorization: authorization });
  for (const token of ['tok_-1', 'other']) {
    const answer = await exchange(fixture, `GET /.well-known/acme-challenge/${token} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n`);
    t.match(answer, /^HTTP\/1\.1 401 /);
    t.notMatch(answer, /aaaaa/);
  }
  t.equal(echo.connections(), 0);
});

void t.test('R-4, HTTP-01: the plain port knows live tokens of the exact host, redirects of served hosts, and nothing else', async (t) => {
  const challenges = live();
  await challenges.add({ type: 'http-01', name: 'a.test', token: 'tok_-1', keyAuthorization: authorization });
  const token = (host: string, asked: string): Promise<string | undefined> => challenges.token(host, asked);
  const listener = await listenPlainHttp(
    { host: '127.0.0.1', port: 0 },
    { known: (host) => ['a.test', 'b.test'].includes(host), token, httpsPort: 443, door: openDoor },
  );
  t.teardown(() => listener.close());
  const ask = (head: string): Promise<string> => {
    const socket = tcpConnect(listener.port, '127.0.0.1');
    const all = readAll(socket);
    socket.on('error', () => undefined);
    socket.write(`${head}\r\n\r\n`, 'latin1');
    return all;
  };
  const well = '/.well-known/acme-challenge/';
  const found = await ask(`GET ${well}tok_-1 HTTP/1.1\r\nHost: A.test:80`);
  t.match(found, /^HTTP\/1\.1 200 /);
  t.ok(found.endsWith(`\r\n\r\n${authorization}`));
  t.match(
    await ask(`GET ${well}tok_-1 HTTP/1.1\r\nHost: b.test`),
    /^HTTP\/1\.1 308 .*location: https:\/\/b\.test\/\.well-known\/acme-challenge\/tok_-1\r\n/is,
  );
  t.match(await ask(`POST ${well}tok_-1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0`), /^HTTP\/1\.1 308 /);
  t.match(await ask(`GET ${well}tok_-1/ HTTP/1.1\r\nHost: a.test`), /^HTTP\/1\.1 308 /);
  t.match(await ask(`GET ${well}../x HTTP/1.1\r\nHost: a.test`), /^HTTP\/1\.1 308 /);
  t.match(
    await ask('GET /p?q=1 HTTP/1.1\r\nHost: a.test:8080\r\nX-Forwarded-Host: evil.test'),
    /^HTTP\/1\.1 308 .*location: https:\/\/a\.test\/p\?q=1\r\n/is,
  );
  for (const host of ['evil.test', 'a.test.evil.test', 'evila.test', '127.0.0.1', 'a.test@evil.test', 'evil.test/a.test', 'a.test evil.test', '']) {
    const answer = await ask(`GET / HTTP/1.1\r\nHost: ${host}`);
    t.match(answer, /^HTTP\/1\.1 4\d\d /, host);
    t.notMatch(answer, /location/i, host);
  }
  for (const head of [
    'GET http://evil.test/ HTTP/1.1\r\nHost: a.test',
    'GET / HTTP/1.1\r\nHost: a.test\r\nHost: evil.test',
    'GET / HTTP/1.0',
    'GET //evil.test/ HTTP/1.1\r\nHost: a.test',
  ]) {
    const location = /location: (.*)\r\n/i.exec(await ask(head))?.[1];
    if (location !== undefined) t.match(location, /^https:\/\/a\.test\//, head);
  }
  t.match(await ask('BREW\r\n'), /^(HTTP\/1\.1 400|$)/);
});

void t.test('the plain port has room for others, whatever one address holds', async (t) => {
  const listener = await listenPlainHttp(
    { host: '127.0.0.1', port: 0 },
    { known: () => true, token: () => Promise.resolve(undefined), httpsPort: 443, door: openDoor },
  );
  t.teardown(() => listener.close());
  const dial = (from: string): Socket => tcpConnect({ port: listener.port, host: '127.0.0.1', localAddress: from }).on('error', () => undefined);
  const held = Array.from({ length: plainConnectionsPerAddress }, () => dial('127.0.0.1').resume());
  await Promise.all(held.map((socket) => once(socket, 'connect')));
  await once(dial('127.0.0.1').resume(), 'close');
  t.ok(
    held.every((socket) => !socket.closed),
    'one more is closed, the others are not',
  );
  const other = dial('127.0.0.2');
  other.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  t.match(await readAll(other), /^HTTP\/1\.1 308 /);
  for (const socket of held) socket.destroy();
});

void t.test('T-15: strangers cannot make us ask the cluster at will', async (t) => {
  let asked = 0;
  const store: ClusterStore = {
    ...unshared,
    find: () => {
      asked++;
      return Promise.resolve(undefined);
    },
  };
  const challenges = live(store);
  for (let i = 0; i < 1_000; i++) {
    t.equal(await challenges.token(`${i}.random.test`, 'tok'), undefined);
    if (i < 50) t.equal(await challenges.token('a.test', `tok${i}`), undefined);
  }
  t.equal(asked, 1);
});

void t.test('T-15: strangers cannot hide the answer of another gateway by asking for others', async (t) => {
  const clock = new ManualClock();
  let presented: string | undefined;
  let slow: Promise<void> = Promise.resolve();
  const store: ClusterStore = {
    ...unshared,
    find: async () => {
      const found = presented;
      await slow;
      return found;
    },
  };
  const challenges = new LiveChallenges({ known: (host) => host === 'a.test', store, clock });
  const { promise, resolve } = Promise.withResolvers<void>();
  slow = promise;
  const early = challenges.token('a.test', 'bogus');
  presented = authorization;
  clock.advance(NO_ANSWER_MS);
  resolve();
  t.equal(await early, undefined);
  t.equal(await challenges.token('a.test', 'bogus'), undefined);
  t.equal(await challenges.token('a.test', 'tok_-1'), authorization, 'what was asked before it was there is believed for so long only');
  const [bogus, real] = await Promise.all([challenges.token('a.test', 'bogus'), challenges.token('a.test', 'tok_-1')]);
  t.same([bogus, real], [undefined, authorization]);
});

void t.test('a key is made once for a challenge of another gateway, however often it is asked for', async (t) => {
  let found: string | undefined = authorization;
  const clock = new ManualClock();
  const store = { ...unshared, find: () => Promise.resolve(found) };
  const challenges = new LiveChallenges({ known: (host) => host === 'a.test', store, clock });
  const first = await challenges.certificate('a.test');
  const more = await Promise.all(Array.from({ length: 50 }, () => challenges.certificate('a.test')));
  t.ok(
    more.every((certificate) => certificate !== undefined && certificate === first),
    'one certificate',
  );
  found = `tok2.${'b'.repeat(43)}`;
  const next = await challenges.certificate('a.test');
  t.ok(next !== undefined && next !== first, 'another challenge is another one');
  found = undefined;
  t.equal(await challenges.certificate('a.test'), undefined, 'one that is over is not answered');
});

void t.test('an answer of another gateway is given out only where it answers this token', async (t) => {
  for (const [found, given] of [
    [authorization, authorization],
    [`other.${'a'.repeat(43)}`, undefined],
    ['tok_-1.<script>', undefined],
  ] as const) {
    const challenges = live({ ...unshared, find: () => Promise.resolve(found) });
    t.equal(await challenges.token('a.test', 'tok_-1'), given);
  }
  const challenges = live({ ...unshared, find: () => Promise.resolve(authorization) });
  t.same((await challenges.certificate('a.test'))?.names, ['a.test']);
  t.equal(await challenges.certificate('b.test'), undefined);
});
