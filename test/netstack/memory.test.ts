// What connections cost in memory: ten thousand idle ones, and busy ones, measured where the collector can be called (node --expose-gc sets
// it up by itself here).
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { MAX_EXTRA_BUFFERS, SEND_BUFFER, SEND_RING_IDLE_MS } from '#netstack/constants.ts';
import { TcpLayer } from '#netstack/tcp-layer.ts';
import type { TcpHandler } from '#netstack/types.ts';
import { B4, Network, at, dial, fillWith, seeded } from './link.ts';
import { Script } from './script.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Array buffers are swept beside the collector, so it is called until nothing changes. */
async function used(): Promise<number> {
  for (let last = Infinity; process.memoryUsage().arrayBuffers < last;) {
    last = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 3; i++) {
      collect();
      await setImmediate();
    }
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const silent: TcpHandler = { established: () => {}, data: () => {}, remoteEnded: () => {}, writable: () => {}, closed: () => {} };

void t.test('ten thousand idle connections', async (t) => {
  const count = 10_000;
  const s = new Script();
  const before = await used();
  for (let i = 0; i < count; i++) {
    s.peerPort = 1 + Math.floor(i / 5000);
    const connection = s.stack.connect(at(B4, s.peerPort), silent, s.now);
    s.take();
    s.send({ flags: 'SA', ack: 1, mss: 1240, sackPermitted: true, scale: 7 });
    // Each has been in use: a request, and its answer.
    connection.write(new Uint8Array(500), s.now);
    s.take();
    s.send({ flags: 'A', seq: 1, ack: 501, data: 1000 });
    connection.consumed(1000, s.now);
  }
  t.equal(s.stack.connectionCount(), count);
  s.pass(2 * SEND_RING_IDLE_MS);
  const each = ((await used()) - before) / count;
  t.comment(`figure: netstack.memory.idle_connection_bytes=${each.toFixed(0)}`);
  t.ok(each < 4096, `${each.toFixed(0)} bytes`);
  t.equal(s.stack.connectionCount(), count);
});

void t.test('busy connections, with full buffers and as much out as the window lets', async (t) => {
  const count = 40;
  const s = new Script();
  const chunk = new Uint8Array(65_536);
  const before = await used();
  for (let i = 0; i < count; i++) {
    const connection = s.stack.connect(at(B4, s.peerPort), silent, s.now);
    s.take();
    s.send({ flags: 'SA', ack: 1, mss: 1240, sackPermitted: true, scale: 7 });
    while (connection.write(chunk, s.now) > 0) continue;
    // The window opens as it does in a transfer; every third segment is reported, so there is a range for each.
    for (let ack = 1; ack < 100_000; ack += 12_400) s.send({ flags: 'A', seq: 1, ack, sack: [ack + 3720, ack + 4960, ack + 1240, ack + 2480] });
    while (connection.write(chunk, s.now) > 0) continue;
    s.take();
  }
  const each = ((await used()) - before) / count;
  t.comment(`figure: netstack.memory.busy_connection_bytes=${each.toFixed(0)}`);
  t.ok(each <= 256 * 1024, `${each.toFixed(0)} bytes`);
});

void t.test('a long fat path gets more', async (t) => {
  const network = new Network({ delayMs: 50, bitsPerSecond: 400e6, queuePackets: 4000, options: { superPackets: true } });
  const { client, server } = dial(network);
  const size = 60_000_000;
  client.send(new Uint8Array(size), false, network.now);
  const start = network.now;
  network.runUntil(() => server.received === size, 60_000);
  const mbit = (size * 8) / (network.now - start) / 1000;
  t.comment(`figure: netstack.memory.long_fat_mbit=${mbit.toFixed(0)}`);
  t.ok(mbit > 100, `${mbit.toFixed(0)} Mbit/s over 100 ms, where ${SEND_BUFFER / 1024} KB would give 18`);
});

void t.test('what all connections may have beyond their first buffers is bounded, and comes back', async (t) => {
  const layer = new TcpLayer({
    scratch: new Uint8Array(1280),
    mtu: 1280,
    superPackets: false,
    random: fillWith(seeded(1)),
    emit: () => {},
    flush: () => {},
    unreachable: () => {},
  });
  const one = { extraBytes: 0 };
  const other = { extraBytes: 0 };
  t.equal(layer.reserve(one, MAX_EXTRA_BUFFERS + 1), false);
  t.equal(layer.reserve(one, MAX_EXTRA_BUFFERS - 1), true);
  t.equal(layer.reserve(other, 2), false);
  layer.reserve(one, -one.extraBytes);
  t.same([one.extraBytes, layer.reserve(other, MAX_EXTRA_BUFFERS)], [0, true]);
});
