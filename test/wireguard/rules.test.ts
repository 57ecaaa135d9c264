// Rules of the whitepaper that no other test here is about. The table in README.md names the test of each rule.
import { createHash } from 'node:crypto';
import t from 'tap';
import { type AeadProvider, nodeAead } from '#crypto/aead.ts';
import { messageTypes, transportHeaderBytes } from '#wire/wireguard.ts';
import { Pair, seededNumbers, Side, texts } from './pair.ts';

const { initiation, response, cookieReply, transport } = messageTypes;
const mac1At = 116;

const word = (bytes: Uint8Array, at: number): number => Buffer.from(bytes).readUInt32LE(at);

void t.test('a flood of packets begins one handshake in 5 s', async (t) => {
  const pair = new Pair();
  pair.link = () => [];
  for (let ms = 0; ms < 4_900; ms += 10) {
    pair.send(pair.a, `${ms}`);
    pair.run(10);
  }
  t.same(pair.a.times(initiation), [0]);
});

void t.test('each attempt has a new ephemeral key, a new index and a later timestamp', async (t) => {
  const pair = new Pair();
  pair.link = () => [];
  pair.send(pair.a, 'x');
  pair.run(60_000);
  const attempts = pair.a.sent.filter(({ bytes }) => bytes[0] === initiation).map(({ bytes }) => bytes);
  t.ok(attempts.length > 10);
  for (const part of [(bytes: Uint8Array) => bytes.subarray(4, 8), (bytes: Uint8Array) => bytes.subarray(8, 40)])
    t.equal(new Set(attempts.map((bytes) => Buffer.from(part(bytes)).toString('hex'))).size, attempts.length);
  const [first, last] = [attempts[0], attempts.at(-1)];
  if (first === undefined || last === undefined) return;
  pair.b.device.receiveDatagram(last, 'a', pair.now);
  pair.b.device.receiveDatagram(first, 'a', pair.now + 1_000);
  t.equal(pair.b.times(response).length, 1, 'the older one is a replay now');
});

void t.test('indices are spread over all 32 bits and are no count of anything', async (t) => {
  const hub = new Side('hub', '10.0.0.1');
  const indices: number[] = [];
  for (let i = 0; i < 200; i++) {
    const side = new Side(`side ${i}`, '10.0.0.2');
    hub.device.setPeer(side.asPeer(), 0);
    hub.device.initiate(side.publicKey, 0);
    indices.push(word(hub.last(initiation), 4));
  }
  t.equal(new Set(indices).size, 200);
  for (let bit = 0; bit < 32; bit++) {
    const set = indices.filter((index) => (index >>> bit) & 1).length;
    t.ok(set > 60 && set < 140, `bit ${bit}: ${set} of 200`);
  }
});

void t.test('counters begin at 0 and grow by one; the receiver index is the other side’s', async (t) => {
  const pair = new Pair();
  pair.link = (_from, bytes) => [bytes];
  pair.a.device.initiate(pair.b.publicKey, 0);
  pair.run(100);
  for (let i = 0; i < 5; i++) pair.send(pair.a, 'x');
  const messages = pair.a.sent.filter(({ bytes }) => bytes[0] === transport).map(({ bytes }) => Buffer.from(bytes));
  t.same(
    messages.map((bytes) => bytes.readBigUInt64LE(8)),
    [0n, 1n, 2n, 3n, 4n, 5n],
  );
  const theirs = word(pair.b.last(response), 4);
  t.ok(messages.every((bytes) => bytes.readUInt32LE(4) === theirs));
});

