// Two overlays that find each other directly over real UDP on loopback.
import { createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import { connect, member, orderedKeys, pathKind, readAll, TestRelay, TestSignal, until } from './pair.ts';

t.test('two peers connect directly; a stream carries data both ways, half-closes and ends', async (t) => {
  const signal = new TestSignal();
  const [a, b] = [await member(signal, 'a'), await member(signal, 'b')];
  t.teardown(() => Promise.all([a.overlay.close(), b.overlay.close()]));
  b.overlay.accept(
    (port) => port === 80,
    ({ stream, remote, peer }) => {
      t.equal(remote.address, a.address);
      t.equal(peer, a.publicKey);
      stream.on('data', (chunk: Buffer) => stream.write(chunk));
      stream.on('end', () => stream.end('bye'));
      stream.on('error', () => undefined);
    },
  );
  const started = performance.now();
  connect([a, b]);
  const stream = await a.overlay.dial({ host: 'B.mesh.test.', port: 80 }, { signal: AbortSignal.timeout(10_000) });
  t.comment(`dial with path finding and handshake: ${(performance.now() - started).toFixed(1)} ms`);
  stream.end('hello ');
  t.equal((await readAll(stream)).toString(), 'hello bye');
  await until(() => pathKind(b, a) === 'direct', 3000);
  const path = a.overlay.status().peers[0]?.path;
  t.equal(path?.kind, 'direct');
  t.match(path?.remote, /^127\.0\.0\.1:\d+$/);
  t.ok((path?.latencyMs ?? -1) >= 0);
  t.type(a.overlay.status().peers[0]?.lastHandshake, 'string');

  const again = performance.now();
  (await a.overlay.dial({ host: b.address, port: 80 }, { signal: AbortSignal.timeout(1000) })).destroy();
  t.comment(`dial on a path that is there: ${(performance.now() - again).toFixed(1)} ms`);

  await t.rejects(
    a.overlay.dial({ host: b.address, port: 81 }, { signal: AbortSignal.timeout(1000) }),
    { code: 'ECONNREFUSED' },
    'nobody wants the port',
  );
  await t.rejects(a.overlay.dial({ host: '100.92.9.9', port: 80 }, { signal: AbortSignal.timeout(1000) }), { code: 'EHOSTUNREACH' }, 'no such peer');
  await t.rejects(a.overlay.dial({ host: 'c.mesh.test', port: 80 }, { signal: AbortSignal.timeout(1000) }), { code: 'EHOSTUNREACH' }, 'no such name');
  await t.rejects(a.overlay.dial({ host: b.address, port: 80 }, { signal: AbortSignal.abort() }), { code: 'ABORT_ERR' });
});

for (const forceRelay of [false, true]) {
  for (const dialler of ['controller', 'other'] as const) {
    t.test(`the ${dialler} side dials, ${forceRelay ? 'by relay' : 'directly'}`, async (t) => {
      const relay = await new TestRelay().start();
      const [larger, smaller] = orderedKeys();
      const signal = new TestSignal();
      const a = await member(signal, 'a', { forceRelay, privateKey: dialler === 'controller' ? larger : smaller });
      const b = await member(signal, 'b', { forceRelay, privateKey: dialler === 'controller' ? smaller : larger });
      t.teardown(async () => {
        await Promise.all([a.overlay.close(), b.overlay.close()]);
        await relay.stop();
      });
      for (const { overlay } of [a, b]) overlay.setEndpoints(relay.endpoints());
      b.overlay.accept(
        () => true,
        ({ stream }) => stream.end('hello'),
      );
      const start = performance.now();
      connect([a, b]);
      const stream = await a.overlay.dial({ host: b.address, port: 1 }, { signal: AbortSignal.timeout(10_000) });
      t.equal((await readAll(stream)).toString(), 'hello');
      const took = performance.now() - start;
      t.ok(took < 3000, `${took.toFixed(0)} ms from nothing to the first byte`);
      stream.end();
    });
  }
}

t.test('bulk both ways arrives whole', async (t) => {
  const signal = new TestSignal();
  const [a, b] = [await member(signal, 'a'), await member(signal, 'b')];
  t.teardown(() => Promise.all([a.overlay.close(), b.overlay.close()]));
  const down = randomBytes(3 * 1024 * 1024);
  const up = randomBytes(3 * 1024 * 1024);
  const uploaded = new Promise<Buffer>((resolve, reject) =>
    b.overlay.accept(
      () => true,
      ({ stream }) => {
        stream.on('error', reject);
        stream.end(down);
        readAll(stream).then(resolve, reject);
      },
    ),
  );
  connect([a, b]);
  const stream = await a.overlay.dial({ host: b.address, port: 5000 }, { signal: AbortSignal.timeout(10_000) });
  const start = performance.now();
  stream.end(up);
  const got = await readAll(stream);
  t.equal(hash(await uploaded), hash(up));
  t.equal(hash(got), hash(down));
  const seconds = (performance.now() - start) / 1000;
  t.comment(`3 MiB each way in one process, under tap’s async hooks: ${((6 * 1024 * 1024 * 8) / seconds / 1e6).toFixed(0)} Mbit/s`);
});

function hash(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
