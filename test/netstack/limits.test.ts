// Every bound of the stack, reached: connections, half-open handshakes, TIME-WAIT, out-of-order data, buffers, sockets, re-entry.
import t from 'tap';
import { createStack } from '#netstack/stack.ts';
import {
  MAX_CONNECTIONS,
  MAX_HALF_OPEN,
  MAX_HALF_OPEN_PER_PEER,
  MAX_LISTENERS,
  MAX_OUT_OF_ORDER_BYTES,
  MAX_OUT_OF_ORDER_PIECES,
  MAX_OUT_OF_ORDER_RANGES,
  MAX_REENTRANT_PACKETS,
  MAX_SACKED_RANGES,
  MAX_SENT_RANGES,
  MAX_TIME_WAIT,
  MAX_UDP_SOCKETS,
  SEND_BUFFER,
} from '#netstack/constants.ts';
import { Assembler } from '#netstack/tcp/assembler.ts';
import { SendRing } from '#netstack/tcp/send-ring.ts';
import { SentRanges } from '#netstack/tcp/sent.ts';
import type { IpStack } from '#netstack/types.ts';
import { A4, A6, B4, Endpoint, at, fillWith, ip, seeded } from './link.ts';
import { Script } from './script.ts';

void t.test('connections: beyond the limit a new one fails, and a SYN is dropped', async (t) => {
  const s = new Script(4, { maxConnections: 3 });
  s.listen();
  const ends = [1, 2, 3, 4].map((port) => {
    const endpoint = new Endpoint();
    s.stack.connect(at(B4, port), endpoint, s.now);
    return endpoint;
  });
  s.stack.poll(s.now);
  t.same(
    ends.map(({ end }) => end),
    [undefined, undefined, undefined, 'EADDRNOTAVAIL'],
  );
  s.take();
  s.stackPort = 80;
  t.same(s.send({ flags: 'S', mss: 1240 }), []);
});

void t.test('many idle connections cost little to poll', async (t) => {
  const count = 10_000;
  const s = new Script();
  for (let i = 0; i < count; i++) {
    const endpoint = new Endpoint();
    s.peerPort = 1 + Math.floor(i / 5000);
    s.stack.connect(at(B4, s.peerPort), endpoint, s.now);
    s.take();
    s.send({ flags: 'SA', ack: 1, mss: 1240, sackPermitted: true });
  }
  t.equal(s.stack.connectionCount(), count);
  const start = performance.now();
  for (let i = 0; i < 10_000; i++) {
    s.now += 0.01;
    s.stack.poll(s.now);
    s.stack.pollAt();
  }
  const each = ((performance.now() - start) / 10_000) * 1000;
  t.comment(`poll with ${count} idle connections: ${each.toFixed(2)} µs`);
  t.ok(each < 50, 'not a scan of all of them');
  t.ok(MAX_CONNECTIONS > count);
});

void t.test('half-open handshakes: bounded for one peer and for all', async (t) => {
  const s = new Script();
  s.listen();
  let answered = 0;
  for (let port = 1; port <= MAX_HALF_OPEN_PER_PEER + 50; port++) {
    s.peerPort = port;
    s.stackPort = 80;
    answered += s.send({ flags: 'S', mss: 1240 }).length;
  }
  t.equal(answered, MAX_HALF_OPEN_PER_PEER + 50, 'beyond it with cookies');
  t.equal(s.stack.connectionCount(), MAX_HALF_OPEN_PER_PEER);
  for (let peer = 0; peer < 10; peer++) {
    for (let port = 1; port <= 200; port++) {
      s.peerPort = port;
      s.stackPort = 80;
      const packet = s.build({ flags: 'S', mss: 1240 });
      moveSource(packet, peer);
      s.stack.receivePacket(packet, s.now);
    }
  }
  t.equal(s.stack.connectionCount(), MAX_HALF_OPEN);
  s.pass(300_000);
  t.equal(s.stack.connectionCount(), 0, 'they time out, and make room');
  s.peerPort = 9;
  s.stackPort = 80;
  t.equal(s.send({ flags: 'S', mss: 1240 }).length, 1);
});

/** Gives a packet from B4 another source; both checksums are sums, so they are put right by the difference. */
function moveSource(packet: Uint8Array, peer: number): void {
  const view = new DataView(packet.buffer, packet.byteOffset);
  const before = view.getUint16(14);
  const after = (before + 100 + peer) & 0xffff;
  view.setUint16(14, after);
  for (const offset of [10, 36]) {
    let sum = (~view.getUint16(offset) & 0xffff) + (~before & 0xffff) + after;
    sum = (sum >> 16) + (sum & 0xffff);
    view.setUint16(offset, ~((sum >> 16) + sum) & 0xffff);
  }
}

void t.test('TIME-WAIT: the oldest goes first', async (t) => {
  const s = new Script();
  for (let i = 0; i < MAX_TIME_WAIT + 10; i++) {
    s.connect(1 + Math.floor(i / 4000));
    s.send({ flags: 'SA', ack: 1, mss: 1240 });
    s.connection.end(s.now);
    s.take();
    s.send({ flags: 'FA', seq: 1, ack: 2 });
    if (s.endpoint.end !== 'finished') t.fail('not closed');
    s.endpoint.end = undefined;
  }
  t.equal(s.stack.connectionCount(), 0);
  s.pass(70_000);
  t.equal(s.stack.pollAt(), Infinity);
});

