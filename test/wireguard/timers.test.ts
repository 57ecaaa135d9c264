// The times of the protocol (whitepaper §6), each at its own moment of virtual time.
import t from 'tap';
import { messageTypes } from '#wire/wireguard.ts';
import { Pair, texts } from './pair.ts';

const { initiation, response, transport } = messageTypes;

void t.test('an unanswered initiation is repeated every 5 s with jitter and given up after 90 s', async (t) => {
  const pair = new Pair();
  pair.link = () => [];
  pair.send(pair.a, 'lost');
  pair.run(300_000);
  const times = pair.a.times(initiation);
  t.equal(times[0], 0);
  for (const [i, at] of times.entries()) {
    const gap = at - (times[i - 1] ?? at - 5_000);
    t.ok(gap >= 5_000 && gap <= 5_333, `${gap} ms before attempt ${i}`);
  }
  t.ok(new Set(times.map((at, i) => at - (times[i - 1] ?? 0))).size > 10, 'the jitter varies');
  t.ok(times.length >= 17 && times.length <= 18, `${times.length} attempts`);
  t.same(pair.a.handshakes, [{ peer: pair.b.publicKey, completed: false, at: 90_000 }]);
  t.equal(pair.a.device.pollAt(), Infinity, 'nothing is left to do');
  pair.link = (_from, bytes) => [bytes];
  pair.run(1000);
  t.same(texts(pair.b), [], 'what waited was dropped');
  pair.send(pair.a, 'again');
  pair.run(1000);
  t.same(texts(pair.b), ['again'], 'a new packet begins anew');
});

void t.test('a packet gives a handshake under way its whole time again', async (t) => {
  const pair = new Pair();
  pair.link = () => [];
  pair.send(pair.a, 'first');
  pair.run(60_000);
  pair.send(pair.a, 'second');
  pair.run(85_000);
  t.same(pair.a.handshakes, []);
  pair.run(5_000);
  t.same(pair.a.handshakes, [{ peer: pair.b.publicKey, completed: false, at: 150_000 }]);
});

void t.test('the initiator renews when it sends after 120 s, the responder does not', async (t) => {
  const pair = new Pair().connect();
  pair.run(119_000);
  pair.send(pair.a, 'still old');
  pair.send(pair.b, 'old too');
  pair.run(500);
  t.same(pair.a.times(initiation), []);
  pair.run(1_000);
  pair.send(pair.b, 'responder');
  pair.run(100);
  t.same(pair.b.times(initiation), []);
  t.same(pair.a.times(initiation), []);
  pair.send(pair.a, 'renew');
  pair.run(100);
  t.equal(pair.a.times(initiation).length, 1);
  t.equal(pair.a.handshakes.length, 1);
  t.same(texts(pair.b), ['still old', 'renew']);
  t.same(texts(pair.a), ['old too', 'responder']);
});

void t.test('traffic goes on through many renewals without a loss', async (t) => {
  const pair = new Pair().connect();
  for (let i = 0; i < 1000; i++) {
    pair.send(pair.a, `a${i}`);
    pair.send(pair.b, `b${i}`);
    pair.run(1_000);
  }
  t.equal(pair.b.delivered.length, 1000);
  t.equal(pair.a.delivered.length, 1000);
  t.equal(pair.a.times(initiation).length, 8);
  t.equal(pair.b.times(initiation).length, 0);
});

void t.test('an initiator that only receives renews from 165 s on', async (t) => {
  for (const { at, renewals } of [
    { at: 164_000, renewals: 0 },
    { at: 166_000, renewals: 1 },
  ]) {
    const pair = new Pair().connect();
    pair.run(at);
    pair.send(pair.b, 'first');
    pair.run(50);
    pair.send(pair.b, 'second');
    pair.run(50);
    t.equal(pair.a.times(initiation).length, renewals, `received after ${at} ms`);
    t.same(texts(pair.a), ['first', 'second']);
  }
});

void t.test('a late message of an old session renews nothing', async (t) => {
  const pair = new Pair().connect();
  pair.link = () => [];
  pair.send(pair.b, 'late');
  const late = pair.b.last(transport);
  pair.link = (_from, bytes) => [bytes];
  pair.run(121_000);
  pair.send(pair.a, 'renew');
  pair.run(46_000);
  pair.forget();
  pair.a.device.receiveDatagram(late, 'b', pair.now);
  t.same(texts(pair.a), ['late']);
  t.same(pair.a.times(initiation), []);
});

void t.test('no packet is sent or accepted under keys of 180 s', async (t) => {
  const pair = new Pair().connect();
  pair.link = () => [];
  pair.run(179_000);
  pair.send(pair.a, 'late');
  const message = pair.a.last(transport);
  pair.b.device.receiveDatagram(message, 'a', pair.now);
  t.same(texts(pair.b), ['late']);
  pair.send(pair.a, 'later');
  const expired = pair.a.last(transport);
  pair.run(2_000);
  pair.b.device.receiveDatagram(expired, 'a', pair.now);
  t.same(texts(pair.b), ['late']);
  pair.forget();
  pair.send(pair.a, 'new keys first');
  t.same(pair.a.times(transport), []);
  pair.link = (_from, bytes) => [bytes];
  pair.run(6_000);
  t.same(texts(pair.b), ['new keys first']);
});

