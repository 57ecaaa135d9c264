// What a service allows one request, and all of them: sizes, times, numbers; and the word that a client may wait for before its body.
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { asId, type ServiceId } from '#model/ids.ts';
import { defaultWeb, type WebLimits } from '#model/web.ts';
import { ANSWER_MS, CONTINUE_MS, SWEEP_MS } from '#publish/constants.ts';
import { ServiceLoad } from '#publish/http/service-load.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { exchange, h2Client, listenTcp, mapping, path, readUntil, startEcho, startFixture, type Fixture } from './harness.ts';

const limited = (limits: Partial<WebLimits>) => ({ web: { ...defaultWeb, limits: { ...defaultWeb.limits, ...limits } } });

interface Upstream {
  readonly port: number;
  readonly heads: string[];
  readonly sockets: Socket[];
  /** Everything that each connection sent. */
  readonly received: string[];
}

/** An upstream that does what `answer` does with each connection's bytes. */
async function serve(t: Test, answer: (socket: Socket, text: string) => void): Promise<Upstream> {
  const sockets: Socket[] = [];
  const received: string[] = [];
  const server = await listenTcp((socket) => {
    const index = sockets.push(socket) - 1;
    received[index] = '';
    socket.on('data', (chunk: Buffer) => {
      received[index] += chunk.toString('latin1');
      answer(socket, received[index] ?? '');
    });
  });
  t.teardown(server.close);
  return { port: server.port, heads: received, sockets, received };
}

