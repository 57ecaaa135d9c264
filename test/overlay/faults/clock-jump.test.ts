// The wall clock is set a day ahead and two days back while data flows: timers go by the monotonic clock, handshakes are still believed,
// relay tokens are the server's matter.
import t from 'tap';
import { connect, member, pathKind, TestRelay, TestSignal, until } from '../pair.ts';
import { FastClock } from './fast-clock.ts';
import { echo, Flow } from './flow.ts';

t.setTimeout(300_000);

const day = 86_400_000;

for (const forceRelay of [false, true]) {
  await t.test(forceRelay ? 'by relay' : 'directly', async (t) => {
    const [clock, steady] = [new FastClock(), new FastClock()];
    const relay = await new TestRelay().start();
    const signal = new TestSignal();
    const a = await member(signal, 'a', { forceRelay }, clock);
    const b = await member(signal, 'b', { forceRelay }, steady);
    t.teardown(async () => {
      await Promise.all([a.overlay.close(), b.overlay.close()]);
      await relay.stop();
    });
    for (const { overlay } of [a, b]) overlay.setEndpoints(relay.endpoints());
    echo(b);
    connect([a, b]);
    const flow = await Flow.open(a, b);
    await until(() => pathKind(a, b) === (forceRelay ? 'relay' : 'direct') && pathKind(b, a) === pathKind(a, b), 10_000);
    flow.trickle();
    await until(() => flow.received > 500_000, 10_000);
    for (const [name, shift] of [
      ['a day ahead', day],
      ['a day back from the truth', -day],
      ['right again', 0],
    ] as const) {
      flow.takeSilence();
      const before = a.overlay.status().peers[0]?.lastHandshake;
      clock.wallShift = shift;
      // Long enough for new keys: their handshake carries the time of the wall clock, which must not go back for the other side.
      for (let i = 0; i < 26; i++) await Promise.all([clock.pass(5000), steady.pass(5000)]);
      const mark = flow.received;
      await until(() => flow.received > mark + 200_000, 20_000);
      t.comment(`figure: ${forceRelay ? 'relay' : 'direct'}, wall clock ${name}: no data for ${flow.takeSilence().toFixed(0)} ms`);
      const after = a.overlay.status().peers[0]?.lastHandshake;
      t.not(after?.slice(0, 19), new Date(Date.parse(before ?? '') + shift).toISOString().slice(0, 19));
    }
    // A relay that comes back asks for the token: it is the server's clock that judges it.
    if (forceRelay) {
      clock.wallShift = day;
      await relay.kill();
      await until(() => pathKind(a, b) === undefined, 5000);
      await relay.start();
      await until(() => pathKind(a, b) === 'relay' && pathKind(b, a) === 'relay', 30_000);
    }
    await flow.finish(t);
  });
}
