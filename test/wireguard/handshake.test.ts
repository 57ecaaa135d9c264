// The handshake and what it rests on: both roles, preshared keys, wrong keys, replays, tampering, roaming.
import { createHash } from 'node:crypto';
import t from 'tap';
import { messageTypes } from '#wire/wireguard.ts';
import { Pair, packet, prefix, Side, texts } from './pair.ts';

const { initiation, response, transport } = messageTypes;

void t.test('the first packet makes a handshake and arrives, in both roles', async (t) => {
  for (const v6 of [false, true]) {
    const pair = new Pair({ v6 });
    t.equal(pair.send(pair.a, 'hello'), true);
    pair.run(100);
    t.same(texts(pair.b), ['hello']);
    t.same(pair.a.handshakes, [{ peer: pair.b.publicKey, completed: true, at: 20 }]);
    t.same(pair.b.handshakes, [{ peer: pair.a.publicKey, completed: true, at: 30 }]);
    t.equal(pair.send(pair.b, 'and back'), true);
    pair.run(100);
    t.same(texts(pair.a), ['and back']);
    t.same(pair.a.times(initiation), [0]);
    t.same(pair.b.times(response), [10]);
    t.equal(pair.a.device.status()[0]?.lastHandshake, 20);
    t.equal(pair.b.device.status()[0]?.lastHandshake, 30);
  }
});

void t.test('initiate makes a session without a packet, and leaves a fresh one alone', async (t) => {
  const pair = new Pair();
  pair.a.device.initiate(pair.b.publicKey, 0);
  pair.run(100);
  t.same(
    pair.a.sent.map(({ bytes }) => bytes.length),
    [148, 32],
    'the keepalive confirms the keys to the responder',
  );
  t.equal(pair.b.handshakes.length, 1);
  pair.a.device.initiate(pair.b.publicKey, pair.now);
  pair.b.device.initiate(pair.a.publicKey, pair.now);
  pair.a.device.initiate('not a peer', pair.now);
  pair.run(100);
  t.same(pair.a.times(initiation), [0]);
  t.same(pair.b.times(initiation), []);
});

void t.test('initiate does not wait for the repetition when a path comes up', async (t) => {
  const pair = new Pair();
  pair.link = () => [];
  pair.send(pair.a, 'early');
  pair.run(400);
  pair.link = (_from, bytes) => [bytes];
  pair.a.device.initiate(pair.b.publicKey, pair.now);
  t.same(pair.a.times(initiation), [0], 'not within half a second');
  pair.run(200);
  pair.a.device.initiate(pair.b.publicKey, pair.now);
  pair.run(100);
  t.same(pair.a.times(initiation), [0, 600]);
  t.same(texts(pair.b), ['early']);
});

void t.test('both sides may begin at the same moment', async (t) => {
  const pair = new Pair();
  pair.send(pair.a, 'from a');
  pair.send(pair.b, 'from b');
  pair.run(1000);
  t.same(texts(pair.b), ['from a']);
  t.same(texts(pair.a), ['from b']);
  for (let i = 0; i < 20; i++) {
    pair.send(pair.a, `a${i}`);
    pair.send(pair.b, `b${i}`);
    pair.run(7_000);
  }
  t.equal(pair.a.delivered.length, 21);
  t.equal(pair.b.delivered.length, 21);
});

void t.test('a preshared key has to be the same on both sides', async (t) => {
  const same = new Uint8Array(32).fill(7);
  const agreed = new Pair({ aPeer: { presharedKey: same }, bPeer: { presharedKey: same } });
  agreed.send(agreed.a, 'x');
  agreed.run(100);
  t.same(texts(agreed.b), ['x']);

  const differing = new Pair({ aPeer: { presharedKey: same } });
  differing.send(differing.a, 'x');
  differing.run(1000);
  t.equal(differing.b.times(response).length, 1, 'the responder cannot know yet');
  t.same(differing.a.handshakes, []);
  t.same(texts(differing.b), []);

  differing.a.device.setPeer(differing.b.asPeer({ presharedKey: same }), differing.now);
  differing.run(10_000);
  t.same(texts(differing.b), ['x'], 'the next attempt uses the new key');
});

void t.test('strangers and misdirected messages meet silence', async (t) => {
  const pair = new Pair();
  const stranger = new Side('stranger', '10.0.0.9');
  stranger.device.setPeer(pair.b.asPeer(), 0);
  stranger.device.initiate(pair.b.publicKey, 0);
  pair.b.device.receiveDatagram(stranger.last(initiation), 'stranger', 0);
  const elsewhere = new Side('elsewhere', '10.0.0.8');
  elsewhere.device.setPeer(pair.a.asPeer(), 0);
  pair.a.device.initiate(pair.b.publicKey, 0);
  elsewhere.device.receiveDatagram(pair.a.last(initiation), 'a', 0);
  t.same(pair.b.sent, []);
  t.same(pair.b.sources, []);
  t.same(elsewhere.sent, []);
});

