// Load, with Debian's wireguard-go at the other end: cookies in both directions, and traffic that goes on under a flood of handshakes.
import { randomFillSync } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { messageTypes } from '#wire/wireguard.ts';
import { Side } from './pair.ts';
import { type Bench, reason, withBench } from './wireguard-go.ts';

const { initiation, response, cookieReply } = messageTypes;

/** An initiation with a right first MAC from nobody that the receiver knows: an agreement to open, and no answer. */
function strangersInitiation(publicKey: string): Uint8Array {
  const stranger = new Side('stranger', '10.0.0.9', { random: (target) => void randomFillSync(target) });
  stranger.device.setPeer({ publicKey, allowedIps: [], persistentKeepaliveMs: 0 }, 0);
  stranger.device.initiate(publicKey, 0);
  return stranger.last(initiation);
}

const count = (types: readonly number[], type: number): number => types.filter((one) => one === type).length;

void t.test('wireguard-go under load, or we', { skip: reason === '' ? false : reason, timeout: 110_000 }, async (t) => {
  void t.test('comes again with the cookie that we give it', async (t) => {
    await withBench(
      t,
      4,
      undefined,
      true,
      async (bench) => {
        t.equal(await bench.askFromInside(3), '3');
        t.equal(bench.completed.length, 1);
        t.equal(count(bench.sent, cookieReply), 1);
        t.equal(count(bench.received, initiation), 2);
        t.equal(count(bench.sent, response), 1);
      },
      { limits: { handshakesPerSecond: 0 } },
    );
  });

  void t.test('gives a cookie that we come again with', async (t) => {
    await withBench(t, 5, undefined, false, async (bench) => {
      const flood = strangersInitiation(bench.theirs);
      // its queue of handshakes has to be an eighth full at the moment when ours is looked at
      for (let round = 0; round < 700 && bench.completed.length === 0; round++) {
        for (let i = 0; i < 200; i++) bench.inject(flood);
        if (round === 3) bench.device.initiate(bench.theirs, bench.now());
        bench.schedule();
        await pause(round < 10 ? 1 : 50);
      }
      t.equal(bench.completed.length, 1);
      t.comment(
        `figure: ${count(bench.sent, initiation)} initiations, ${count(bench.received, cookieReply)} cookies, ${count(bench.received, response)} responses`,
      );
      t.notSame(bench.initiation.subarray(132), new Uint8Array(16), 'the last one carried the cookie');
    });
  });

  void t.test('traffic goes on while strangers begin thousands of handshakes', async (t) => {
    await withBench(t, 6, undefined, true, async (bench) => {
      await bench.ping(randomFillSync(new Uint8Array(64)));
      const before = count(bench.sent, cookieReply);
      const stop = new AbortController();
      const pings = pingUntil(bench, stop.signal);
      const cpu = process.cpuUsage();
      const sent = Number(await bench.floodFromInside(strangersInitiation(bench.ours), 5_000, 3_000));
      const used = process.cpuUsage(cpu);
      stop.abort();
      const { answered, lost, slowest } = await pings;
      const seen = count(bench.received, initiation);
      t.ok(answered > 50, `${answered} answers, ${lost} lost`);
      t.ok(seen > 1_000, `${seen} initiations came`);
      t.ok(count(bench.sent, cookieReply) > before);
      t.equal(count(bench.sent, response), 0);
      t.comment(
        `figure: ${sent} initiations in 3 s, ${seen} read, ${answered} pings answered, ${lost} lost, the slowest in ${slowest.toFixed(1)} ms; ` +
          `${((used.user + used.system) / seen).toFixed(0)} µs of CPU each, pings and sockets included`,
      );
    });
  });
});

/** Pings one after the other until the signal. */
async function pingUntil(bench: Bench, signal: AbortSignal): Promise<{ readonly answered: number; readonly lost: number; readonly slowest: number }> {
  let [answered, lost, slowest] = [0, 0, 0];
  while (!signal.aborted) {
    const from = performance.now();
    if (await bench.pingIn(randomFillSync(new Uint8Array(64)), 500)) {
      answered++;
      slowest = Math.max(slowest, performance.now() - from);
    } else {
      lost++;
    }
    await pause(2);
  }
  return { answered, lost, slowest };
}
