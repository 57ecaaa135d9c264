// Random input with a seed: nothing throws, nothing that is not genuine gets through, nothing grows.
import t from 'tap';
import { Pair, seededBytes, seededNumbers, texts } from './pair.ts';

void t.test('random and damaged datagrams never throw and never pass', async (t) => {
  const random = seededNumbers('fuzz');
  const fill = seededBytes('fuzz bytes');
  const pair = new Pair();
  const genuine: Uint8Array[] = [];
  pair.link = (_from, bytes) => {
    genuine.push(bytes);
    return [bytes];
  };
  pair.send(pair.a, 'x');
  pair.run(100);
  pair.send(pair.b, 'y');
  pair.run(100);
  pair.forget();
  for (let i = 0; i < 20_000; i++) {
    const model = genuine[Math.floor(random() * genuine.length)];
    let bytes: Uint8Array;
    if (random() < 0.3 || model === undefined) {
      bytes = new Uint8Array(Math.floor(random() * 200));
      fill(bytes);
      if (random() < 0.8) bytes.set([1 + Math.floor(random() * 4), 0, 0, 0].slice(0, bytes.length));
    } else {
      bytes = model.slice(0, random() < 0.3 ? Math.floor(random() * model.length) : model.length);
      for (let change = 0; change <= random() * 3; change++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    }
    (random() < 0.5 ? pair.a : pair.b).device.receiveDatagram(bytes, 'fuzz', pair.now);
  }
  t.same(pair.a.delivered, []);
  t.same(pair.b.delivered, []);
  t.notOk([...pair.a.sources, ...pair.b.sources].some(({ source }) => source === 'fuzz'));
  pair.send(pair.a, 'still there');
  pair.run(100);
  t.same(texts(pair.b), ['still there']);
});

void t.test('random life: packets, silence, loss and restarts end in a working session', async (t) => {
  for (let seed = 0; seed < 10; seed++) {
    const random = seededNumbers(`life ${seed}`);
    const pair = new Pair({ aPeer: { persistentKeepaliveMs: seed % 2 === 0 ? 25_000 : 0 } });
    let loss = 0;
    pair.link = (_from, bytes) => (random() < loss ? [] : [bytes]);
    for (let i = 0; i < 200; i++) {
      const dice = random();
      if (dice < 0.05) loss = loss === 0 ? random() : 0;
      else if (dice < 0.1) pair.a.device.initiate(pair.b.publicKey, pair.now);
      else if (dice < 0.15) pair.b.device.initiate(pair.a.publicKey, pair.now);
      else if (dice < 0.17) {
        pair.b.device.removePeer(pair.a.publicKey);
        pair.b.device.setPeer(pair.a.asPeer(), pair.now);
      } else pair.send(dice < 0.6 ? pair.a : pair.b, `${i}`);
      pair.run(random() < 0.1 ? random() * 300_000 : random() * 10_000);
      if (pair.a.device.pollAt() <= pair.now || pair.b.device.pollAt() <= pair.now) t.fail('something due was left undone');
    }
    loss = 0;
    pair.run(60_000);
    pair.send(pair.a, 'ping');
    pair.send(pair.b, 'pong');
    pair.run(40_000);
    pair.forget();
    pair.send(pair.a, 'ping');
    pair.send(pair.b, 'pong');
    pair.run(100);
    t.same([texts(pair.b), texts(pair.a)], [['ping'], ['pong']], `seed ${seed}`);
  }
});
