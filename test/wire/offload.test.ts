// Splitting and joining are inverse to each other, and joining never hides a difference.
import t from 'tap';
import { checksum, finishChecksum, pseudoSum, sumWords } from '#wire/checksum.ts';
import { Coalescer, type CoalescerOptions } from '#wire/coalescing.ts';
import { writeIpv4 } from '#wire/ipv4.ts';
import { writeIpv6 } from '#wire/ipv6.ts';
import { Segmenter } from '#wire/segmentation.ts';
import { FLAG, sealTcp, TCP_HEADER, writeTcp, writeTimestamps } from '#wire/tcp.ts';

interface Shape {
  readonly family: 4 | 6;
  readonly payload: Uint8Array;
  readonly seq?: number;
  readonly flags?: number;
  readonly ack?: number;
  readonly window?: number;
  readonly port?: number;
  readonly echo?: number;
}

/** A whole packet with right checksums. */
function packet({ family, payload, seq = 1000, flags = FLAG.ack, ack = 77, window = 500, port = 4000, echo = 9 }: Shape): Buffer {
  const ip = family === 4 ? 20 : 40;
  const out = Buffer.alloc(ip + TCP_HEADER + 12 + payload.length);
  const end = writeTimestamps(out, ip + TCP_HEADER, 8, echo);
  out.set(payload, end);
  writeTcp(out, ip, TCP_HEADER + 12, port, 443, seq, ack, flags, window);
  const source = Buffer.alloc(family === 4 ? 4 : 16, 10);
  const destination = Buffer.alloc(family === 4 ? 4 : 16, 11);
  sealTcp(out, ip, out.length, pseudoSum(source, 0, destination, 0, source.length, 6));
  if (family === 4) writeIpv4(out, out.length, 6, source, destination);
  else writeIpv6(out, out.length, 6, source, destination);
  return out;
}

function bytes(count: number, seed = 1): Buffer {
  const out = Buffer.alloc(count);
  let state = seed;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) | 0;
    out[i] = state >>> 16;
  }
  return out;
}

/** All packets of a super-packet, written next to each other as the engine does. */
function split(whole: Uint8Array, segmentSize: number): Buffer[] {
  const segmenter = new Segmenter();
  if (!segmenter.begin(whole, segmentSize)) return [];
  return Array.from({ length: segmenter.count }, (_, i) => {
    const target = Buffer.alloc(segmenter.size + 7, 0xee);
    return target.subarray(7, 7 + segmenter.write(i, target, 7));
  });
}

function join(packets: readonly Uint8Array[], options?: CoalescerOptions): { packet: Buffer; segmentSize: number }[] {
  const out: { packet: Buffer; segmentSize: number }[] = [];
  const coalescer = new Coalescer((joined, segmentSize) => out.push({ packet: Buffer.from(joined), segmentSize }), options);
  for (const one of packets) coalescer.add(one);
  coalescer.flush();
  return out;
}

function rightSums(one: Buffer): boolean {
  const six = (one[0] ?? 0) >> 4 === 6;
  const ip = six ? 40 : 20;
  const pseudo = sumWords(one, six ? 8 : 12, ip, 6 + one.length - ip);
  return (six || checksum(one, 0, 20) === 0) && finishChecksum(sumWords(one, ip, one.length, pseudo)) === 0;
}

