// Random input with a seed: nothing throws, nothing that is not genuine gets through, nothing grows. MESHGATE_FUZZ multiplies the work.
import t from 'tap';
import { type AeadKey, type AeadProvider, nodeAead } from '#crypto/aead.ts';
import { packetAead } from '#crypto/aead-wasm.ts';
import { messageTypes } from '#wire/wireguard.ts';
import { MacWriter } from '#wireguard/macs.ts';
import { keyFromText } from '#crypto/x25519.ts';
import { keptDatagrams } from './fuzz-kept.ts';
import { numbersFrom, someBytes } from './fuzz-numbers.ts';
import { Pair, prefix, seededNumbers, texts } from './pair.ts';

const effort = Math.max(1, Number(process.env['MESHGATE_FUZZ'] ?? 1));
const datagrams = 1_000_000 * effort;
const packets = 100_000 * effort;

/** A connected pair and one of each message that it exchanged. */
function pairWithModels(): { readonly pair: Pair; readonly models: readonly Uint8Array[] } {
  const pair = new Pair({ a: { limits: { handshakesPerSecond: 5 } }, b: { limits: { handshakesPerSecond: 5 } } });
  const models: Uint8Array[] = [];
  pair.link = (_from, bytes) => {
    models.push(bytes);
    return [bytes];
  };
  pair.send(pair.a, 'x');
  pair.run(100);
  pair.send(pair.b, 'y');
  pair.run(100);
  for (let i = 0; i < 10; i++) pair.a.device.receiveDatagram(pair.b.last(messageTypes.response), 'b', pair.now);
  pair.run(100);
  pair.link = () => [];
  pair.forget();
  return { pair, models };
}

void t.test('random and damaged datagrams, one by one and in runs, never throw and never pass', { timeout: 600_000 }, async (t) => {
  const random = numbersFrom(7);
  const { pair, models } = pairWithModels();
  const kinds = new Set(models.map((model) => model[0]));
  t.ok(kinds.has(messageTypes.initiation) && kinds.has(messageTypes.response) && kinds.has(messageTypes.transport));
  const keys = [pair.a, pair.b].map((side) => keyFromText(side.publicKey) ?? new Uint8Array(32));
  const writers = keys.map((key) => new MacWriter(key));
  const heard = { a: 0, b: 0 };
  const run = new Uint8Array(64 * 200);
  let [count, runs] = [0, 0];
  const began = performance.now();
  while (count < datagrams) {
    const to = random(2);
    const { device } = to === 0 ? pair.a : pair.b;
    const size = random(3) === 0 ? 1 + random(200) : (models[random(models.length)]?.length ?? 148);
    const messages = 1 + random(64);
    for (let i = 0; i < messages; i++) {
      const at = i * size;
      const bytes = run.subarray(at, at + size);
      const model = models[random(models.length)];
      if (random(10) < 3 || model === undefined) {
        someBytes(random, bytes);
        if (random(5) > 0) bytes.set([1 + random(4), 0, 0, 0].slice(0, bytes.length));
      } else {
        bytes.fill(0);
        bytes.set(model.subarray(0, size));
        for (let change = 0; change <= random(3); change++) bytes[random(bytes.length)] = random(256);
      }
      // now and then with a first MAC that is right, so that what stands behind it is reached
      if (random(50) === 0 && (size === 148 || size === 92)) {
        bytes[0] = size === 148 ? messageTypes.initiation : messageTypes.response;
        bytes.fill(0, 1, 4);
        writers[to]?.write(bytes, 0);
      }
    }
    device.receiveDatagrams(
      run.subarray(0, messages * size - (random(4) === 0 ? random(size) : 0)),
      size,
      'fuzz',
      pair.now + Math.floor(runs++ / 10),
    );
    count += messages;
    heard.a += pair.a.sent.length;
    heard.b += pair.b.sent.length;
    pair.a.sent.length = 0;
    pair.b.sent.length = 0;
  }
  t.same(pair.a.delivered, []);
  t.same(pair.b.delivered, []);
  t.notOk([...pair.a.sources, ...pair.b.sources].some(({ source }) => source === 'fuzz'));
  t.ok(heard.a + heard.b < datagrams / 100, `${heard.a + heard.b} answers, all of them cookies`);
  t.comment(`figure: ${count} datagrams in ${((performance.now() - began) / 1_000).toFixed(1)} s`);
  pair.link = (_from, bytes) => [bytes];
  pair.run(runs / 10);
  pair.send(pair.a, 'still there');
  pair.run(10_000);
  t.same(texts(pair.b), ['still there']);
});

void t.test('what was found before stays found', async (t) => {
  const { pair } = pairWithModels();
  const thrown: string[] = [];
  for (const [name, bytes] of keptDatagrams()) {
    for (const size of [1, 31, 32, 64, 92, 148, bytes.length, 65_536]) {
      try {
        pair.a.device.receiveDatagrams(bytes, size, 'kept', pair.now);
      } catch (error) {
        thrown.push(`${name} by ${size}: ${String(error)}`);
      }
    }
  }
  t.same(thrown, []);
  t.same(pair.a.delivered, []);
  pair.link = (_from, bytes) => [bytes];
  pair.send(pair.b, 'still there');
  pair.run(100);
  t.same(texts(pair.a), ['still there']);
});

