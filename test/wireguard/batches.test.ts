// Runs of messages: super-packets out, runs of datagrams in, and that both mean what their parts would mean one by one.
import t from 'tap';
import { finishChecksum, pseudoSum, sumWords } from '#wire/checksum.ts';
import { messageTypes } from '#wire/wireguard.ts';
import { maxRunMessages } from '#wireguard/constants.ts';
import { Pair, packet, seededBytes, Side } from './pair.ts';

const { initiation, transport } = messageTypes;

/** A TCP packet with so many bytes of payload; its checksums are left unset. */
function superPacket(source: string, destination: string, payload: Uint8Array): Uint8Array {
  const tcp = Buffer.alloc(20 + payload.length);
  tcp.writeUInt16BE(1_000, 0);
  tcp.writeUInt16BE(2_000, 2);
  tcp.writeUInt32BE(0xffff_ff00, 4);
  tcp[12] = 0x50;
  tcp[13] = 0x18;
  tcp.set(payload, 20);
  const out = packet(source, destination, tcp);
  out[out[0] === 0x45 ? 9 : 6] = 6;
  return out;
}

/** The payload of a TCP packet of the above kind whose checksum is right; undefined where it is not. */
function payloadOf(bytes: Uint8Array): Uint8Array | undefined {
  const v4 = (bytes[0] ?? 0) >>> 4 === 4;
  const [header, width, at] = v4 ? [20, 4, 12] : [40, 16, 8];
  const sum = pseudoSum(bytes, at, bytes, at + width, width, 6) + bytes.length - header;
  if (finishChecksum(sumWords(bytes, header, bytes.length, sum)) !== 0) return undefined;
  return bytes.subarray(header + 20);
}

function run(messages: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(messages);
}

/** Messages of a that b has not seen, one for each text. */
function held(pair: Pair, texts: readonly string[]): readonly Uint8Array[] {
  const { link } = pair;
  pair.link = () => [];
  const messages = texts.map((text) => {
    pair.send(pair.a, text);
    return pair.a.last(transport);
  });
  pair.link = link;
  return messages;
}

void t.test('a super-packet arrives as the packets that it stands for', async (t) => {
  for (const v6 of [false, true]) {
    for (const [bytes, segmentSize] of [
      [10_000, 1_360],
      [1_360, 1_360],
      [1_361, 1_360],
      [60_000, 536],
      [65_000, 1_360],
      [5, 1],
    ] as const) {
      const pair = new Pair({ v6, a: { mtu: 1_420 } }).connect();
      const payload = new Uint8Array(bytes);
      seededBytes(`${bytes}`)(payload);
      t.equal(pair.a.device.sendSegments(superPacket(pair.a.address, pair.b.address, payload), segmentSize, pair.now), true);
      pair.run(100);
      const got = pair.b.delivered.map(({ packet: part }) => payloadOf(part));
      t.equal(got.length, Math.ceil(bytes / segmentSize));
      t.ok(got.every((part) => part !== undefined));
      t.same(Buffer.concat(got.map((part) => part ?? new Uint8Array(0))), Buffer.from(payload));
    }
  }
});

void t.test('messages leave as runs of one size, as long as one system call takes', async (t) => {
  for (const [bytes, segmentSize, runs] of [
    [13_600, 1_360, [10]],
    [65_000, 1_360, [45, 3]],
    [10_000, 100, [64, 36]],
    [65_000, 1_000, [61, 4]],
    [64 * 100 + 1, 100, [64, 1]],
  ] as const) {
    const pair = new Pair({ a: { mtu: 1_420 } }, true).connect();
    pair.a.device.sendSegments(superPacket(pair.a.address, pair.b.address, new Uint8Array(bytes)), segmentSize, pair.now);
    t.same(
      pair.a.runs.map(({ messages }) => messages),
      runs.filter((count) => count > 1),
      `${bytes} bytes by ${segmentSize}`,
    );
    t.ok(pair.a.runs.every(({ bytes: length, messages }) => length <= 65_507 && messages <= maxRunMessages));
    pair.run(100);
    t.equal(pair.b.delivered.length, Math.ceil(bytes / segmentSize));
  }
});