void t.test('a probe begins a handshake though the session is fresh, and the session lasts until there is another', async (t) => {
  const pair = new Pair().connect();
  const count = (): number => pair.a.sent.filter(({ bytes }) => bytes[0] === initiation).length;
  const before = count();
  pair.a.device.initiate(pair.b.publicKey, pair.now);
  t.equal(count(), before, 'a path alone begins none');
  pair.link = (_from, bytes) => (bytes[0] === initiation ? [] : [bytes]);
  pair.run(1000);
  pair.a.device.probe(pair.b.publicKey, pair.now);
  pair.a.device.probe(pair.b.publicKey, pair.now);
  t.equal(count(), before + 1, 'one in half a second');
  pair.send(pair.a, 'still');
  pair.run(100);
  t.equal(pair.b.delivered.length, 1, 'lost, it ends nothing');
  pair.a.device.probe('nobody', pair.now);
  t.equal(count(), before + 1);
});

void t.test('a responder keeps to its old keys until the new ones are used', async (t) => {
  const pair = new Pair().connect();
  const oldIndex = ((): number => {
    pair.send(pair.b, 'old');
    return word(pair.b.last(transport), 4);
  })();
  pair.run(121_000);
  // a renews, but what it says under the new keys is held back
  const held: Uint8Array[] = [];
  pair.link = (from, bytes) => {
    if (from === pair.b || bytes[0] !== transport) return [bytes];
    held.push(bytes);
    return [];
  };
  pair.send(pair.a, 'renew');
  pair.run(100);
  t.equal(pair.b.times(response).length, 1);
  pair.send(pair.b, 'still old');
  t.equal(word(pair.b.last(transport), 4), oldIndex);
  pair.send(pair.a, 'under new keys');
  const used = held.at(-1);
  if (used === undefined) return;
  pair.b.device.receiveDatagram(used, 'a', pair.now);
  pair.send(pair.b, 'new');
  t.not(word(pair.b.last(transport), 4), oldIndex);
});

void t.test('a counter at the limit is refused by the receiver', async (t) => {
  const pair = new Pair({ b: { limits: { rejectAfterMessages: 10 } } }).connect();
  for (let i = 1; i < 20; i++) pair.send(pair.a, `${i}`);
  pair.run(100);
  t.same(
    texts(pair.b),
    Array.from({ length: 9 }, (_, i) => `${i + 1}`),
  );
});

void t.test('keys are destroyed when their time is over, at both sides', async (t) => {
  const alive = { a: 0, b: 0 };
  const counting = (side: 'a' | 'b'): AeadProvider =>
    Object.assign(
      (key: Uint8Array) => {
        const inner = nodeAead(key);
        alive[side]++;
        return {
          seal: (...rest: Parameters<typeof inner.seal>) => inner.seal(...rest),
          open: (...rest: Parameters<typeof inner.open>) => inner.open(...rest),
          destroy: () => {
            alive[side]--;
            inner.destroy();
          },
        };
      },
      { cipher: 'counting' },
    );
  const pair = new Pair({ a: { aead: counting('a') }, b: { aead: counting('b') } }).connect();
  t.same(alive, { a: 2, b: 2 });
  for (let i = 0; i < 4; i++) {
    pair.run(125_000);
    pair.send(pair.a, 'renew');
    pair.run(100);
  }
  t.same(alive, { a: 4, b: 4 }, 'the previous session and the current one');
  pair.run(539_000);
  t.same(alive, { a: 4, b: 4 });
  pair.run(1_100);
  t.same(alive, { a: 0, b: 0 });
});

void t.test('a response under load needs a cookie too', async (t) => {
  const pair = new Pair({ a: { limits: { handshakesPerSecond: 0 } } });
  pair.send(pair.a, 'x');
  pair.run(15);
  t.equal(pair.b.times(response).length, 1);
  pair.run(10);
  t.equal(pair.a.times(cookieReply).length, 1);
  t.same(pair.a.handshakes, []);
  pair.run(6_000);
  t.notSame(pair.b.last(response).subarray(76), new Uint8Array(16), 'the next response carries the cookie');
  t.same(texts(pair.b), ['x']);
});

