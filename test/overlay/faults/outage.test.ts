// The control plane is away: first signal alone, then everything that a server process holds (signal, relay). Ten minutes pass by the
// overlays' own clock, which is made to run ahead; the packets go over real sockets. With real processes, see test/e2e/faults.test.ts.
import t from 'tap';
import { connect, member, pathKind, TestRelay, TestSignal, until } from '../pair.ts';
import { FastClock } from './fast-clock.ts';
import { echo, Flow } from './flow.ts';

t.setTimeout(300_000);

const tenMinutes = 600_000;

t.test('signal is away: what is connected stays, new keys are agreed without it, and what needs it comes with it', async (t) => {
  const clock = new FastClock();
  const signal = new TestSignal();
  const [a, b, c] = [await member(signal, 'a', {}, clock), await member(signal, 'b', {}, clock), await member(signal, 'c', {}, clock)];
  t.teardown(() => Promise.all([a, b, c].map(({ overlay }) => overlay.close())));
  echo(b);
  echo(c);
  connect([a, b]);
  const flow = await Flow.open(a, b);
  flow.send(1e6);
  await flow.complete(20_000);
  const first = a.overlay.status().peers[0]?.lastHandshake;

  signal.down = true;
  connect([a, b, c]);
  const sent = a.overlay.status().peers[0]?.sentBytes ?? 0;
  for (let minute = 0; minute < 10; minute++) {
    await clock.pass(tenMinutes / 10);
    flow.send(100_000);
    await flow.complete(20_000);
  }
  t.equal(pathKind(a, b), 'direct', 'consent has lasted');
  t.ok((a.overlay.status().peers[0]?.sentBytes ?? 0) > sent);
  t.not(a.overlay.status().peers[0]?.lastHandshake, first, 'keys were renewed meanwhile');
  t.equal(pathKind(a, c), undefined, 'nobody can be met anew');

  signal.reconnect();
  const begun = performance.now();
  const fresh = await Flow.open(a, c);
  t.comment(
    `figure: signal away for ten minutes of the overlay’s clock: no transfer noticed; a new peer is reached ${(performance.now() - begun).toFixed(0)} ms after it is back`,
  );
  fresh.send(100_000);
  await fresh.finish(t);
  await flow.finish(t);
});

t.test('the server is away: direct peers go on; those that only the relay joins come back by themselves', async (t) => {
  const clock = new FastClock();
  const relay = await new TestRelay(undefined, clock).start();
  const signal = new TestSignal();
  const [a, b] = [await member(signal, 'a', {}, clock), await member(signal, 'b', {}, clock)];
  const [c, d] = [await member(signal, 'c', { forceRelay: true }, clock), await member(signal, 'd', { forceRelay: true }, clock)];
  const members = [a, b, c, d];
  t.teardown(async () => {
    await Promise.all(members.map(({ overlay }) => overlay.close()));
    await relay.stop();
  });
  for (const { overlay } of members) overlay.setEndpoints(relay.endpoints());
  echo(b);
  echo(d);
  connect([a, b]);
  connect([c, d]);
  const [direct, relayed] = [await Flow.open(a, b), await Flow.open(c, d)];
  for (const flow of [direct, relayed]) {
    flow.send(1e6);
    await flow.complete(20_000);
  }
  await until(() => pathKind(a, b) === 'direct', 5000);
  const away = async (ms: number, meanwhile: () => void): Promise<() => string> => {
    signal.down = true;
    await relay.kill();
    await until(() => pathKind(c, d) === undefined && pathKind(d, c) === undefined, 5000);
    meanwhile();
    for (let part = 0; part < 10; part++) {
      await clock.pass(ms / 10);
      direct.send(100_000);
      await direct.complete(20_000);
    }
    t.match(a.overlay.status().relay, { connected: false });
    await relay.start();
    signal.reconnect();
    const [begun, before] = [performance.now(), clock.now()];
    return () => `${(performance.now() - begun).toFixed(0)} ms after its return (${(clock.now() - before).toFixed(0)} ms of the overlay’s clock)`;
  };

  const minute = await away(60_000, () => relayed.send(300_000));
  await until(() => pathKind(c, d) === 'relay' && pathKind(d, c) === 'relay', 70_000);
  const path = minute();
  await relayed.complete(70_000);
  t.comment(`figure: server away for a minute of the overlay’s clock: relayed path ${path}, the transfer that was under way goes on ${minute()}`);
  t.equal(relayed.error, undefined);

  const ten = await away(tenMinutes, () => undefined);
  await until(() => pathKind(c, d) === 'relay' && pathKind(d, c) === 'relay', 70_000);
  t.match(relayed.error, { code: 'ETIMEDOUT' }, 'nobody answered its keepalives for four minutes: it was ended with an error');
  const fresh = await Flow.open(c, d);
  t.comment(`figure: server away for ten minutes of the overlay’s clock: the direct transfer never stopped; a new connection by relay ${ten()}`);
  fresh.send(100_000);
  await fresh.finish(t);
  await direct.finish(t);
});