void t.test('received data is answered by a keepalive after 10 s, a keepalive is not', async (t) => {
  const pair = new Pair().connect();
  pair.send(pair.a, 'one way');
  pair.run(10_000);
  t.same(pair.b.times(transport), []);
  pair.run(100);
  t.same(
    pair.b.sent.map(({ bytes, at }) => ({ length: bytes.length, at })),
    [{ length: 32, at: 10_110 }],
  );
  pair.run(60_000);
  t.equal(pair.a.sent.length, 1);
  t.equal(pair.b.sent.length, 1);
});

void t.test('data that comes while a keepalive is pending is answered by another', async (t) => {
  const pair = new Pair().connect();
  pair.send(pair.a, 'first');
  pair.run(5_000);
  pair.send(pair.a, 'second');
  pair.run(50_000);
  t.same(pair.b.times(transport), [10_110, 20_110]);
});

void t.test('a packet sent in time replaces the keepalive', async (t) => {
  const pair = new Pair().connect();
  pair.send(pair.a, 'question');
  pair.run(9_000);
  pair.send(pair.b, 'answer');
  pair.run(5_000);
  t.equal(pair.b.sent.length, 1);
});

void t.test('data that is answered by nothing for 15 s makes new keys', async (t) => {
  const pair = new Pair().connect();
  pair.link = (from, bytes) => (from === pair.b ? [] : [bytes]);
  pair.send(pair.a, 'into the void');
  pair.run(14_999);
  t.same(pair.a.times(initiation), []);
  pair.run(400);
  t.equal(pair.a.times(initiation).length, 1);
});

void t.test('the responder that hears nothing begins a handshake too', async (t) => {
  const pair = new Pair().connect();
  pair.link = (from, bytes) => (from === pair.a ? [] : [bytes]);
  pair.send(pair.b, 'into the void');
  pair.run(15_400);
  t.equal(pair.b.times(initiation).length, 1);
  t.same(pair.b.times(response), []);
});

void t.test('persistent keepalives keep their interval and stop when switched off', async (t) => {
  const pair = new Pair({ bPeer: { persistentKeepaliveMs: 25_000 } }).connect();
  pair.run(99_950);
  t.same(pair.a.times(transport), [25_020, 50_020, 75_020, 100_020]);
  t.ok(pair.a.sent.every(({ bytes }) => bytes.length === 32));
  t.same(pair.b.times(transport), [], 'a keepalive is no data to answer');
  pair.a.device.setPeer(pair.b.asPeer(), pair.now);
  pair.forget();
  pair.run(100_000);
  t.same(pair.a.sent, []);
});

void t.test('persistent keepalives begin a handshake where none was made, again and again', async (t) => {
  const pair = new Pair({ bPeer: { persistentKeepaliveMs: 25_000 } });
  pair.link = () => [];
  pair.run(400_000);
  t.equal(pair.a.times(initiation)[0], 25_000);
  t.ok(pair.a.handshakes.length >= 2, 'given up more than once');
  pair.link = (_from, bytes) => [bytes];
  pair.run(31_000);
  t.equal(pair.a.handshakes.at(-1)?.completed, true);
});

void t.test('keys are erased after 540 s, and then nothing is pending', async (t) => {
  const pair = new Pair().connect();
  pair.send(pair.a, 'x');
  pair.run(60_000);
  t.equal(pair.a.device.pollAt(), 540_020);
  pair.run(481_000);
  t.equal(pair.a.device.pollAt(), Infinity);
  t.equal(pair.b.device.pollAt(), Infinity);
  pair.send(pair.a, 'y');
  pair.run(100);
  t.same(texts(pair.b), ['x', 'y']);
});

void t.test('an idle device has nothing to do', async (t) => {
  const pair = new Pair();
  t.equal(pair.a.device.pollAt(), Infinity);
  pair.a.device.poll(1e9);
  t.same(pair.a.sent, []);
});

void t.test('the number of messages ends a session too', async (t) => {
  const pair = new Pair({ a: { limits: { rekeyAfterMessages: 20, rejectAfterMessages: 30 } } }).connect();
  pair.run(10_000);
  for (let i = 0; i < 19; i++) pair.send(pair.a, `${i}`);
  t.same(pair.a.times(initiation), []);
  pair.send(pair.a, 'twenty');
  t.equal(pair.a.times(initiation).length, 1);
  for (let i = 0; i < 40; i++) pair.send(pair.a, `more ${i}`);
  t.equal(pair.a.times(transport).length, 30 - 1, 'the first message was the keepalive of the handshake');
  pair.run(6_000);
  t.equal(pair.b.delivered.length, 60, 'the rest waited for the new session');
});