void t.test('a super-packet waits for a session like its packets would', async (t) => {
  const pair = new Pair();
  t.equal(pair.a.device.sendSegments(superPacket(pair.a.address, pair.b.address, new Uint8Array(5_000).fill(3)), 1_000, 0), true);
  t.equal(pair.a.times(initiation).length, 1);
  pair.run(100);
  t.equal(pair.b.delivered.length, 5);
  t.ok(pair.b.delivered.every(({ packet: part }) => payloadOf(part)?.length === 1_000));
});

void t.test('a sink may send a super-packet while another one is being sent', async (t) => {
  const pair = new Pair({ a: { mtu: 1_420 } }, true).connect();
  const [outer, inner] = [new Uint8Array(65_000), new Uint8Array(65_000)];
  seededBytes('outer')(outer);
  seededBytes('inner')(inner);
  const { forward } = pair.a;
  let messages = 0;
  pair.a.forward = (bytes) => {
    forward(bytes);
    if (++messages !== 61) return; // the last of the first run: its bytes are not needed any more
    pair.a.device.sendSegments(superPacket(pair.a.address, pair.b.address, inner), 1_200, pair.now);
  };
  pair.a.device.sendSegments(superPacket(pair.a.address, pair.b.address, outer), 1_000, pair.now);
  pair.run(100);
  const parts = pair.b.delivered.map(({ packet: part }) => payloadOf(part) ?? new Uint8Array(0));
  const ofSize = (segment: number, whole: Uint8Array): readonly Uint8Array[] =>
    parts.filter(({ length }) => length === segment || length === whole.length % segment);
  t.same(Buffer.concat(ofSize(1_000, outer)), Buffer.from(outer));
  t.same(Buffer.concat(ofSize(1_200, inner)), Buffer.from(inner));
});

void t.test('what cannot be split, is too long or for nobody is not sent', async (t) => {
  const pair = new Pair().connect();
  const good = superPacket(pair.a.address, pair.b.address, new Uint8Array(3_000));
  for (const bytes of [
    new Uint8Array(0),
    packet(pair.a.address, pair.b.address, 'no TCP'),
    superPacket(pair.a.address, '10.0.0.9', new Uint8Array(3_000)),
    Buffer.concat([good, new Uint8Array(63_000)]),
    good.subarray(0, 39),
  ]) {
    t.equal(pair.a.device.sendSegments(bytes, 1_000, pair.now), false, `${bytes.length} bytes`);
  }
  t.equal(pair.a.device.sendSegments(packet(pair.a.address, pair.b.address, 'whole'), 0, pair.now), true, 'segments of 0 bytes: one whole packet');
  pair.run(100);
  t.equal(pair.b.delivered.length, 1);
});

void t.test('the number of messages ends a session in the middle of runs too', async (t) => {
  const pair = new Pair({ a: { limits: { rekeyAfterMessages: 25, rejectAfterMessages: 30 } } }).connect();
  pair.run(10_000);
  for (let i = 0; i < 5; i++)
    pair.a.device.sendSegments(superPacket(pair.a.address, pair.b.address, new Uint8Array(10_000).fill(i)), 1_000, pair.now);
  t.equal(pair.a.times(transport).length, 20);
  t.equal(pair.a.times(initiation).length, 1);
  pair.run(6_000);
  t.equal(pair.b.delivered.length, 50);
});

