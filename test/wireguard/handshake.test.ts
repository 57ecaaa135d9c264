// The handshake and what it rests on: both roles, preshared keys, wrong keys, retries, replays, tampering.
import t from 'tap';
import { messageTypes } from '#wire/wireguard.ts';
import { packet, Pair, prefix, Side, texts } from './pair.ts';

const { initiation, response, transport } = messageTypes;

t.test('the first packet makes a handshake and arrives, in both roles', async (t) => {
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
  }
});
