// Two overlays that may only meet at the relay.
import { createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import { connect, member, pathKind, readAll, TestRelay, TestSignal, until } from './pair.ts';

t.test('a forced relay carries a transfer; killed and started again it carries on with the same connection', async (t) => {
  const relay = await new TestRelay().start();
  const signal = new TestSignal();
  const [a, b] = [await member(signal, 'a', { forceRelay: true }), await member(signal, 'b', { forceRelay: true })];
  t.teardown(async () => {
    await Promise.all([a.overlay.close(), b.overlay.close()]);
    await relay.stop();
  });
  for (const { overlay } of [a, b]) overlay.setEndpoints(relay.endpoints());
  b.overlay.accept(
    () => true,
    ({ stream }) => {
      stream.on('error', () => undefined);
      stream.pipe(stream);
    },
  );
  const started = performance.now();
  connect([a, b]);
  const stream = await a.overlay.dial({ host: b.address, port: 7 }, { signal: AbortSignal.timeout(10_000) });
  t.comment(`dial by relay, from nothing: ${(performance.now() - started).toFixed(0)} ms`);
  t.equal(pathKind(a, b), 'relay');
  t.equal(a.overlay.status().relay.connected, true);
  t.equal(a.overlay.status().peers[0]?.path?.remote, relay.url);

  const bulk = randomBytes(2 * 1024 * 1024);
  let got = 0;
  const hash = createHash('sha256');
  stream.on('data', (chunk: Buffer) => {
    got += chunk.length;
    hash.update(chunk);
  });
  stream.write(bulk.subarray(0, bulk.length / 2));
  await until(() => got === bulk.length / 2, 10_000);

  await relay.stop();
  await until(() => pathKind(a, b) === undefined && pathKind(b, a) === undefined, 5000);
  t.match(a.overlay.status().relay, { connected: false, reason: /goodbye|closed/ });
  stream.write(bulk.subarray(bulk.length / 2));
  await relay.start();
  const back = performance.now();
  await until(() => got === bulk.length, 20_000);
  t.comment(`relay started again: path back and the rest delivered after ${(performance.now() - back).toFixed(0)} ms`);
  t.equal(hash.digest('hex'), createHash('sha256').update(bulk).digest('hex'));
  stream.destroy();
});

t.test('a new token does not cut the connection; a peer of another relay is reached through the controller’s', async (t) => {
  const [first, second] = [await new TestRelay().start(), await new TestRelay().start()];
  const signal = new TestSignal();
  const [a, b] = [await member(signal, 'a', { forceRelay: true }), await member(signal, 'b', { forceRelay: true })];
  t.teardown(async () => {
    await Promise.all([a.overlay.close(), b.overlay.close()]);
    await Promise.all([first.stop(), second.stop()]);
  });
  a.overlay.setEndpoints(first.endpoints());
  b.overlay.setEndpoints(second.endpoints());
  b.overlay.accept(
    () => true,
    ({ stream }) => stream.end('here'),
  );
  connect([a, b]);
  const stream = await a.overlay.dial({ host: b.address, port: 7 }, { signal: AbortSignal.timeout(10_000) });
  t.equal((await readAll(stream)).toString(), 'here');
  stream.end();
  const controller = a.publicKey > b.publicKey ? first : second;
  t.equal(a.overlay.status().peers[0]?.path?.remote, controller.url);
  t.equal(b.overlay.status().peers[0]?.path?.remote, controller.url);
  t.equal(controller.server.stats().connections, 2);

  const since = a.overlay.status().relay.since;
  a.overlay.setEndpoints(first.endpoints());
  t.equal(a.overlay.status().relay.connected, true);
  t.ok(Math.abs(Date.parse(a.overlay.status().relay.since) - Date.parse(since)) < 50, 'the same connection');
});