/** A provider whose messages carry what `spoil` makes of the plaintext: a peer that is genuine and means no good. */
function spoiling(inner: AeadProvider, spoil: (plain: Uint8Array) => void): AeadProvider {
  const make = (key: Uint8Array): AeadKey => {
    const own = inner(key);
    return {
      seal: (counter, associated, source, start, end, target, at) => {
        const plain = source.slice(start, end);
        if (associated.length === 0) spoil(plain);
        return own.seal(counter, associated, plain, 0, plain.length, target, at);
      },
      open: (...rest) => own.open(...rest),
      destroy: () => own.destroy(),
    };
  };
  return Object.assign(make, { cipher: 'spoiling' });
}

void t.test('a genuine peer that sends anything gets nothing past its addresses', { timeout: 600_000 }, async (t) => {
  const random = numbersFrom(11);
  let active = false;
  const spoil = (plain: Uint8Array): void => {
    if (!active) return;
    if (random(10) === 0) someBytes(random, plain);
    for (let change = 0; change <= random(4); change++) plain[random(Math.min(plain.length, 44))] = random(256);
  };
  const pair = new Pair({
    a: { aead: spoiling(nodeAead, spoil) },
    bPeer: { allowedIps: [prefix('0.0.0.0/0')] },
  }).connect();
  active = true;
  const wrong: string[] = [];
  let delivered = 0;
  pair.a.forward = (bytes) => {
    pair.b.device.receiveDatagram(bytes, 'a', pair.now);
    for (const { packet: inner } of pair.b.delivered.splice(0)) {
      delivered++;
      const source = inner.subarray(12, 16).join('.');
      if (inner[0] !== undefined && inner[0] >>> 4 !== 4) wrong.push('a version that it has no address of');
      if (source !== pair.a.address) wrong.push(`from ${source}`);
      if (inner.length !== (((inner[2] ?? 0) << 8) | (inner[3] ?? 0))) wrong.push(`${inner.length} bytes`);
    }
  };
  const bytes = Buffer.alloc(1_400);
  bytes[0] = 0x45;
  bytes.set([10, 0, 0, 1, 10, 0, 0, 2], 12);
  for (let i = 0; i < packets; i++) {
    const length = 20 + random(i % 10 === 0 ? 1_380 : 60);
    bytes.writeUInt16BE(length, 2);
    pair.a.device.sendPacket(bytes.subarray(0, length), pair.now);
    pair.a.sent.length = 0;
    pair.b.sources.length = 0;
  }
  t.same(wrong, []);
  t.ok(delivered > packets / 20 && delivered < packets, `${delivered} of ${packets} were still well-formed`);
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

void t.test('a bad link under load: what arrives was sent, once, in runs and alone, through many renewals', { timeout: 600_000 }, async (t) => {
  const limits = { rekeyAfterMessages: 1_500, rejectAfterMessages: 20_000 };
  for (const provider of [nodeAead, packetAead()]) {
    const random = numbersFrom(13);
    const pair = new Pair({ a: { limits, mtu: 1_400, aead: provider }, b: { limits, mtu: 1_400 } }, true);
    pair.delayMs = 1;
    const held: Uint8Array[] = [];
    pair.link = (_from, bytes) => {
      const dice = random(100);
      if (dice < 5) return [];
      if (dice < 8) return [bytes, bytes];
      if (dice < 10) return [bytes.map((byte, i) => (i === random(bytes.length) ? byte ^ 1 : byte))];
      if (dice < 15) {
        held.push(bytes);
        return [];
      }
      return [bytes, ...held.splice(0)];
    };
    const seen = [new Set<number>(), new Set<number>()];
    const wrong: string[] = [];
    let sent = 0;
    const bytes = Buffer.alloc(20 + 20 + 8 * 1_000);
    bytes[0] = 0x45;
    bytes[9] = 6;
    bytes[32] = 0x50;
    const total = Math.floor(packets / 3);
    while (sent < total) {
      const segments = 1 + random(8);
      const from = random(2);
      bytes.set(from === 0 ? [10, 0, 0, 1, 10, 0, 0, 2] : [10, 0, 0, 2, 10, 0, 0, 1], 12);
      for (let i = 0; i < segments; i++) bytes.writeUInt32BE(sent++, 40 + i * 1_000);
      const whole = bytes.subarray(0, 40 + segments * 1_000);
      bytes.writeUInt16BE(whole.length, 2);
      (from === 0 ? pair.a : pair.b).device.sendSegments(whole, 1_000, pair.now);
      pair.run(random(50) === 0 ? 3_000 : random(4));
      for (const [i, side] of [pair.b, pair.a].entries()) {
        for (const { packet: inner } of side.delivered.splice(0)) {
          const id = Buffer.from(inner).readUInt32BE(40);
          if (inner.length !== 1_040 || id >= sent || seen[i]?.has(id) === true) wrong.push(`${id}: ${inner.length}`);
          seen[i]?.add(id);
        }
        side.sent.length = 0;
        side.sources.length = 0;
        side.runs.length = 0;
      }
    }
    t.same(wrong, []);
    const got = (seen[0]?.size ?? 0) + (seen[1]?.size ?? 0);
    const renewals = pair.a.handshakes.filter(({ completed }) => completed).length;
    t.ok(got > 0.7 * sent, `${provider.cipher}: ${got} of ${sent} packets, ${renewals} sessions`);
    t.ok(renewals > 5);
  }
});
