// wireguard-go renews its keys by itself: it has to be waited for, since its two minutes cannot be changed.
import t from 'tap';
import { setTimeout as pause } from 'node:timers/promises';
import { messageTypes } from '#wire/wireguard.ts';
import { reason, withBench } from './wireguard-go.ts';

const rekeyAfterMs = 120_000;
t.setTimeout(200_000);

void t.test('wireguard-go renews keys under traffic, and nothing is lost', { skip: reason === '' ? false : reason, timeout: 200_000 }, async (t) => {
  await withBench(t, 7, undefined, true, async (bench) => {
    const began = performance.now();
    let asked = 0;
    while (performance.now() - began < rekeyAfterMs + 8_000 && bench.completed.length < 2) {
      t.equal(await bench.askFromInside(10), '10'); // it began the session, so it is the one to renew
      asked += 10;
      await pause(1_500);
    }
    t.equal(bench.completed.length, 2);
    t.equal(bench.received.filter((type) => type === messageTypes.initiation).length, 2);
    t.equal(bench.sent.filter((type) => type === messageTypes.initiation).length, 0);
    t.equal(await bench.askFromInside(10), '10', 'the new keys carry');
    const [first = 0, second = 0] = bench.completed;
    t.comment(`figure: renewed after ${((second - first) / 1_000).toFixed(1)} s, ${asked} questions answered on the way`);
  });
});