void t.test('a replayed or older initiation is dropped, also much later', async (t) => {
  const pair = new Pair();
  pair.a.device.initiate(pair.b.publicKey, 0);
  const first = pair.a.last(initiation);
  pair.run(6_000);
  pair.a.device.removePeer(pair.b.publicKey);
  pair.a.device.setPeer(pair.b.asPeer(), pair.now);
  pair.a.device.initiate(pair.b.publicKey, pair.now);
  pair.run(100);
  t.equal(pair.b.times(response).length, 2);
  const second = pair.a.last(initiation);
  pair.forget();
  for (const old of [first, second]) pair.b.device.receiveDatagram(old, 'evil', pair.now + 100);
  pair.run(400_000);
  for (const old of [first, second]) pair.b.device.receiveDatagram(old, 'evil', pair.now);
  t.same(pair.b.times(response), []);
  t.notOk(pair.b.sources.some(({ source }) => source === 'evil'));
});

void t.test('initiations of one peer are not answered faster than every 50 ms', async (t) => {
  const b = new Side('b', '10.0.0.2');
  const a = new Side('a', '10.0.0.1');
  b.device.setPeer(a.asPeer(), 0);
  const twin = new Side('twin', '10.0.0.1', { privateKey: a.privateKey, wall: () => 1_800_000_000_000 });
  a.device.setPeer(b.asPeer(), 0);
  twin.device.setPeer(b.asPeer(), 0);
  a.device.initiate(b.publicKey, 0);
  twin.device.initiate(b.publicKey, 0);
  b.device.receiveDatagram(a.last(initiation), 'a', 0);
  b.device.receiveDatagram(twin.last(initiation), 'a', 49);
  t.equal(b.times(response).length, 1);
  b.device.receiveDatagram(twin.last(initiation), 'a', 50);
  t.equal(b.times(response).length, 2);
});

void t.test('a changed bit anywhere in a message makes it worthless', async (t) => {
  const pair = new Pair();
  const flipped = (bytes: Uint8Array, i: number): Uint8Array => bytes.map((byte, at) => (at === i ? byte ^ (1 << (i & 7)) : byte));
  pair.link = () => [];
  pair.a.device.initiate(pair.b.publicKey, 0);
  const first = pair.a.last(initiation);
  for (let i = 0; i < first.length; i++) {
    if (i >= 132) continue; // MAC2, which counts under load only
    pair.b.device.receiveDatagram(flipped(first, i), 'evil', 0);
  }
  t.same(pair.b.sent, []);
  pair.b.device.receiveDatagram(first, 'a', 0);
  const second = pair.b.last(response);
  for (let i = 0; i < 76; i++) pair.a.device.receiveDatagram(flipped(second, i), 'evil', 0);
  t.same(pair.a.handshakes, []);
  pair.a.device.receiveDatagram(second, 'b', 0);
  t.equal(pair.a.handshakes.length, 1);
  pair.send(pair.a, 'payload');
  const third = pair.a.last(transport);
  for (let i = 0; i < third.length; i++) pair.b.device.receiveDatagram(flipped(third, i), 'evil', 0);
  t.same(pair.b.delivered, []);
  t.notOk(pair.b.sources.some(({ source }) => source === 'evil'));
  pair.b.device.receiveDatagram(third, 'a', 0);
  t.same(texts(pair.b), ['payload']);
  for (const whole of [first, second, third]) {
    for (let length = 0; length < whole.length; length++) pair.a.device.receiveDatagram(whole.subarray(0, length), 'evil', 0);
  }
  t.notOk(pair.a.sources.some(({ source }) => source === 'evil'));
});

void t.test('a genuine datagram from elsewhere is reported, a copied one is not', async (t) => {
  const pair = new Pair().connect();
  pair.link = () => [];
  pair.send(pair.a, 'moved');
  const message = pair.a.last(transport);
  pair.b.device.receiveDatagram(message, 'new place', pair.now);
  pair.b.device.receiveDatagram(message, 'copied place', pair.now);
  t.same(pair.b.sources, [{ peer: pair.a.publicKey, source: 'new place' }]);
});

void t.test('a peer of small order, which agrees on nothing, is given up and harms nobody', async (t) => {
  const pair = new Pair();
  const useless = Buffer.alloc(32).toString('base64');
  pair.a.device.setPeer({ publicKey: useless, allowedIps: [prefix('10.0.0.7/32')], persistentKeepaliveMs: 0 }, 0);
  t.equal(pair.a.device.sendPacket(packet('10.0.0.1', '10.0.0.7', 'x'), 0), true);
  pair.run(100_000);
  t.same(pair.a.sent, []);
  t.same(pair.a.handshakes, [{ peer: useless, completed: false, at: 90_000 }]);
});

void t.test('the same keys and randomness make the same bytes as when they were held against wireguard-go', async (t) => {
  const presharedKey = new Uint8Array(32).fill(9);
  const pair = new Pair({ aPeer: { presharedKey }, bPeer: { presharedKey } });
  const transcript = createHash('sha256');
  pair.link = (_from, bytes) => {
    transcript.update(bytes);
    return [bytes];
  };
  pair.send(pair.a, 'there');
  pair.run(100);
  pair.send(pair.b, 'and back');
  pair.run(100);
  t.equal(transcript.digest('hex'), '4c26b39ea5a054cac66d82876cc7447c159bcb6d2f5b292b9f13568a88e4ace8');
});