void t.test('a run is taken apart: genuine, copied, damaged and foreign datagrams side by side', async (t) => {
  const pair = new Pair().connect();
  const [one, two, three, four] = held(pair, ['one!', 'two!', 'tre!', 'four']);
  if (one === undefined || two === undefined || three === undefined || four === undefined) return;
  const damaged = three.map((byte, i) => (i === 20 ? byte ^ 1 : byte));
  const foreign = new Uint8Array(one.length).fill(7);
  const whole = run([one, damaged, two, one, foreign, three, four.subarray(0, 40)]);
  pair.b.device.receiveDatagrams(whole, one.length, 'a', pair.now);
  t.same(
    pair.b.delivered.map(({ packet: bytes }) => Buffer.from(bytes.subarray(20)).toString()),
    ['one!', 'two!', 'tre!'],
  );
  t.same(pair.b.sources, [{ peer: pair.a.publicKey, source: 'a' }], 'named once');
  pair.b.device.receiveDatagrams(four, 0, 'a', pair.now);
  pair.b.device.receiveDatagrams(four, -1, 'a', pair.now);
  pair.b.device.receiveDatagrams(four, 1, 'a', pair.now);
  t.equal(pair.b.delivered.length, 3);
  pair.b.device.receiveDatagrams(four, 65_536, 'a', pair.now);
  t.equal(pair.b.delivered.length, 4);
});

void t.test('a run may bring a handshake and messages of several sessions', async (t) => {
  const hub = new Side('hub', '10.0.0.1');
  const sides = ['10.0.0.2', '10.0.0.3'].map((address, i) => new Side(`side ${i}`, address));
  const messages: Uint8Array[] = [];
  for (const side of sides) {
    hub.device.setPeer(side.asPeer(), 0);
    side.device.setPeer(hub.asPeer(), 0);
    side.device.sendPacket(packet(side.address, hub.address, `from ${side.name}`), 0);
    hub.device.receiveDatagram(side.last(initiation), side.name, 0);
    side.device.receiveDatagram(hub.last(messageTypes.response), 'hub', 0);
    messages.push(side.last(transport));
  }
  hub.sources.length = 0;
  const size = Math.max(...messages.map(({ length }) => length));
  hub.device.receiveDatagrams(run([...messages, ...messages]), size, 'both', 1);
  t.same(
    hub.delivered.map(({ peer }) => peer),
    sides.map(({ publicKey }) => publicKey),
  );
  t.equal(hub.handshakes.length, 2);
  t.equal(hub.sources.length, 2);

  const late = new Side('late', '10.0.0.4');
  hub.device.setPeer(late.asPeer(), 10);
  late.device.setPeer(hub.asPeer(), 10);
  late.device.initiate(hub.publicKey, 10);
  hub.sent.length = 0;
  hub.device.receiveDatagrams(late.last(initiation), 1_500, 'late', 10);
  t.equal(hub.times(messageTypes.response).length, 1);
});

void t.test('a run is one moment: it is counted whole and answered by one keepalive', async (t) => {
  const pair = new Pair().connect();
  const messages = held(pair, ['first', 'again', 'third']);
  const before = pair.b.device.status()[0]?.receivedBytes ?? 0;
  pair.b.device.receiveDatagrams(run(messages), messages[0]?.length ?? 0, 'a', pair.now);
  t.equal((pair.b.device.status()[0]?.receivedBytes ?? 0) - before, run(messages).length);
  pair.run(60_000);
  t.equal(pair.b.times(transport).length, 1);
});

void t.test('a peer that is removed in the middle of a run gets nothing more of it', async (t) => {
  const pair = new Pair().connect();
  const messages = held(pair, ['first', 'again', 'third']);
  const { push } = pair.b.delivered;
  pair.b.delivered.push = (...items) => {
    pair.b.device.removePeer(pair.a.publicKey);
    return push.apply(pair.b.delivered, items);
  };
  pair.b.device.receiveDatagrams(run(messages), messages[0]?.length ?? 0, 'a', pair.now);
  t.equal(pair.b.delivered.length, 1);
  t.equal(pair.b.device.pollAt(), Infinity);

  const other = new Pair({ a: { mtu: 1_420 } }, true).connect();
  other.a.forward = () => other.a.device.removePeer(other.b.publicKey);
  t.equal(other.a.device.sendSegments(superPacket('10.0.0.1', '10.0.0.2', new Uint8Array(65_000)), 1_000, other.now), true);
  t.equal(other.a.runs.length, 1);
  t.equal(other.a.device.pollAt(), Infinity);
});