void t.test('out-of-order data: bytes, pieces and gaps', async (t) => {
  const pieces = new Assembler();
  const big = new Uint8Array(60_000);
  let kept = 0;
  for (let at = 10; pieces.insert(at, big); at += big.length) kept += big.length;
  t.ok(kept <= MAX_OUT_OF_ORDER_BYTES && kept > MAX_OUT_OF_ORDER_BYTES - big.length);
  t.equal(pieces.bytes, kept);
  const small = new Assembler();
  for (let at = 5000; at > 0; at--) small.insert(10 + at, new Uint8Array(1));
  t.equal(small.pieces, MAX_OUT_OF_ORDER_PIECES);
  const following = new Assembler();
  for (let at = 0; at < 50_000; at++) following.insert(10 + at, new Uint8Array(1));
  t.ok(following.pieces < 30, 'small neighbours share pieces');
  const gaps = new Assembler();
  for (let at = 0; at < 5000; at++) gaps.insert(10 + 2 * at, new Uint8Array(1));
  t.equal(gaps.pieces, MAX_OUT_OF_ORDER_RANGES);
  t.equal(gaps.blocks(new Int32Array(8), 4), 4);
  gaps.clear();
  t.equal(gaps.bytes, 0);
  const s = new Script().established({ mss: 1240, sackPermitted: true });
  for (let i = 0; i < 5000; i++) s.send({ flags: 'A', seq: 10 + 2 * i, ack: 1, data: 1 });
  t.equal(s.endpoint.end, undefined);
});

void t.test('SACKed ranges', async (t) => {
  const sent = new SentRanges();
  sent.append(0, 1_000_000, 1);
  for (let i = 0; i < 1000; i++) sent.sack(10 + 2 * i, 11 + 2 * i, 0, 1_000_000);
  t.equal(sent.sackedRanges, MAX_SACKED_RANGES);
  t.equal(sent.sackedBytes, MAX_SACKED_RANGES);
  sent.advance(900_000);
  t.same([sent.sackedRanges, sent.sackedBytes, sent.ranges], [0, 0, 1]);
});

void t.test('ranges of sent bytes with a time each', async (t) => {
  const sent = new SentRanges();
  for (let i = 0; i < 5000; i++) sent.append(i, i + 1, i);
  t.equal(sent.ranges, MAX_SENT_RANGES);
  sent.advance(4999);
  t.equal(sent.ranges, 1);
});

void t.test('the send buffer takes so much and no more, and is given back', async (t) => {
  const s = new Script().established({ mss: 1240 });
  t.equal(s.connection.sendBufferFree, SEND_BUFFER);
  t.equal(s.write(SEND_BUFFER + 1000), SEND_BUFFER);
  t.equal(s.write(1), 0);
  t.equal(s.connection.sendBufferFree, 0);
  const ring = new SendRing();
  t.equal(ring.capacity, 0);
  ring.push(new Uint8Array(10));
  t.ok(ring.capacity <= 8192);
  ring.push(new Uint8Array(100_000));
  ring.drop(100_010);
  t.equal(ring.length, 0);
  ring.clear();
  t.equal(ring.capacity, 0);
});

void t.test('sockets and listeners', async (t) => {
  const { stack } = new Script();
  for (let port = 1; port <= MAX_UDP_SOCKETS; port++) stack.bindUdp(port, () => {});
  t.throws(() => stack.bindUdp(0, () => {}), { code: 'NETSTACK_TOO_MANY_SOCKETS' });
  for (let port = 1; port <= MAX_LISTENERS; port++)
    stack.listen(
      port,
      () => true,
      () => {},
    );
  t.throws(
    () =>
      stack.listen(
        60_000,
        () => true,
        () => {},
      ),
    { code: 'NETSTACK_TOO_MANY_SOCKETS' },
  );
});

void t.test('packets that arrive from inside output wait, up to a bound', async (t) => {
  const self: { stack?: IpStack } = {};
  const s = new Script();
  const syn = s.build({ flags: 'A', seq: 1, ack: 1 });
  const stack = createStack({
    addresses: [A4, A6],
    mtu: 1280,
    random: fillWith(seeded(3)),
    output: () => {
      for (let i = 0; i < 3; i++) self.stack?.receivePacket(syn, 1);
    },
  });
  self.stack = stack;
  stack.receivePacket(syn, 1);
  for (let i = 0; i < 50; i++) stack.poll(1);
  t.ok(stack.counters.reentrantDropped > 0);
  t.ok(stack.counters.received < 60 * MAX_REENTRANT_PACKETS, 'no call goes on forever');
});

void t.test('ephemeral ports: random, never one in use', async (t) => {
  const s = new Script();
  const seen = new Set<number>();
  for (let i = 0; i < 3000; i++) {
    const { local } = s.stack.connect(at(ip('100.64.0.2'), 80), new Endpoint(), s.now);
    if (seen.has(local.port) || local.port < 49_152) t.fail(`port ${local.port}`);
    seen.add(local.port);
  }
  t.equal(seen.size, 3000);
});
