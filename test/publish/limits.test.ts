// Deadlines and shutting down, in virtual time: slow clients are cut, quick ones are not, and draining lets work finish.
import { connect as tcpConnect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { BODY_STALL_MS, HANDSHAKE_MS, HEAD_MS, IDLE_MS, LINGER_MS, PATH_CHECK_MS, SWEEP_MS, WRITE_STALL_MS } from '#publish/constants.ts';
import { exchange, listenTcp, mapping, path, readAll, readUntil, startEcho, startFixture, type Echo, type Fixture } from './harness.ts';
import { clientHello } from '../support/hostile.ts';
import { ManualClock } from '../support/manual-clock.ts';

async function start(t: Test): Promise<{ fixture: Fixture; clock: ManualClock; echo: Echo }> {
  const clock = new ManualClock();
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)])], { clock });
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  return { fixture, clock, echo };
}

/** Lets what is on the loopback arrive. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}

void t.test('a handshake that does not come ends', async (t) => {
  const { fixture, clock } = await start(t);
  const socket = tcpConnect(fixture.port, '127.0.0.1');
  socket.on('error', () => undefined);
  const all = readAll(socket);
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.write(Buffer.from([22, 3, 1]));
  while (fixture.publisher.stats().connections === 0) await settle();
  clock.advance(HANDSHAKE_MS + SWEEP_MS);
  t.equal(await all, '');
});

void t.test('a client that leaves within its handshake gives its place back at once', async (t) => {
  const { fixture } = await start(t);
  const hello = await clientHello('a.test');
  for (const bytes of [Buffer.alloc(0), hello.subarray(0, 200), hello]) {
    const socket = tcpConnect(fixture.port, '127.0.0.1');
    socket.on('error', () => undefined);
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.end(bytes);
    await new Promise((resolve) => socket.resume().once('close', resolve));
    while (fixture.publisher.stats().connections > 0) await settle();
  }
  t.pass('without the clock');
});

void t.test('a client that keeps its side open after an unknown name is cut off', async (t) => {
  const { fixture, clock } = await start(t);
  const socket = tcpConnect({ port: fixture.port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => undefined);
  const ended = new Promise((resolve) => socket.once('end', resolve));
  socket.resume().write(await clientHello('c.example'));
  await ended;
  t.equal(fixture.publisher.stats().connections, 1);
  clock.advance(LINGER_MS + SWEEP_MS);
  while (fixture.publisher.stats().connections > 0) await settle();
  socket.destroy();
});

void t.test('nothing that follows a CONNECT is read as a request', async (t) => {
  const { fixture, echo } = await start(t);
  const socket = await fixture.connect('a.test');
  socket.write('CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /tunnel HTTP/1.1\r\nHost: a.test\r\n\r\n');
  t.match(await readAll(socket), /^HTTP\/1\.1 405 [\s\S]*Connection: close/);
  t.equal(echo.received.length, 0);
});

void t.test('a head that drips in is answered with 408 and closed', async (t) => {
  const { fixture, clock, echo } = await start(t);
  const socket = await fixture.connect('a.test');
  const all = readAll(socket);
  socket.write('GET / HT');
  await settle();
  clock.advance(HEAD_MS / 2);
  socket.write('TP/1.1\r\n');
  await settle();
  clock.advance(HEAD_MS / 2 + SWEEP_MS);
  t.match(await all, /^HTTP\/1\.1 408 /);
  t.equal(echo.received.length, 0);
});

void t.test('a kept connection without a request ends after its idle time, not before', async (t) => {
  const { fixture, clock } = await start(t);
  const socket = await fixture.connect('a.test');
  const answer = readUntil(socket, (text) => text.endsWith('\r\n\r\n') && text.includes('GET /'));
  socket.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  await answer;
  const closed = new Promise((resolve) => socket.once('close', resolve));
  clock.advance(IDLE_MS - SWEEP_MS);
  await settle();
  t.equal(socket.closed, false);
  clock.advance(2 * SWEEP_MS);
  await closed;
});

void t.test('a body that stops coming ends the request and frees the upstream', async (t) => {
  const { fixture, clock, echo } = await start(t);
  const socket = await fixture.connect('a.test');
  const closed = readAll(socket);
  socket.write('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc');
  while (echo.connections() === 0) await settle();
  const entry = fixture.nextEntry();
  clock.advance(BODY_STALL_MS + 2 * SWEEP_MS);
  await closed;
  t.match(await entry, { bytesUp: 3, reason: 'public_service' });
  t.equal(fixture.publisher.stats().streams, 0);
});

void t.test('a request whose upstream has lost its path is answered soon; one that is only slow goes on', async (t) => {
  const clock = new ManualClock();
  let there = true;
  const upstream = await listenTcp(() => undefined);
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)])], { clock, reachable: () => there });
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  const socket = await fixture.connect('a.test');
  const answer = readAll(socket);
  socket.write('GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n');
  while (fixture.publisher.stats().streams === 0) await settle();
  for (let i = 0; i < 3; i++) {
    clock.advance(PATH_CHECK_MS + SWEEP_MS);
    await settle();
  }
  t.equal(fixture.publisher.stats().streams, 1, 'slow is allowed');
  there = false;
  const entry = fixture.nextEntry();
  clock.advance(PATH_CHECK_MS + SWEEP_MS);
  t.match(await answer, /^HTTP\/1\.1 502 /);
  t.match(await entry, { status: 502, reason: 'upstream_unreachable' });
  t.equal(fixture.publisher.stats().refused['upstream_unreachable'], 1);
});

void t.test('a client that takes nothing is cut off', async (t) => {
  const clock = new ManualClock();
  const upstream = await listenTcp((socket: Socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n');
      const more = (): void => {
        while (socket.write(Buffer.alloc(65_536)));
      };
      socket.on('drain', more);
      more();
    });
  });
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)])], { clock });
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  const socket = await fixture.connect('a.test');
  socket.pause();
  const entry = fixture.nextEntry();
  socket.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  while (fixture.entries.length === 0) {
    await settle();
    clock.advance(WRITE_STALL_MS + SWEEP_MS);
  }
  t.match(await entry, { status: 200 });
  socket.destroy();
});

void t.test('draining ends idle connections, lets work finish, and takes nothing new', async (t) => {
  let answer: () => void = () => undefined;
  const upstream = await listenTcp((socket: Socket) => {
    socket.on('data', () => {
      answer = () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  });
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)])]);
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  const idle = await fixture.connect('a.test');
  const busy = await fixture.connect('a.test');
  const got = readAll(busy);
  busy.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  while (fixture.publisher.stats().streams === 0) await settle();
  await settle();
  const idleClosed = readAll(idle);
  const drained = fixture.publisher.drain(5_000);
  t.equal(await idleClosed, '');
  await t.rejects(fixture.connect('a.test'));
  answer();
  t.match(await got, /^HTTP\/1\.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok$/);
  await drained;
  t.match(fixture.publisher.stats(), { connections: 0, streams: 0 });
});

void t.test('requests to a thousand hosts find their own', async (t) => {
  const echo = await startEcho();
  const many = Array.from({ length: 1_000 }, (_none, i) => mapping(`h${i}.wild.test`, [path(echo.port, { basePath: `/n${i}` })]));
  const fixture = await startFixture(many);
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  for (const i of [0, 99, 100, 999]) {
    await exchange(fixture, `GET / HTTP/1.1\r\nHost: H${i}.wild.test\r\nConnection: close\r\n\r\n`, `h${i}.wild.test`);
    t.match(echo.received.at(-1), new RegExp(`^GET /n${i}/ `));
  }
});
