// Super-packets: what the stack hands out in one piece for many segments, and takes in one piece from whoever joined them.
import t from 'tap';
import { MAX_SUPER_PAYLOAD, SUPER_HEADERS } from '#netstack/constants.ts';
import { FLAG } from '#wire/tcp.ts';
import { Segmenter } from '#wire/segmentation.ts';
import { Network, dial, payload } from './link.ts';
import { Script, brief } from './script.ts';

interface Out {
  readonly packet: Uint8Array;
  readonly segmentSize: number;
}

const SACK = { mss: 1240, scale: 7, sackPermitted: true, window: 65_535 } as const;

/** A script whose stack emits super-packets; what it sends is gathered in `out`, cut into packets for the script to read. */
function make(family: 4 | 6 = 4): { s: Script; out: Out[] } {
  const out: Out[] = [];
  const segmenter = new Segmenter();
  const hold: { script?: Script } = {};
  const s = new Script(family, {
    superPackets: true,
    output: (packet, segmentSize) => {
      out.push({ packet: new Uint8Array(packet), segmentSize });
      if (segmentSize === 0) hold.script?.packets.push(new Uint8Array(packet));
      else if (segmenter.begin(packet, segmentSize)) {
        for (let i = 0; i < segmenter.count; i++) {
          const piece = new Uint8Array(segmenter.size);
          hold.script?.packets.push(piece.subarray(0, segmenter.write(i, piece, 0)));
        }
      }
    },
  });
  hold.script = s;
  return { s, out };
}

void t.test('bulk data leaves in one piece, of whole segments, within the bounds', async (t) => {
  for (const family of [4, 6] as const) {
    const { s, out } = make(family);
    s.established({ ...SACK, mss: family === 4 ? 1240 : 1220 });
    s.take();
    out.length = 0;
    t.equal(s.write(110_000), 110_000);
    t.equal(out.length, 1, 'the initial window is one super-packet');
    const mss = family === 4 ? 1240 : 1220;
    t.match(out[0], { segmentSize: mss });
    t.equal(out[0]?.packet.length, (family === 4 ? 40 : 60) + 10 * mss);
    t.equal(s.take().length, 10);
    for (let round = 0, una = 1; round < 6; round++) {
      out.length = 0;
      s.now += 20;
      const seen = s.send({ flags: 'A', seq: 1, ack: (una += (10 * mss) << round), window: 65_535 });
      t.ok(out.every(({ packet, segmentSize }) => packet.length <= MAX_SUPER_PAYLOAD + SUPER_HEADERS && (segmentSize === 0 || segmentSize === mss)));
      t.ok(seen.slice(0, -1).every(({ length }) => length === mss));
      if (seen.length === 0) break;
    }
  }
});

void t.test('PSH and FIN stand at the end only', async (t) => {
  const { s, out } = make();
  s.established(SACK);
  s.take();
  out.length = 0;
  s.write(5000);
  const pushed = s.take();
  t.same(
    pushed.map(({ flags }) => flags.includes('P')),
    [false, false, false, false, true],
  );
  t.equal((out[0]?.packet[33] ?? 0) & FLAG.psh, FLAG.psh);
  s.send({ flags: 'A', seq: 1, ack: 5001 });
  out.length = 0;
  s.write(3000);
  s.connection.end(s.now);
  t.same(
    s.take().map(({ flags }) => flags.includes('F')),
    [false, false, false, true],
    'the FIN follows on its own here',
  );
});

void t.test('holes are repaired by super-packets too', async (t) => {
  const { s, out } = make();
  s.established(SACK);
  s.write(12_400);
  s.take();
  out.length = 0;
  s.now += 20;
  const again = s.send({ flags: 'A', seq: 1, ack: 1, sack: [4961, 12_401] });
  t.same(brief(again), ['A 1+1240 ack 1', 'A 1241+1240 ack 1', 'A 2481+1240 ack 1', 'A 3721+1240 ack 1']);
  t.equal(out.length, 1);
});

void t.test('a short rest behind what is out waits for the end of the turn', async (t) => {
  const { s, out } = make();
  s.established(SACK);
  // Everything that goes out is acknowledged, until the window is far wider than what follows.
  for (let written = 0, sentTo = 1, round = 0; round < 12; round++) {
    written += s.write(60_000);
    for (let news = s.take(); sentTo < 1 + written; news = [...s.pass(0), ...s.send({ flags: 'A', seq: 1, ack: sentTo, window: 65_535 })]) {
      sentTo = Math.max(sentTo, ...news.map(({ seq, length }) => seq + length));
    }
    s.send({ flags: 'A', seq: 1, ack: sentTo, window: 65_535 });
  }
  s.take();
  out.length = 0;
  s.write(62_000);
  t.same(
    out.map(({ packet }) => packet.length),
    [40 + 48 * 1240],
    'as much as goes into one',
  );
  s.write(500);
  s.write(600);
  t.equal(out.length, 1);
  s.pass(0);
  t.same(
    out.slice(1).map(({ packet }) => packet.length),
    [40 + 62_000 - 48 * 1240 + 1100],
    'the rest in one piece with what came meanwhile',
  );
});

void t.test('what was joined is taken as one, its checksums not looked at, and acknowledged once', async (t) => {
  for (const family of [4, 6] as const) {
    const s = new Script(family).established(SACK);
    const packet = s.build({ flags: 'A', seq: 1, ack: 1, data: 18 * 1220 });
    const tcp = family === 4 ? 20 : 40;
    packet[tcp + 16] = 0;
    packet[tcp + 17] = 0;
    if (family === 4) packet[10] = 0;
    s.stack.receivePacket(packet, s.now, 0);
    t.equal(s.endpoint.received, 0, 'a plain packet with a wrong checksum');
    s.stack.receivePacket(packet, s.now, 1220);
    t.equal(s.endpoint.received, 18 * 1220);
    t.same(brief(s.take()), [`A 1+0 ack ${1 + 18 * 1220}`]);
    const small = s.build({ flags: 'A', seq: 1 + 18 * 1220, ack: 1, data: 2440 });
    s.stack.receivePacket(small, s.now, 1220);
    t.same(brief(s.take()), [], 'two segments count as two');
    t.same(brief(s.pass(0)), [`A 1+0 ack ${1 + 20 * 1220}`]);
  }
});

void t.test('a super-packet that is not what it says is refused', async (t) => {
  const s = new Script().established(SACK);
  const packet = s.build({ flags: 'A', seq: 1, ack: 1, data: 5000 });
  for (let length = 0; length < packet.length; length += 7) s.stack.receivePacket(packet.subarray(0, length), s.now, 1220);
  t.equal(s.endpoint.received, 0);
  t.ok(s.stack.counters.malformed > 0);
});

void t.test('transfers with super-packets over links of every kind', async (t) => {
  const { bytes, digest } = payload(3_000_000);
  for (const family of [4, 6] as const) {
    for (const link of [
      { delayMs: 1 },
      { delayMs: 10, bitsPerSecond: 100e6, queuePackets: 100, coalesceMs: 0.3 },
      { delayMs: 5, loss: 0.02, reorder: 0.05, duplicate: 0.02, coalesceMs: 0.5 },
      { delayMs: 5, corrupt: 0.01, loss: 0.05 },
    ]) {
      const network = new Network({ ...link, mtu: 1420, options: { superPackets: true } });
      const { client, server } = dial(network, family);
      client.send(bytes, true, network.now);
      t.ok(network.runUntil(() => client.end !== undefined && server.end !== undefined, 600_000));
      t.same([client.end, server.end, server.hash.digest('hex')], ['finished', 'finished', digest]);
    }
  }
});
