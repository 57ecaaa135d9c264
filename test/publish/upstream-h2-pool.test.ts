// Attack rows S-17 and S-18 with HTTP/2 upstreams: places come back however requests end, and nobody gets a byte of another's answer.
import { createServer, type ServerHttp2Session, type ServerHttp2Stream, type Settings } from 'node:http2';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { seeded } from '../support/seeded.ts';
import { h2Client, mapping, path, startFixture } from './harness.ts';

async function serve(
  t: Test,
  answer: (stream: ServerHttp2Stream, path: string) => void,
  settings: Settings = {},
): Promise<{ port: number; sessions: Set<ServerHttp2Session> }> {
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer({ settings, maxSessionMemory: 500 });
  server.on('session', (session) => {
    sessions.add(session);
    session.on('error', () => undefined);
    session.on('close', () => sessions.delete(session));
  });
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => undefined);
    answer(stream, headers[':path'] ?? '');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const session of sessions) session.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return { port: (server.address() as AddressInfo).port, sessions };
}

void t.test('after many clients have left in the middle every place is free again', async (t) => {
  const open = new Set<ServerHttp2Stream>();
  const up = await serve(
    t,
    (stream, target) => {
      if (target === '/whole') {
        stream.respond({ ':status': 200 });
        stream.end('ok');
        return;
      }
      open.add(stream);
      stream.on('close', () => open.delete(stream));
      stream.resume();
      // Without an answer, in the middle of one, and with one that nobody reads.
      if (target === '/begun') stream.respond({ ':status': 200 });
      if (target === '/full') {
        stream.respond({ ':status': 200 });
        stream.write(Buffer.alloc(1_000_000));
      }
    },
    { maxConcurrentStreams: 10 },
  );
  const fixture = await startFixture([mapping('a.test', [path(up.port, { httpVersion: 'h2' })])]);
  t.teardown(() => fixture.close());
  const next = seeded(17);
  let left = 0;
  for (let round = 0; round < 40; round++) {
    const client = await h2Client(t, fixture);
    const streams = Array.from({ length: 25 }, () => {
      const target = ['/silent', '/begun', '/full'][Math.floor(next() * 3)] ?? '';
      const upload = next() < 0.5;
      const stream = client.request({ ':path': target, ':method': upload ? 'POST' : 'GET', ':authority': 'a.test' }, { endStream: !upload });
      stream.on('error', () => undefined);
      if (upload) stream.write(Buffer.alloc(1_000));
      return stream;
    });
    const before = open.size;
    while (open.size < Math.min(25, before + 20)) await new Promise((resolve) => setImmediate(resolve));
    left += streams.length;
    client.destroy();
    while (fixture.publisher.stats().streams > 0) await new Promise((resolve) => setImmediate(resolve));
  }
  while (open.size > 0) await new Promise((resolve) => setImmediate(resolve));
  const client = await h2Client(t, fixture);
  const answers = await Promise.all(
    Array.from({ length: 100 }, () => {
      const stream = client.request({ ':path': '/whole', ':authority': 'a.test' });
      stream.on('error', () => undefined);
      stream.resume();
      return new Promise((resolve) => stream.once('response', (headers) => resolve(headers[':status'])));
    }),
  );
  t.ok(answers.every((status) => status === 200));
  t.comment(`figure: ${left} requests left in the middle, ${up.sessions.size} connections to the upstream after that`);
});

void t.test('answers never cross between users on shared connections that break', async (t) => {
  const next = seeded(18);
  const up = await serve(t, (stream, target) => {
    const way = Math.floor(next() * 12);
    if (way === 0) return stream.close(7);
    if (way === 1) return stream.session?.destroy();
    if (way === 2) stream.session?.goaway(0);
    if (way === 3) return stream.destroy(new Error('cut'));
    stream.respond({ ':status': 200 });
    if (way === 4) {
      stream.write(target.slice(0, 4));
      return stream.destroy(new Error('cut'));
    }
    return way < 8 ? stream.end(target) : setImmediate(() => stream.destroyed || stream.end(target));
  });
  const fixture = await startFixture([mapping('a.test', [path(up.port, { httpVersion: 'h2' })])]);
  t.teardown(() => fixture.close());
  let whole = 0;
  const users = Array.from({ length: 6 }, async (_none, user) => {
    const client = await h2Client(t, fixture);
    for (let i = 0; i < 150; i++) {
      const token = `/user${user}-${i}`;
      const stream = client.request({ ':path': token, ':authority': 'a.test' });
      let status = 0;
      let text = '';
      stream.on('response', (headers) => (status = Number(headers[':status'])));
      stream.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
      stream.on('error', () => undefined);
      if (next() < 0.1) setImmediate(() => stream.close(8));
      await new Promise((resolve) => stream.once('close', resolve));
      if (status === 200 && !token.startsWith(text)) t.fail(`${token} got ${text}`);
      if (status === 200 && stream.rstCode === 0) {
        whole++;
        t.equal(text, token);
      }
    }
  });
  await Promise.all(users);
  t.ok(whole > 400, String(whole));
  t.comment(`figure: 900 requests of 6 users, ${whole} answered whole`);
});
