// Two streams joined: every byte both ways, half-close passes, a reset is a reset, silence ends it.
import { createHash, randomBytes } from 'node:crypto';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { splice } from '#lib/splice.ts';

/** Two ends of one TCP connection on loopback. */
async function pair(t: Test): Promise<readonly [Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const accepted = new Promise<Socket>((resolve) => void server.once('connection', resolve));
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const ends = [client, await accepted] as const;
  server.close();
  t.teardown(() => ends.forEach((end) => end.destroy()));
  for (const end of ends) end.on('error', () => undefined);
  return ends;
}

function received(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  socket.on('data', (chunk) => hash.update(chunk));
  return new Promise((resolve) => void socket.once('end', () => resolve(hash.digest('hex'))));
}

t.test('carries every byte both ways and counts them', async (t) => {
  const [left, a] = await pair(t);
  const [b, right] = await pair(t);
  const joined = splice(a, b, { idleMs: Infinity });
  const [up, down] = [randomBytes(3_000_000), randomBytes(1_000_001)];
  const digests = Promise.all([received(right), received(left)]);
  left.end(up);
  right.end(down);
  t.same(
    await digests,
    [up, down].map((bytes) => createHash('sha256').update(bytes).digest('hex')),
  );
  t.same(await joined, { forward: up.length, backward: down.length, error: undefined });
  t.ok(a.destroyed && b.destroyed);
});

t.test('a half-close passes: the answer still comes after the end of the question', async (t) => {
  const [left, a] = await pair(t);
  const [b, right] = await pair(t);
  const joined = splice(a, b, { idleMs: Infinity });
  right.resume().once('end', () => right.end('answer'));
  const digest = received(left);
  left.end('question');
  t.equal(await digest, createHash('sha256').update('answer').digest('hex'));
  t.match(await joined, { forward: 8, backward: 6, error: undefined });
});

t.test('a reset on one side ends both and is told', async (t) => {
  const [left, a] = await pair(t);
  const [b, right] = await pair(t);
  const joined = splice(a, b, { idleMs: Infinity });
  right.once('data', () => left.resetAndDestroy());
  left.write('half of');
  t.match(await joined, { forward: 7, error: { code: 'ECONNRESET' } });
  t.ok(a.destroyed && b.destroyed);
});

t.test('silence on both sides ends it', async (t) => {
  const [, a] = await pair(t);
  const [b] = await pair(t);
  const keep = setTimeout(() => undefined, 10_000);
  t.match(await splice(a, b, { idleMs: 10 }), { forward: 0, backward: 0 });
  clearTimeout(keep);
});

t.test('a stream that is gone already ends the other one', async (t) => {
  const [, a] = await pair(t);
  const [, b] = await pair(t);
  a.destroy();
  t.match(await splice(a, b, { idleMs: Infinity }), { forward: 0, backward: 0, error: 'closed before it was joined' });
  t.ok(b.destroyed);
});

t.test('a time that is longer than a timer holds does not end it at once', async (t) => {
  const [left, a] = await pair(t);
  const [b, right] = await pair(t);
  const joined = splice(a, b, { idleMs: 30 * 86_400_000 });
  let ended = false;
  void joined.then(() => (ended = true));
  const begun = performance.now();
  while (performance.now() - begun < 50) await new Promise((resolve) => setImmediate(resolve));
  t.equal(ended, false);
  const digest = received(right);
  left.end('x');
  right.end();
  t.equal(await digest, createHash('sha256').update('x').digest('hex'));
  left.resume();
  t.match(await joined, { forward: 1, error: undefined });
});
