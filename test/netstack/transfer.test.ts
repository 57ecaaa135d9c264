// Bulk transfers between two stacks in virtual time: every byte arrives, over grids of loss and delay, in both families.
import t from 'tap';
import type { Test } from 'tap';
import { Network, dial, payload } from './link.ts';
import type { LinkOptions } from './link.ts';

interface Outcome {
  readonly ms: number;
  readonly mbit: number;
}

/** Sends `size` bytes each way and closes; checks hashes and ends. Returns the time until the client had everything across. */
function transfer(t: Test, link: LinkOptions, size: number, family: 4 | 6, both: boolean): Outcome {
  const network = new Network(link);
  const up = payload(size, 11);
  const down = payload(both ? size : 1000, 12);
  const { client, server } = dial(network, family);
  client.endWhenRemoteEnds = false;
  server.endWhenRemoteEnds = false;
  const start = network.now;
  network.runUntil(() => client.isEstablished && server.isEstablished, 120_000);
  client.send(up.bytes, true, network.now);
  let finishedAt = 0;
  network.runUntil(() => {
    if (server.isEstablished && server.written === 0) server.send(down.bytes, true, network.now);
    if (finishedAt === 0 && server.received === size) finishedAt = network.now;
    return client.end !== undefined && server.end !== undefined;
  }, 3_600_000);
  t.equal(server.received, size, 'all bytes arrived');
  t.equal(server.hash.digest('hex'), up.digest, 'the bytes are the ones that were sent');
  t.equal(client.hash.digest('hex'), down.digest, 'and so the other way');
  t.equal(client.end, 'finished');
  t.equal(server.end, 'finished');
  network.pass(120_000);
  t.equal(network.a.connectionCount() + network.b.connectionCount(), 0, 'nothing is left');
  t.equal(network.a.pollAt() === Infinity && network.b.pollAt() === Infinity, true, 'nobody waits for anything');
  const ms = finishedAt - start;
  return { ms, mbit: (size * 8) / ms / 1000 };
}

void t.test('a short exchange closes cleanly in both families', async (t) => {
  for (const family of [4, 6] as const) transfer(t, { delayMs: 10 }, 5000, family, true);
});

void t.test('a megabyte crosses a clean link at the speed that the window allows', async (t) => {
  const { mbit } = transfer(t, { delayMs: 10 }, 4_000_000, 4, false);
  t.comment(`clean link, 20 ms round trip: ${mbit.toFixed(1)} Mbit/s`);
  t.ok(mbit > 40, 'near the send buffer per round trip');
});

void t.test('loss and delay slow a transfer down, never break it', async (t) => {
  const size = 1_000_000;
  t.comment('Mbit/s in virtual time, 1 MB each, 50 Mbit/s link with a queue of 128 packets; columns: one-way delay');
  t.comment('loss      1 ms    10 ms    50 ms   150 ms');
  for (const loss of [0, 0.001, 0.01, 0.03, 0.1]) {
    const row: string[] = [];
    for (const delayMs of [1, 10, 50, 150]) {
      const outcome = transfer(t, { seed: 3 + delayMs, loss, delayMs, bitsPerSecond: 50e6, queuePackets: 128 }, size, delayMs === 10 ? 6 : 4, false);
      row.push(outcome.mbit.toFixed(2).padStart(9));
      t.ok(outcome.mbit > 0.05, 'no stall');
    }
    t.comment(`${(loss * 100).toFixed(1).padStart(4)} %${row.join('')}`);
  }
});

void t.test('reordering, duplicates and flipped bits do no harm', async (t) => {
  const base = { delayMs: 20, bitsPerSecond: 50e6 };
  const cases: readonly (readonly [string, LinkOptions])[] = [
    ['reorder 10 % by up to 5 ms', { ...base, reorder: 0.1, reorderMs: 5 }],
    ['reorder 30 % by up to 40 ms', { ...base, reorder: 0.3, reorderMs: 40 }],
    ['duplicate 10 %', { ...base, duplicate: 0.1 }],
    ['corrupt 2 %', { ...base, corrupt: 0.02 }],
    ['all of it with loss 2 %', { ...base, loss: 0.02, reorder: 0.1, reorderMs: 10, duplicate: 0.05, corrupt: 0.01 }],
  ];
  for (const [name, link] of cases) {
    for (const family of [4, 6] as const) {
      const { mbit } = transfer(t, { ...link, seed: family }, 1_000_000, family, true);
      t.comment(`${name}, IPv${family}: ${mbit.toFixed(2)} Mbit/s`);
    }
  }
});
