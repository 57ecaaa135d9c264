// Lazy connections: peers that rest without traffic, wake with the first packet, and rest again.
import t from 'tap';
import { IdleWatch, knowsLazy } from '../../src/overlay/idle-watch.ts';
import { mapFor, member, type Member, readAll, TestSignal, until } from './pair.ts';

const stateOf = (of: Member, to: Member): string | undefined => of.overlay.status().peers.find(({ publicKey }) => publicKey === to.publicKey)?.state;

t.test('which versions know lazy connections', async (t) => {
  for (const version of ['0.45.0', 'v0.46.1', '0.70.0', '1.0.0']) t.ok(knowsLazy(version), version);
  for (const version of ['0.44.9', '0.9.0', 'development', '', '0', 'x0.70.0', `0.${'9'.repeat(9)}`]) t.notOk(knowsLazy(version), version);
});

t.test('a peer is idle after a whole threshold without traffic, and not before', async (t) => {
  const watch = new IdleWatch(400);
  t.equal(watch.at, Infinity);
  watch.start(0);
  const until = (active: (at: number) => boolean): number => {
    for (;;) {
      const { at } = watch;
      watch.active = active(at);
      if (watch.look(at)) return at;
    }
  };
  t.equal(
    until(() => false),
    400,
  );
  watch.start(1000);
  t.equal(
    until((at) => at <= 1300),
    1700,
    'a quarter of the threshold after the last look that saw traffic',
  );
  watch.stop();
  t.equal(watch.at, Infinity);
});

t.test('a lazy peer is not sought until something is sent to it; idle, both sides rest; then again', async (t) => {
  const signal = new TestSignal();
  const [a, b] = [await member(signal, 'a', { lazyIdleMs: 300 }), await member(signal, 'b', { lazyIdleMs: 3_600_000 })];
  t.teardown(() => Promise.all([a.overlay.close(), b.overlay.close()]));
  b.overlay.accept(
    () => true,
    ({ stream }) => stream.end('here'),
  );
  const apply = (lazy: boolean): void => {
    for (const self of [a, b]) self.overlay.apply(mapFor(self, [a, b], { kind: 'open' }, lazy));
  };
  apply(true);
  t.equal(stateOf(a, b), 'idle');
  t.match(a.overlay.status().peers[0]?.reason, /no traffic yet/);
  t.same(signal.log, [], 'no offers');

  for (const round of ['first', 'second']) {
    const begun = performance.now();
    const stream = await a.overlay.dial({ host: b.address, port: 80 }, { signal: AbortSignal.timeout(10_000) });
    t.comment(`figure: ${round} dial of an idle peer ${(performance.now() - begun).toFixed(0)} ms`);
    t.equal((await readAll(stream)).toString(), 'here');
    stream.end();
    t.equal(stateOf(b, a), 'connected', 'the other side was woken by the offer');
    // The end of the connection is traffic too.
    await until(() => stateOf(a, b) === 'idle', 5000);
    await until(() => stateOf(b, a) === 'idle', 5000);
    t.match(a.overlay.status().peers[0], { reason: /no traffic for long/, lastSwitch: { from: 'direct', to: undefined }, state: 'idle' });
    t.match(b.overlay.status().peers[0]?.reason, /asked to rest/);
    t.equal(signal.log.at(-1)?.message.kind, 'go-idle', 'and nobody offers after it');
  }

  apply(false);
  await until(() => stateOf(a, b) === 'connected' && stateOf(b, a) === 'connected', 5000);
  t.pass('where lazy is switched off, the peer is connected without traffic');
  apply(true);
  await until(() => stateOf(a, b) === 'idle' && stateOf(b, a) === 'idle', 5000);
});

t.test('a connection that is open but quiet survives the rest', async (t) => {
  const signal = new TestSignal();
  const [a, b] = [await member(signal, 'a', { lazyIdleMs: 200, lazy: true }), await member(signal, 'b', { lazy: true })];
  t.teardown(() => Promise.all([a.overlay.close(), b.overlay.close()]));
  b.overlay.accept(
    () => true,
    ({ stream }) => {
      stream.on('error', () => undefined);
      stream.pipe(stream);
    },
  );
  for (const self of [a, b]) self.overlay.apply(mapFor(self, [a, b], { kind: 'open' }));
  const stream = await a.overlay.dial({ host: b.address, port: 80 }, { signal: AbortSignal.timeout(10_000) });
  let got = '';
  stream.on('data', (chunk: Buffer) => (got += chunk.toString()));
  stream.write('one');
  await until(() => got === 'one', 5000);
  await until(() => stateOf(a, b) === 'idle' && stateOf(b, a) === 'idle', 5000);
  const begun = performance.now();
  stream.write(' two');
  await until(() => got === 'one two', 10_000);
  t.comment(`figure: first bytes of an open connection through an idle peer ${(performance.now() - begun).toFixed(0)} ms`);
  stream.destroy();
});

t.test('peers of an old version are always on', async (t) => {
  const signal = new TestSignal();
  const [a, b] = [await member(signal, 'a', { lazy: true }), await member(signal, 'b')];
  t.teardown(() => Promise.all([a.overlay.close(), b.overlay.close()]));
  const map = mapFor(a, [a, b], { kind: 'open' }, true);
  a.overlay.apply({ ...map, peers: map.peers.map((peer) => ({ ...peer, agentVersion: '0.44.0' })) });
  t.equal(stateOf(a, b), 'seeking');
});
