// Bulk transfers between two stacks in virtual time: every byte arrives, over grids of loss and delay, in both families.
import t from 'tap';
import type { Test } from 'tap';
import { pseudoSum } from '#wire/checksum.ts';
import { RECEIVE_BUFFER_FIRST } from '../../src/netstack/constants.ts';
import { sealTcp } from '#wire/tcp.ts';
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

/** Takes options out of a SYN, so that the two sides do without: what is replaced by NOPs was never offered. */
function withoutOptions(packet: Uint8Array, kinds: readonly number[]): void {
  if (((packet[33] ?? 0) & 2) === 0) return;
  const end = 20 + ((packet[32] ?? 0) >> 4) * 4;
  for (let at = 40; at < end;) {
    const kind = packet[at] ?? 0;
    const length = kind === 1 ? 1 : Math.max(1, packet[at + 1] ?? 1);
    if (kinds.includes(kind)) packet.fill(1, at, at + length);
    at += length;
  }
  packet[36] = 0;
  packet[37] = 0;
  sealTcp(packet, 20, packet.length, pseudoSum(packet, 12, packet, 16, 4, 6));
}

void t.test('peers without SACK, timestamps or window scale get everything too', async (t) => {
  const rows: readonly (readonly [string, readonly number[]])[] = [
    ['no SACK (NewReno)', [4]],
    ['no timestamps (Karn)', [8]],
    ['no window scale', [3]],
    ['none of them', [3, 4, 8]],
  ];
  for (const [name, kinds] of rows) {
    for (const loss of [0, 0.01, 0.05]) {
      const filter = (packet: Uint8Array): boolean => {
        withoutOptions(packet, kinds);
        return true;
      };
      const { mbit } = transfer(t, { seed: 21, delayMs: 10, bitsPerSecond: 50e6, loss, reorder: 0.02, filter }, 500_000, 4, true);
      t.comment(`${name}, loss ${loss * 100} %: ${mbit.toFixed(2)} Mbit/s`);
    }
  }
});

void t.test('half-close, over loss: one side goes on after the other has finished', async (t) => {
  for (const family of [4, 6] as const) {
    const network = new Network({ seed: 8, delayMs: 15, loss: 0.05 });
    const { client, server } = dial(network, family);
    client.endWhenRemoteEnds = false;
    server.endWhenRemoteEnds = false;
    network.runUntil(() => client.isEstablished && server.isEstablished, 60_000);
    client.connection?.end(network.now);
    t.ok(network.runUntil(() => server.ended, 60_000));
    const { bytes, digest } = payload(300_000, 4);
    server.send(bytes, true, network.now);
    t.ok(network.runUntil(() => client.end !== undefined && server.end !== undefined, 600_000));
    t.equal(client.hash.digest('hex'), digest);
    t.same([client.end, server.end], ['finished', 'finished']);
  }
});

void t.test('abort in the middle: the other side learns it, nothing stays', async (t) => {
  for (const family of [4, 6] as const) {
    const network = new Network({ seed: 9, delayMs: 15, loss: 0.02 });
    const { client, server } = dial(network, family);
    client.send(payload(2_000_000).bytes, true, network.now);
    network.runUntil(() => server.received > 200_000, 60_000);
    server.connection?.abort(network.now);
    t.ok(network.runUntil(() => client.end !== undefined, 60_000));
    t.equal(client.end, 'ECONNRESET');
    t.equal(server.end, undefined, 'who aborts is not told');
    network.pass(1000);
    t.equal(network.a.connectionCount() + network.b.connectionCount(), 0);
  }
});

void t.test('a fifth of all packets lost each way: the timeout stays in proportion to the path', async (t) => {
  // Seeds whose timeout had grown to tens of seconds on this path of ten milliseconds, by answers to copies whose first answer was lost.
  for (const seed of [31, 55, 80, 106, 124, 130]) {
    const network = new Network({ delayMs: 5, loss: 0.2, seed });
    const { client, server } = dial(network);
    const { bytes, digest } = payload(600_000, 9);
    client.send(bytes, true, network.now);
    network.runUntil(() => server.ended, 90_000);
    t.equal(server.hash.digest('hex'), digest, `seed ${seed}: all is there after ${((network.now - 1000) / 1000).toFixed(0)} s`);
  }
});

void t.test('a reader that stops and goes on, over loss: the window closes and opens, nothing is lost', async (t) => {
  for (const family of [4, 6] as const) {
    for (const loss of [0, 0.1]) {
      const network = new Network({ seed: 10 + family, delayMs: 15, loss });
      const { client, server } = dial(network, family);
      const { bytes, digest } = payload(2_000_000, 6);
      server.reading = false;
      client.send(bytes, true, network.now);
      network.pass(60_000);
      t.ok(server.received >= RECEIVE_BUFFER_FIRST && server.received < 1_100_000, `${server.received} bytes were taken`);
      t.ok(client.written < bytes.length);
      const before = server.received;
      network.pass(30_000);
      t.equal(server.received, before, 'nothing more');
      server.resume(network.now);
      t.ok(network.runUntil(() => client.end !== undefined && server.end !== undefined, 600_000));
      t.equal(server.hash.digest('hex'), digest);
    }
  }
});

void t.test('a peer that falls silent is given up after the user timeout', async (t) => {
  const gate = { open: true };
  const network = new Network({ delayMs: 5, filter: () => gate.open });
  const { client, server } = dial(network);
  network.runUntil(() => client.isEstablished && server.isEstablished, 1000);
  gate.open = false;
  client.send(new Uint8Array(1000), false, network.now);
  const start = network.now;
  network.runUntil(() => client.end !== undefined && server.end !== undefined, 900_000);
  t.same([client.end, server.end], ['ETIMEDOUT', 'ETIMEDOUT'], 'one by retransmission, one by keep-alive');
  t.ok(network.now - start < 300_000);
});
