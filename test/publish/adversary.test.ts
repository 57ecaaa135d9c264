// What an attacker on the client's side tries with requests that the grammar allows: paths of two readings, folded names, stale decisions, foreign pages.
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import type { SessionLookup } from '#model/identity.ts';
import { LINGER_MS, SWEEP_MS } from '#publish/constants.ts';
import { Deadlines } from '#publish/http/deadlines.ts';
import type { Exchange } from '#publish/http/exchange.ts';
import { H1Connection } from '#publish/http/server-h1.ts';
import { emptyFields } from '#wire/http1-fields.ts';
import { exchange, listenTcp, mapping, path, session, startEcho, startFixture, withLogin, type Echo, type Fixture } from './harness.ts';
import { ManualClock } from '../support/manual-clock.ts';

async function start(t: Test, mappings: (port: number) => Parameters<typeof startFixture>[0]): Promise<{ fixture: Fixture; echo: Echo }> {
  const echo = await startEcho();
  const fixture = await startFixture(mappings(echo.port));
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  return { fixture, echo };
}

const get = (target: string, extra = '', host = 'a.test'): string => `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${extra}Connection: close\r\n\r\n`;

/** Lets what is on the loopback arrive. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}

void t.test('no reading of a path leaves what is published', async (t) => {
  const { fixture, echo } = await start(t, (port) => [
    mapping('a.test', [path(port, { path: '/public' }), path(port, { path: '/public/deep', basePath: '/d' })]),
    mapping('b.test', [path(port, { basePath: '/base' })]),
    mapping('x.wild.test', [path(port)]),
    mapping('y.wild.test', [path(port, { path: '/s', pathRewrite: 'strip', basePath: '/base' })]),
  ]);
  const ups = ['..', '%2e%2e', '%2E.', '.%2e', '..;', '..;x=1', '%252e%252e', '%2e%2e%3bx'];
  const slashes = ['/', '%2f', '%5c', '\\', '//', '%252f', '/./', '/;/', '/%2f'];
  for (const up of ups) {
    for (const slash of slashes) {
      const climb = `${slash}${up}${slash}`;
      t.match(await exchange(fixture, get(`/public/a${climb}..${slash}admin`)), /^HTTP\/1\.1 404/, climb);
      t.match(await exchange(fixture, get(`/public/${up}${slash}admin`)), /^HTTP\/1\.1 404/, climb);
    }
    t.match(await exchange(fixture, get(`/public/${up}`)), /^HTTP\/1\.1 404/, up);
    t.match(await exchange(fixture, get(`/public/${up}/public/x`)), /^HTTP\/1\.1 404/, up);
    t.match(await exchange(fixture, get(`/${up}/admin`, '', 'b.test'), 'b.test'), /^HTTP\/1\.1 404/, up);
    t.match(await exchange(fixture, get(`/s/${up}/s/x`, '', 'y.wild.test'), 'y.wild.test'), /^HTTP\/1\.1 404/, up);
  }
  for (const other of ['/public//deep', '/public/%64eep/x', '/public/a/../deep', '/public/%2564eep', '/public\\deep', '/public/;/deep']) {
    t.match(await exchange(fixture, get(other)), /^HTTP\/1\.1 404/, other);
  }
  t.equal(echo.received.length, 0);
  for (const odd of [
    '/public/group%2Fproject',
    '/public/a/../b',
    '/public/x;jsessionid=1',
    '/public/a%20b',
    '/public/..a/...',
    '/public/%zz',
    '/public/a//b',
  ]) {
    await exchange(fixture, get(odd));
    t.equal(echo.received.at(-1)?.split(' ')[1], odd, odd);
  }
  // One target for everything: nothing is hidden from a plain path, so every byte goes through.
  for (const odd of ['//cdn', '/../x', '/a/%2e%2e/b', '/a\\..\\b']) {
    await exchange(fixture, get(odd, '', 'x.wild.test'), 'x.wild.test');
    t.equal(echo.received.at(-1)?.split(' ')[1], odd, odd);
  }
});

void t.test('names that an upstream could fold onto ours are removed, also those that the service sets itself', async (t) => {
  const { fixture, echo } = await start(t, (port) => [mapping('a.test', [path(port, { customHeaders: { 'X-Api-Role': 'reader' } })])]);
  const spelled = [
    'X-Api-Role',
    'X_Api_Role',
    'x.api.role',
    'X~Api|Role',
    'Remote|User',
    'Remote^User',
    "X'Forwarded'For",
    'X`Real`Ip',
    'X-Request-Id',
    'X_Request_Id',
  ];
  for (const name of spelled) {
    await exchange(fixture, get('/', `${name}: evil\r\n`));
    t.notMatch(echo.received.at(-1), /evil/, name);
  }
  await exchange(
    fixture,
    'POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Api-Role: evil\r\nX_Api_Role: evil\r\nRemote|User: evil\r\nX-Sum: 1\r\n\r\n',
  );
  t.match(echo.received.at(-1), /X-Sum: 1\r\n/);
  t.notMatch(echo.received.at(-1), /evil/);
});

void t.test('a loop is seen behind a Via of the client’s own', async (t) => {
  const { fixture } = await start(t, (port) => [mapping('a.test', [path(port)])]);
  t.match(await exchange(fixture, get('/', 'Via: 1.1 x\r\nVia: 1.1 meshgate\r\nVia: 1.1 meshgate\r\n')), /^HTTP\/1\.1 508/);
});

void t.test('a service token is for us: no upstream sees it, not even that of a public service', async (t) => {
  const { fixture, echo } = await start(t, (port) => [mapping('a.test', [path(port)])]);
  await exchange(fixture, get('/', 'Authorization: Bearer nbp_secret\r\n'));
  t.notMatch(echo.received[0], /nbp_secret/);
  await exchange(fixture, get('/', 'Authorization: Bearer theirs\r\n'));
  t.match(echo.received[1], /Authorization: Bearer theirs\r\n/);
});

void t.test('a cookie without a name cannot be taken for ours', async (t) => {
  const upstream = await listenTcp((socket: Socket) => {
    socket.on('data', () =>
      socket.write(
        'HTTP/1.1 200 OK\r\nSet-Cookie: =__Host-meshgate=evil\r\nSet-Cookie: __Host-meshgate\r\nSet-Cookie: __HOST-Meshgate=evil\r\nSet-Cookie: ok=1\r\nContent-Length: 0\r\n\r\n',
      ),
    );
  });
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)])]);
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  const answer = await exchange(fixture, get('/'));
  t.match(answer, /Set-Cookie: ok=1/);
  t.notMatch(answer, /meshgate/i);
});

const upgrade = (extra: string, host = 'a.test'): string =>
  `GET /ws HTTP/1.1\r\nHost: ${host}\r\nCookie: __Host-meshgate=s1\r\n${extra}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;

const switching = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

void t.test('a WebSocket of another origin has no session: other ports and schemes are other origins', async (t) => {
  let dialled = 0;
  const upstream = await listenTcp((socket: Socket) => {
    dialled++;
    socket.once('data', () => socket.end(switching));
  });
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)], withLogin)]);
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  fixture.identity.sessions.set('s1', { kind: 'live', session: session('s1', mapping('a.test', []).id) });
  for (const origin of [
    'https://a.test:8443',
    'http://a.test',
    'null',
    'https://a.test.',
    'https://evil.test',
    'https://x.a.test',
    'https://a.test/',
  ]) {
    t.match(await exchange(fixture, upgrade(`Origin: ${origin}\r\n`).replace('Upgrade\r\n', 'Upgrade, close\r\n')), /^HTTP\/1\.1 401/, origin);
  }
  t.equal(dialled, 0);
  t.match(await exchange(fixture, upgrade('Origin: https://a.test\r\n')), /^HTTP\/1\.1 101/);
  t.match(await exchange(fixture, upgrade('Origin: https://a.test:8443\r\n', 'a.test:8443')), /^HTTP\/1\.1 101/);
});

void t.test('what was decided under routes that have changed is decided again', async (t) => {
  const { fixture, echo } = await start(t, (port) => [mapping('a.test', [path(port)], withLogin)]);
  const found = Promise.withResolvers<SessionLookup>();
  fixture.identity.findSession = () => found.promise;
  const answer = exchange(fixture, get('/', 'Cookie: __Host-meshgate=s1\r\n'));
  while (fixture.publisher.stats().connections === 0) await settle();
  await settle();
  fixture.setRoutes([mapping('a.test', [path(echo.port)], { ...withLogin, private: true })]);
  found.resolve({ kind: 'live', session: session('s1', mapping('a.test', []).id) });
  t.match(await answer, /^HTTP\/1\.1 403/);
  t.equal(echo.received.length, 0);
});

void t.test('an upgrade that is answered after its route has changed is cut', async (t) => {
  const clock = new ManualClock();
  const asked = Promise.withResolvers<Socket>();
  const upstream = await listenTcp((socket: Socket) => socket.once('data', () => asked.resolve(socket)));
  const before = mapping('a.test', [path(upstream.port)], withLogin);
  const fixture = await startFixture([before], { clock });
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  fixture.identity.sessions.set('s1', { kind: 'live', session: session('s1', before.id, clock.wall() + 1_000_000) });
  const socket = await fixture.connect('a.test');
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.resume();
  socket.write(upgrade(''));
  const inner = await asked.promise;
  fixture.setRoutes([{ ...before, private: true }]);
  clock.advance(2 * SWEEP_MS);
  inner.write(switching);
  await closed;
  t.equal(fixture.publisher.stats().streams, 0);
});

void t.test('an answer that must have no body and comes with one is nobody else’s answer', async (t) => {
  const poison = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison';
  const upstream = await listenTcp((socket: Socket) => {
    let late = '';
    socket.on('data', (chunk: Buffer) => {
      const [method, target] = chunk.toString('latin1').split(' ');
      if (late !== '') socket.write(late);
      else if (method === 'HEAD' || target === '/304')
        socket.write(`HTTP/1.1 ${target === '/304' ? 304 : 200} OK\r\nContent-Length: ${poison.length}\r\n\r\n`);
      else if (target === '/204') socket.write(`HTTP/1.1 204 None\r\nContent-Length: ${poison.length}\r\n\r\n`);
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      if (method === 'HEAD' || target !== '/') late = poison;
    });
  });
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)])]);
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  for (const request of [get('/').replace('GET', 'HEAD'), get('/204'), get('/304')]) {
    await exchange(fixture, request);
    t.match(await exchange(fixture, get('/')), /\r\n\r\nok$/, request.slice(0, 12));
  }
});

void t.test('a connection on which a user signed in to the upstream serves nobody else', async (t) => {
  const { fixture, echo } = await start(t, (port) => [mapping('a.test', [path(port)])]);
  for (const scheme of ['NTLM', 'Negotiate']) {
    const before = echo.connections();
    await exchange(fixture, get('/', `Authorization: ${scheme} TlRMTVNTUAAB\r\n`));
    await exchange(fixture, get('/'));
    await exchange(fixture, get('/'));
    // The first exchange of the second round takes the kept connection of the round before.
    t.equal(echo.connections() - before, scheme === 'NTLM' ? 2 : 1, scheme);
  }
});

/** A client that takes what is written to it only when told. */
class Slow extends Duplex {
  taken = '';
  #accept: (() => void) | undefined;
  override _read(): void {}
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#accept = () => {
      this.taken += chunk.toString('latin1');
      done();
    };
  }
  accept(): void {
    this.#accept?.();
  }
}

void t.test('a client that reads slowly gets the end of its last answer', async (t) => {
  const clock = new ManualClock();
  const deadlines = new Deadlines(clock);
  t.teardown(() => deadlines.close());
  const body = Buffer.from('the end');
  const handle = (exchange: Exchange): void => {
    exchange.answer({ status: 200, reason: 'OK', fields: emptyFields(), length: body.length });
    exchange.write(body);
    exchange.end(undefined);
  };
  const client = {
    remote: { address: '192.0.2.1', port: 1 },
    peer: undefined,
    local: { address: '192.0.2.2', port: 443 },
    id: 1,
    serverName: 'a.test',
    shown: undefined,
    meshPeer: undefined,
  };
  const socket = new Slow();
  const connection = new H1Connection(socket as unknown as Socket, client, { deadlines, handle, refused: () => undefined, closed: () => undefined });
  socket.push(get('/'));
  await settle();
  clock.advance(3 * LINGER_MS);
  t.equal(socket.destroyed, false);
  t.equal(connection.draining, false);
  socket.accept();
  await settle();
  t.match(socket.taken, /the end$/);
  clock.advance(LINGER_MS + 2 * SWEEP_MS);
  t.equal(socket.destroyed, true);
});
