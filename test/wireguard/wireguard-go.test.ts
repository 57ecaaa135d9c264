// Our engine against Debian's wireguard-go: handshakes, preshared keys, new keys, roaming.
import { randomFillSync } from 'node:crypto';
import t from 'tap';
import { reason, withBench } from './wireguard-go.ts';

void t.test('wireguard-go', { skip: reason === '' ? false : reason, timeout: 60_000 }, async (t) => {
  void t.test('answers our handshake; pings go both ways; new keys take over without a loss', async (t) => {
    await withBench(t, 0, undefined, false, async (bench) => {
      for (const size of [8, 9, 100, 1272]) {
        const payload = randomFillSync(new Uint8Array(size));
        t.same(Buffer.from(await bench.ping(payload)), Buffer.from(payload), `${size} bytes`);
      }
      t.equal(bench.completed.length, 1);
      t.equal(await bench.askFromInside(5), '5');
      bench.skew(121_000); // our side finds its session too old and renews it; the other side takes part
      for (let i = 0; i < 20; i++) await bench.ping(randomFillSync(new Uint8Array(64)));
      t.equal(bench.completed.length, 2, 'a second handshake');
      t.equal(await bench.askFromInside(5), '5');
      bench.skew(200_000); // our keys are past use: the next packet waits for new ones
      t.equal((await bench.ping(randomFillSync(new Uint8Array(64)))).length, 64);
      t.equal(bench.completed.length, 3);
    });
  });

  void t.test('begins the handshake, with a preshared key', async (t) => {
    const presharedKey = randomFillSync(new Uint8Array(32));
    await withBench(t, 1, presharedKey, true, async (bench) => {
      t.equal(await bench.askFromInside(5), '5');
      t.equal(bench.completed.length, 1);
      t.ok((await bench.latestHandshake()) > 0);
      t.equal((await bench.ping(randomFillSync(new Uint8Array(1000)))).length, 1000);
    });
  });

  void t.test('either side may move to another port without a new handshake', async (t) => {
    await withBench(t, 2, undefined, false, async (bench) => {
      await bench.ping(randomFillSync(new Uint8Array(64)));
      await bench.move();
      await bench.ping(randomFillSync(new Uint8Array(64))); // shows them our new place
      t.equal(await bench.askFromInside(3), '3', 'they send to our new port');
      await bench.moveTheirs(51_999);
      t.equal(await bench.askFromInside(3), '3');
      t.equal(bench.remotePort, 51_999);
      await bench.ping(randomFillSync(new Uint8Array(64)));
      t.equal(bench.completed.length, 1);
    });
  });

  void t.test('new keys after a number of messages take over without a loss', async (t) => {
    await withBench(
      t,
      3,
      undefined,
      false,
      async (bench) => {
        const begun = performance.now();
        // wireguard-go takes no two initiations of a peer within 20 ms, and 60 pings can be quicker than that.
        for (let i = 0; i < 60 || performance.now() - begun < 50; i++) await bench.ping(randomFillSync(new Uint8Array(64)));
        t.equal(bench.completed.length, 1, 'within 5 s of the last handshake none is begun');
        bench.skew(5_000);
        // The answer to the new handshake may come later than those to pings, where the machine is busy.
        for (let i = 0; i < 60 || (bench.completed.length < 2 && i < 5_000); i++) await bench.ping(randomFillSync(new Uint8Array(64)));
        t.equal(bench.completed.length, 2);
        t.equal(await bench.askFromInside(5), '5');
      },
      { limits: { rekeyAfterMessages: 40 } },
    );
  });
});