void t.test('cookie replies differ each time, are sealed, and prove nothing about their sender', async (t) => {
  const pair = new Pair({ b: { limits: { handshakesPerSecond: 0 } } });
  pair.link = () => [];
  pair.a.device.initiate(pair.b.publicKey, 0);
  const first = pair.a.last(initiation);
  const replies = [0, 1].map(() => {
    pair.b.device.receiveDatagram(first, 'a', 0);
    return pair.b.last(cookieReply);
  });
  const [one, two] = replies;
  if (one === undefined || two === undefined) return;
  t.notSame(one.subarray(8, 32), two.subarray(8, 32), 'the nonce');
  t.notSame(one.subarray(32), two.subarray(32));
  t.equal(word(one, 4), word(first, 4));
  pair.a.device.receiveDatagram(one, 'somewhere', 0);
  t.same(pair.a.sources, [], 'a cookie moves no endpoint');
  t.equal(pair.a.sent.length, 1, 'and starts nothing: the next attempt has its own time');
});

void t.test('no answer to anything whose first MAC is wrong, under load or not', async (t) => {
  for (const handshakesPerSecond of [0, 1_000]) {
    const pair = new Pair({ b: { limits: { handshakesPerSecond } } });
    pair.link = () => [];
    pair.a.device.initiate(pair.b.publicKey, 0);
    const message = pair.a.last(initiation);
    for (let bit = 0; bit < 128; bit++) {
      const changed = message.map((byte, i) => (i === mac1At + (bit >> 3) ? byte ^ (1 << (bit & 7)) : byte));
      pair.b.device.receiveDatagram(changed, 'evil', 0);
    }
    t.same(pair.b.sent, []);
  }
});

void t.test('cookies in one second are bounded', async (t) => {
  const pair = new Pair({ b: { limits: { handshakesPerSecond: 0, cookieReplies: 5 } } });
  pair.link = () => [];
  pair.a.device.initiate(pair.b.publicKey, 0);
  for (let i = 0; i < 50; i++) pair.b.device.receiveDatagram(pair.a.last(initiation), `source ${i}`, 0);
  t.equal(pair.b.sent.length, 5);
  pair.b.device.receiveDatagram(pair.a.last(initiation), 'later', 1_000);
  t.equal(pair.b.sent.length, 6);
});

void t.test('the first message of a handshake tells nobody who begins it', async (t) => {
  const pair = new Pair();
  pair.a.device.initiate(pair.b.publicKey, 0);
  const message = Buffer.from(pair.a.last(initiation));
  t.equal(message.indexOf(Buffer.from(pair.a.publicKey, 'base64')), -1);
  t.equal(message.indexOf(Buffer.from(pair.b.publicKey, 'base64')), -1);
});

void t.test('message lengths tell a packet’s length to 16 bytes only', async (t) => {
  const pair = new Pair().connect();
  const lengths = new Set<number>();
  for (let size = 0; size < 160; size++) {
    pair.send(pair.a, 'x'.repeat(size));
    lengths.add(pair.a.last(transport).length);
  }
  t.ok([...lengths].every((length) => (length - transportHeaderBytes) % 16 === 0));
  t.equal(lengths.size, 11);
});

void t.test('a session through loss, copies and disorder delivers nothing twice and nothing changed', async (t) => {
  const random = seededNumbers('order');
  const pair = new Pair().connect();
  const sent = Array.from({ length: 3_000 }, (_, i) => createHash('sha256').update(`${i}`).digest('hex'));
  const waiting: Uint8Array[] = [];
  pair.link = (_from, bytes) => {
    waiting.push(bytes);
    if (waiting.length < 200) return [];
    return waiting
      .splice(0)
      .filter(() => random() > 0.1)
      .flatMap((message) => (random() < 0.2 ? [message, message] : [message]))
      .toSorted(() => random() - 0.5);
  };
  for (const text of sent) pair.send(pair.a, text);
  pair.run(1_000);
  const got = texts(pair.b);
  t.equal(new Set(got).size, got.length);
  t.ok(got.every((text) => sent.includes(text)));
  t.ok(got.length > 2_500, `${got.length} of 3000`);
});