async function start(t: Test, port: number, limits: Partial<WebLimits>, changes: Parameters<typeof startFixture>[1] = {}): Promise<Fixture> {
  const fixture = await startFixture([mapping('a.test', [path(port)], limited(limits))], changes);
  t.teardown(() => fixture.close());
  return fixture;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

const post = (length: number, body: string): string =>
  `POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: ${length}\r\n\r\n${body}`;
const chunked = (...chunks: readonly string[]): string =>
  `POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${chunks.map((text) => `${text.length.toString(16)}\r\n${text}\r\n`).join('')}0\r\n\r\n`;

void t.test('a body that is stated too large is refused before anything is dialled', async (t) => {
  const echo = await startEcho();
  t.teardown(echo.close);
  const fixture = await start(t, echo.port, { maxBodyBytes: 10 });
  t.match(await exchange(fixture, post(10, '0123456789')), /^HTTP\/1\.1 200/);
  const answer = await exchange(fixture, post(11, ''));
  t.match(answer, /^HTTP\/1\.1 413 [\s\S]*"reason":"body_too_large"/);
  t.match(fixture.entries.at(-1), { status: 413, reason: 'body_too_large' });
  t.equal(echo.received.length, 1);
  const client = await h2Client(t, fixture);
  const stream = client.request({ ':path': '/', ':method': 'POST', ':authority': 'a.test', 'content-length': 11 });
  stream.on('error', () => undefined);
  t.match(await new Promise((resolve) => stream.once('response', resolve)), { ':status': 413 });
});

void t.test('one that is found too large is cut: the upstream never sees its end', async (t) => {
  const up = await serve(t, () => undefined);
  const fixture = await start(t, up.port, { maxBodyBytes: 10 });
  t.match(await exchange(fixture, chunked('01234', '56789', 'x')), /^HTTP\/1\.1 413/);
  await until(() => up.sockets[0]?.destroyed === true);
  t.notMatch(up.received[0], /0\r\n\r\n/);
  const client = await h2Client(t, fixture);
  const stream = client.request({ ':path': '/', ':method': 'POST', ':authority': 'a.test' });
  stream.on('error', () => undefined);
  const status = new Promise((resolve) => stream.once('response', (headers) => resolve(headers[':status'])));
  stream.write('01234');
  await until(() => up.received[1]?.includes('01234') === true);
  stream.write('567890');
  t.equal(await status, 413);
  await until(() => up.sockets[1]?.destroyed === true);
  t.notMatch(up.received[1], /0\r\n\r\n/);
});

void t.test('an answer that has begun is cut with the body that grew too large', async (t) => {
  const up = await serve(t, (socket, text) => {
    if (text.endsWith('01234\r\n')) socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n');
  });
  const fixture = await start(t, up.port, { maxBodyBytes: 10 });
  const socket = await fixture.connect('a.test');
  const begun = readUntil(socket, (text) => text.includes('ok'));
  socket.write('POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n');
  t.match(await begun, /^HTTP\/1\.1 200/);
  const rest = readUntil(socket, () => false);
  socket.write('6\r\n567890\r\n');
  t.notMatch(await rest, /0\r\n\r\n/);
});

void t.test('no answer in time is told; a route’s own time goes before the service’s', async (t) => {
  const up = await serve(t, () => undefined);
  const clock = new ManualClock();
  const fixture = await startFixture(
    [mapping('a.test', [path(up.port), path(up.port, { path: '/slow', requestTimeoutMs: 60_000 })], limited({ answerMs: 3_000 }))],
    { clock },
  );
  t.teardown(() => fixture.close());
  const get = 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';
  const quick = exchange(fixture, get);
  const slow = exchange(fixture, get.replace('/ ', '/slow '));
  await until(() => up.received.filter((text) => text.endsWith('\r\n\r\n')).length === 2);
  clock.advance(3_000 + SWEEP_MS);
  t.match(await quick, /^HTTP\/1\.1 504/);
  t.equal(fixture.entries.length, 1);
  clock.advance(57_000);
  t.match(await slow, /^HTTP\/1\.1 504/);
});

void t.test('a long upload is no slow answer where no time is set', async (t) => {
  const up = await serve(t, (socket, text) => {
    if (text.endsWith('0\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const clock = new ManualClock();
  const fixture = await start(t, up.port, {}, { clock });
  const socket = await fixture.connect('a.test');
  const answer = readUntil(socket, (text) => text.endsWith('ok'));
  socket.write('POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n');
  await until(() => up.received.length === 1);
  for (let i = 1; i <= 12; i++) {
    socket.write('8000\r\n' + 'x'.repeat(32_768) + '\r\n');
    await until(() => (up.received[0]?.length ?? 0) > i * 32_768);
    clock.advance(ANSWER_MS / 6);
  }
  socket.write('0\r\n\r\n');
  t.match(await answer, /^HTTP\/1\.1 200/);
  socket.destroy();
});

void t.test('silence ends an answer and an upgraded stream; what moves goes on', async (t) => {
  const up = await serve(t, (socket, text) => {
    if (text.endsWith('\r\n\r\n'))
      socket.write(
        text.includes('Upgrade: ws')
          ? 'HTTP/1.1 101 OK\r\nUpgrade: ws\r\n\r\nok'
          : 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n',
      );
  });
  const clock = new ManualClock();
  const fixture = await start(t, up.port, { idleMs: 5_000 }, { clock });
  const socket = await fixture.connect('a.test');
  const begun = readUntil(socket, (text) => text.includes('ok'));
  socket.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  await begun;
  for (let i = 0; i < 4; i++) {
    clock.advance(4_000);
    const event = readUntil(socket, (text) => text.includes('tick'));
    up.sockets[0]?.write('4\r\ntick\r\n');
    t.match(await event, /tick/);
  }
  const rest = readUntil(socket, () => false);
  clock.advance(5_000 + SWEEP_MS);
  t.equal(await rest, '', 'cut, without an end');
  t.match(fixture.entries.at(-1), { status: 200, reason: 'upstream_timeout' });

  fixture.setRoutes([mapping('a.test', [path(up.port)], limited({ idleMs: 50 }))]);
  const stream = await fixture.connect('a.test');
  const closed = readUntil(stream, () => false);
  stream.write('GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: ws\r\n\r\n');
  t.match(await closed, /^HTTP\/1\.1 101 [\s\S]*ok$/);
});

void t.test('so many requests at once, and no more; a place is free again however its request ends', async (t) => {
  const up = await serve(t, (socket, text) => {
    if (text.includes('GET /quick')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const fixture = await start(t, up.port, { maxConcurrent: 2 });
  const get = (target: string): string => `GET ${target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n`;
  const first = await fixture.connect('a.test');
  const second = await fixture.connect('a.test');
  first.write(get('/1'));
  second.write(get('/2').replace('GET', 'POST'));
  await until(() => up.received.filter((text) => text.endsWith('\r\n\r\n')).length === 2);
  const refused = await exchange(fixture, get('/quick'));
  t.match(refused, /^HTTP\/1\.1 503 [\s\S]*Retry-After: 5\r\n[\s\S]*"reason":"service_busy"/);
  t.match(fixture.entries.at(-1), { status: 503, reason: 'service_busy' });
  const gone = fixture.nextEntry();
  first.destroy();
  await gone;
  for (let i = 0; i < 3; i++) t.match(await exchange(fixture, get('/quick')), /^HTTP\/1\.1 200/);
  const broken = fixture.nextEntry();
  up.sockets[1]?.destroy();
  await broken;
  const all = await Promise.all([exchange(fixture, get('/quick')), exchange(fixture, get('/quick'))]);
  t.ok(all.every((answer) => answer.startsWith('HTTP/1.1 200')));
  second.destroy();
});

void t.test('places are counted by service', async (t) => {
  const load = new ServiceLoad();
  const [a, b] = [asId<ServiceId>('a'), asId<ServiceId>('b')];
  t.same([load.enter(a, 1), load.enter(a, 1), load.enter(b, 1)], [true, false, true]);
  load.leave(a);
  t.equal(load.enter(a, 1), true);
  t.equal(load.enter(a, 0), false);
});

const expecting = 'POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n';

void t.test('the word to go on is the upstream’s', async (t) => {
  const up = await serve(t, (socket, text) => {
    if (text.endsWith('body')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const fixture = await start(t, up.port, {});
  const socket = await fixture.connect('a.test');
  let seen = '';
  socket.on('data', (chunk: Buffer) => (seen += chunk.toString('latin1')));
  socket.write(expecting);
  await until(() => up.received[0]?.endsWith('\r\n\r\n') === true);
  t.match(up.received[0], /\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n$/);
  t.equal(seen, '', 'not before the upstream has said it');
  up.sockets[0]?.write('HTTP/1.1 100 Continue\r\n\r\n');
  await until(() => seen !== '');
  t.equal(seen, 'HTTP/1.1 100 Continue\r\n\r\n');
  socket.write('body');
  await until(() => seen.endsWith('ok'));
  t.match(seen, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
  socket.destroy();
});

void t.test('an early answer comes without the body, and no connection is used again after it (attack row S-9)', async (t) => {
  const up = await serve(t, (socket, text) => {
    socket.write(text.includes('POST') ? 'HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno' : 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const fixture = await start(t, up.port, {});
  const socket = await fixture.connect('a.test');
  const all = readUntil(socket, () => false);
  socket.write(`${expecting}GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n`);
  const text = await all;
  t.match(text, /^HTTP\/1\.1 401 No\r\n[\s\S]*Connection: close\r\n[\s\S]*no$/);
  t.equal(text.split('HTTP/1.1').length, 2);
  t.match(await exchange(fixture, 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n'), /ok$/);
  t.equal(up.received.length, 2, 'another connection');
  t.notMatch(up.received.join(''), /smuggled/);
  const stream = (await h2Client(t, fixture)).request(
    { ':path': '/', ':method': 'POST', ':authority': 'a.test', expect: '100-continue', 'content-length': 4 },
    { endStream: false },
  );
  stream.on('error', () => undefined);
  t.match(await new Promise((resolve) => stream.once('response', resolve)), { ':status': 401 });
});

void t.test('an upstream that does not know the word is sent the body after a while', async (t) => {
  const up = await serve(t, (socket, text) => {
    if (text.endsWith('body')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const clock = new ManualClock();
  const fixture = await start(t, up.port, {}, { clock });
  const socket = await fixture.connect('a.test');
  const word = readUntil(socket, (text) => text.endsWith('\r\n\r\n'));
  socket.write(expecting);
  await until(() => up.received[0]?.endsWith('\r\n\r\n') === true);
  clock.advance(CONTINUE_MS + SWEEP_MS);
  t.match(await word, /^HTTP\/1\.1 100/);
  const answer = readUntil(socket, (text) => text.endsWith('ok'));
  socket.write('body');
  t.match(await answer, /^HTTP\/1\.1 200/);
  socket.destroy();
});