for (const family of [4, 6] as const) {
  const headers = (family === 4 ? 20 : 40) + 32;

  t.test(`IPv${family}: each packet of a super-packet is whole, right and carries its part`, async (t) => {
    const payload = bytes(4001);
    const whole = packet({ family, payload, seq: -500, flags: FLAG.ack | FLAG.psh | FLAG.fin | 0x80 });
    whole.fill(0xab, headers - 32 + 16, headers - 32 + 18); // the checksum of a super-packet means nothing
    const parts = split(whole, 1000);
    t.equal(parts.length, 5);
    t.ok(parts.every(rightSums), 'all checksums are right');
    t.same(Buffer.concat(parts.map((part) => part.subarray(headers))), payload);
    t.same(
      parts.map((part) => part.readInt32BE(headers - 32 + 4)),
      [-500, 500, 1500, 2500, 3500],
    );
    t.same(
      parts.map((part) => part[headers - 32 + 13]),
      [FLAG.ack | 0x80, FLAG.ack, FLAG.ack, FLAG.ack, FLAG.ack | FLAG.psh | FLAG.fin],
    );
    t.same(
      parts.map((part) => part.length),
      [1000, 1000, 1000, 1000, 1].map((size) => size + headers),
    );
  });

  t.test(`IPv${family}: a single packet's checksums are set when it is written`, async (t) => {
    const whole = packet({ family, payload: bytes(100) });
    const [only, ...more] = split(whole, 1000);
    t.same(only, whole);
    t.equal(more.length, 0);
  });

  t.test(`IPv${family}: what was split is joined again to the same bytes`, async (t) => {
    const payload = bytes(60_001, 3);
    const whole = packet({ family, payload, flags: FLAG.ack | FLAG.psh });
    const joined = join(split(whole, 1300));
    t.equal(joined.length, 1);
    t.equal(joined[0]?.segmentSize, 1300);
    const again = joined[0]?.packet ?? Buffer.alloc(0);
    again.copy(whole, headers - 32 + 16, headers - 32 + 16, headers - 32 + 18); // not set
    t.same(again, whole);
  });

  t.test(`IPv${family}: only what nobody could tell apart is joined`, async (t) => {
    const a = bytes(500, 5);
    const b = bytes(500, 6);
    const first = packet({ family, payload: a });
    const rows: [why: string, second: Buffer][] = [
      ['a gap', packet({ family, payload: b, seq: 1501 })],
      ['an overlap', packet({ family, payload: b, seq: 1499 })],
      ['another acknowledgment', packet({ family, payload: b, seq: 1500, ack: 78 })],
      ['another window', packet({ family, payload: b, seq: 1500, window: 501 })],
      ['another flow', packet({ family, payload: b, seq: 1500, port: 4001 })],
      ['another timestamp', packet({ family, payload: b, seq: 1500, echo: 10 })],
      ['a longer segment', packet({ family, payload: bytes(501), seq: 1500 })],
      ['FIN', packet({ family, payload: b, seq: 1500, flags: FLAG.ack | FLAG.fin })],
      ['ECE', packet({ family, payload: b, seq: 1500, flags: FLAG.ack | 0x40 })],
      ['no payload', packet({ family, payload: Buffer.alloc(0), seq: 1500 })],
    ];
    const ttl = packet({ family, payload: b, seq: 1500 });
    if (family === 4) ttl[8] = 3;
    else ttl[7] = 3;
    rows.push(['another hop limit', ttl]);
    const wrong = packet({ family, payload: b, seq: 1500 });
    wrong[wrong.length - 1] = (wrong[wrong.length - 1] ?? 0) ^ 1;
    rows.push(['a wrong checksum', wrong]);
    const trailing = Buffer.concat([packet({ family, payload: b, seq: 1500 }), Buffer.from([0])]);
    rows.push(['bytes behind the end', trailing]);
    for (const [why, second] of rows) {
      t.same(
        join([first, second]),
        [first, second].map((one) => ({ packet: one, segmentSize: 0 })),
        why,
      );
    }
    const brokenFirst = Buffer.from(first);
    brokenFirst[brokenFirst.length - 1] = (brokenFirst[brokenFirst.length - 1] ?? 0) ^ 1;
    const good = packet({ family, payload: b, seq: 1500 });
    t.same(
      join([brokenFirst, good]).map(({ segmentSize }) => segmentSize),
      [0, 0],
      'the first of two is checked too',
    );
    t.equal(join([first, good]).length, 1, 'and else it is joined');
    t.equal(join([brokenFirst, good], { proven: true }).length, 1, 'what a tunnel has proven is not computed again');
  });

  t.test(`IPv${family}: a super-packet stays below the longest packet`, async (t) => {
    const packets = Array.from({ length: 60 }, (_, i) => packet({ family, payload: bytes(1400), seq: 1000 + i * 1400 }));
    const joined = join(packets);
    t.equal(joined.length, 2);
    t.ok(joined.every(({ packet: one }) => one.length <= 65_535));
  });
}

t.test('a short or pushed segment ends a super-packet, and order is kept between flows', async (t) => {
  const one = packet({ family: 4, payload: bytes(500) });
  const pushed = packet({ family: 4, payload: bytes(200), seq: 1500, flags: FLAG.ack | FLAG.psh });
  const after = packet({ family: 4, payload: bytes(500), seq: 1700 });
  const other = packet({ family: 4, payload: bytes(5), port: 9, flags: FLAG.ack | FLAG.psh });
  t.same(
    join([one, pushed, after, other]).map(({ packet: joined, segmentSize }) => [joined.length - 52, segmentSize]),
    [
      [700, 500],
      [500, 0],
      [5, 0],
    ],
  );
});

t.test('what is no whole TCP packet is not split and goes through a join untouched', async (t) => {
  const udp = packet({ family: 4, payload: bytes(50) });
  udp[9] = 17;
  const fragment = packet({ family: 4, payload: bytes(50) });
  fragment[6] = 0x20;
  const shortHeader = packet({ family: 6, payload: bytes(50) });
  shortHeader[52] = 0x40;
  const longHeader = packet({ family: 4, payload: bytes(4) });
  longHeader[32] = 0xf0;
  for (const one of [udp, fragment, shortHeader, longHeader, Buffer.alloc(0), Buffer.from([0x45]), udp.subarray(0, 19)]) {
    t.equal(new Segmenter().begin(one, 100), false);
    t.same(
      join([one, one]),
      [one, one].map((whole) => ({ packet: whole, segmentSize: 0 })),
    );
  }
  t.equal(new Segmenter().begin(packet({ family: 4, payload: bytes(9) }), 0), false);
});

t.test('mutated packets never break the joiner, and nothing is lost or made up', async (t) => {
  let state = 7;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return (state >>> 8) % below;
  };
  for (let round = 0; round < 2000; round++) {
    const packets = Array.from({ length: 6 }, (_, i) => packet({ family: random(4) === 0 ? 6 : 4, payload: bytes(40), seq: 1000 + i * 40 }));
    for (const one of packets) {
      if (random(2) === 0) one[random(one.length)] = random(256);
    }
    const inputs = packets.map((one) => (random(8) === 0 ? one.subarray(0, random(one.length)) : one));
    const out = join(inputs);
    const untouched = out.filter(({ segmentSize }) => segmentSize === 0).map(({ packet: one }) => one);
    if (untouched.some((one) => !inputs.some((input) => input.equals(one)))) t.fail('a packet was changed');
    for (const { packet: one, segmentSize } of out) {
      if (segmentSize > 0 && !split(one, segmentSize).every((part) => inputs.some((input) => input.equals(part) || sameButId(input, part))))
        t.fail('made up');
    }
  }
  t.pass('held');
});

/** Joining forgets the IPv4 identification of all but the first. */
function sameButId(one: Buffer, other: Buffer): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  for (const copy of [a, b]) if (copy.length >= 20 && (copy[0] ?? 0) >> 4 === 4) copy.fill(0, 4, 6).fill(0, 10, 12);
  return a.equals(b);
}
