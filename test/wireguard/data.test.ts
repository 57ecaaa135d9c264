// The data path: order, loss, copies, padding, cryptokey routing, queues, peers that come and go.
import t from 'tap';
import { type AeadKey, type AeadProvider, nodeAead } from '#crypto/aead.ts';
import { generatePrivateKey, keyToText, publicFromPrivate } from '#crypto/x25519.ts';
import { messageTypes, transportHeaderBytes } from '#wire/wireguard.ts';
import { maxPacketBytes } from '#wireguard/constants.ts';
import { createDevice } from '#wireguard/device.ts';
import { replayWindow } from '#wireguard/replay.ts';
import type { WireGuardDevice } from '#wireguard/types.ts';
import { Pair, packet, prefix, seededBytes, seededNumbers, Side, texts } from './pair.ts';

const { initiation, transport } = messageTypes;

void t.test('copies are dropped and late packets accepted, within the window', async (t) => {
  const pair = new Pair().connect();
  pair.link = () => [];
  const messages: Uint8Array[] = [];
  for (let i = 0; i < replayWindow + 100; i++) {
    pair.send(pair.a, `${i}`);
    messages.push(pair.a.last(transport));
    pair.a.sent.length = 0;
  }
  const give = (i: number): void => {
    const message = messages[i];
    if (message !== undefined) pair.b.device.receiveDatagram(message, 'a', pair.now);
  };
  give(5);
  give(3);
  give(5);
  give(3);
  t.same(texts(pair.b), ['5', '3']);
  give(replayWindow + 99);
  give(99); // exactly one too old
  give(100);
  give(100);
  t.same(texts(pair.b), ['5', '3', `${replayWindow + 99}`, '100']);
});

void t.test('loss, copies and disorder cost no more than what was lost', async (t) => {
  const random = seededNumbers('bad link');
  const pair = new Pair();
  const held: Uint8Array[] = [];
  pair.link = (_from, bytes) => {
    const dice = random();
    if (dice < 0.2) return [];
    if (dice < 0.3) return [bytes, bytes];
    if (dice < 0.4) {
      held.push(bytes);
      return [];
    }
    return [bytes, ...held.splice(0)];
  };
  for (let i = 0; i < 600; i++) {
    pair.send(pair.a, `a${i}`);
    pair.send(pair.b, `b${i}`);
    pair.run(1_000);
  }
  for (const side of [pair.a, pair.b]) {
    const got = texts(side);
    t.equal(new Set(got).size, got.length, 'nothing twice');
    t.ok(got.length > 400, `${got.length} of 600`);
  }
});

void t.test('packets are padded to 16 bytes, never beyond the MTU, and arrive without the padding', async (t) => {
  const pair = new Pair({ a: { mtu: 1_276 } }).connect();
  for (const [length, padded] of [
    [20, 32],
    [32, 32],
    [33, 48],
    [1_270, 1_276],
    [1_276, 1_276],
    [1_400, 1_400],
  ] as const) {
    pair.send(pair.a, 'x'.repeat(length - 20));
    t.equal(pair.a.last(transport).length, transportHeaderBytes + padded + 16, `${length} bytes`);
  }
  pair.run(100);
  t.same(
    pair.b.delivered.map(({ packet: bytes }) => bytes.length),
    [20, 32, 33, 1_270, 1_276, 1_400],
  );
});

void t.test('only well-formed packets from an allowed source are delivered', async (t) => {
  const pair = new Pair({ bPeer: { allowedIps: [prefix('0.0.0.0/0'), prefix('::/0')] } }).connect();
  const good = packet('10.0.0.1', '10.0.0.2', 'good');
  const bad = [
    packet('10.0.0.9', '10.0.0.2', 'foreign source'),
    packet('fd00::9', 'fd00::2', 'foreign source'),
    good.map((byte, i) => (i === 3 ? byte + 17 : byte)), // longer than message and padding
    good.map((byte, i) => (i === 3 ? 19 : byte)), // shorter than a header
    packet('fd00::1', 'fd00::2', '').map((byte, i) => (i === 5 ? 1 : byte)),
  ];
  for (const bytes of bad) t.equal(pair.a.device.sendPacket(bytes, pair.now), true);
  pair.run(100);
  t.same(pair.b.delivered, []);
  pair.a.device.sendPacket(good, pair.now);
  pair.run(100);
  t.same(texts(pair.b), ['good']);
});

void t.test('what is no packet, too long, or for nobody is not sent', async (t) => {
  const pair = new Pair({ bPeer: { allowedIps: [prefix('10.0.0.0/24')] } });
  for (const bytes of [
    new Uint8Array(0),
    new Uint8Array(100),
    packet('10.0.0.1', '10.0.0.2', '').subarray(0, 19),
    packet('fd00::1', 'fd00::2', '').subarray(0, 39),
    packet('fd00::1', 'fd00::2', ''),
    packet('10.0.0.1', '10.0.1.2', ''),
    packet('10.0.0.1', '10.0.0.2', 'x'.repeat(maxPacketBytes - 19)),
  ]) {
    t.equal(pair.a.device.sendPacket(bytes, 0), false, `${bytes.length} bytes`);
  }
  t.same(pair.a.sent, []);
  pair.connect();
  t.equal(pair.send(pair.a, 'x'.repeat(maxPacketBytes - 20)), true);
  pair.run(100);
  t.equal(pair.b.delivered[0]?.packet.length, maxPacketBytes);
});

void t.test('the longest prefix chooses the peer; a prefix has one owner', async (t) => {
  const hub = new Side('hub', '10.0.0.1');
  const one = new Side('one', '10.0.0.2');
  const two = new Side('two', '10.0.0.3');
  const to = (address: string): string | undefined => {
    hub.device.poll((hub.now += 100_000)); // ends the attempt of the last question
    hub.sent.length = 0;
    const sent = hub.device.sendPacket(packet('10.0.0.1', address, ''), hub.now);
    return sent ? hub.sent.at(-1)?.peer : undefined;
  };
  hub.device.setPeer(one.asPeer({ allowedIps: [prefix('10.0.0.0/8')] }), 0);
  hub.device.setPeer(two.asPeer({ allowedIps: [prefix('10.1.0.0/16')] }), 0);
  t.equal(to('10.2.0.1'), one.publicKey);
  t.equal(to('10.1.0.1'), two.publicKey);
  hub.device.setPeer(two.asPeer({ allowedIps: [prefix('10.0.0.0/8')] }), hub.now);
  t.equal(to('10.2.0.1'), two.publicKey);
  t.equal(to('10.1.0.1'), two.publicKey);
  hub.device.removePeer(one.publicKey);
  t.equal(to('10.2.0.1'), two.publicKey, 'removal of the former owner changes nothing');
  hub.device.removePeer(two.publicKey);
  t.equal(to('10.2.0.1'), undefined);
});

void t.test('the queue of a peer keeps the newest packets; all queues together are bounded', async (t) => {
  const pair = new Pair({ a: { limits: { queuedPackets: 3, queuedBytes: 1_000, queuedBytesOfAll: 1_500 } } });
  for (let i = 0; i < 5; i++) pair.send(pair.a, `${i}`);
  pair.run(100);
  t.same(texts(pair.b), ['2', '3', '4']);

  const big = new Pair({ a: { limits: { queuedPackets: 3, queuedBytes: 1_000, queuedBytesOfAll: 1_500 } } });
  const other = new Side('c', '10.0.0.3');
  big.a.device.setPeer(other.asPeer(), 0);
  const fill = (name: string): string => name.repeat(480);
  big.send(big.a, fill('x'));
  big.send(big.a, fill('y'));
  t.equal(big.a.device.sendPacket(packet('10.0.0.1', '10.0.0.3', fill('z')), 0), true);
  t.equal(big.a.device.sendPacket(packet('10.0.0.1', '10.0.0.3', fill('w')), 0), true, 'z gives way');
  big.send(big.a, 'q'.repeat(981)); // too large for the queue by itself
  big.run(100);
  t.same(texts(big.b), [fill('x'), fill('y')]);
  other.device.setPeer(big.a.asPeer(), 0);
  other.device.receiveDatagram(big.a.sent.find(({ peer }) => peer === other.publicKey)?.bytes ?? new Uint8Array(0), 'a', 100);
  big.a.device.receiveDatagram(other.last(messageTypes.response), 'c', 100);
  other.device.receiveDatagram(big.a.last(transport), 'a', 100);
  t.same(texts(other), [fill('w')]);
});

void t.test('a queue that is dropped makes room for others', async (t) => {
  const hub = new Side('hub', '10.0.0.1', { limits: { queuedBytesOfAll: 100 } });
  const [one, two] = [new Side('one', '10.0.0.2'), new Side('two', '10.0.0.3')];
  const pair = {
    initiation: (): Uint8Array =>
      hub.sent.findLast(({ bytes, peer }) => bytes[0] === initiation && peer === two.publicKey)?.bytes ?? new Uint8Array(0),
  };
  two.device.setPeer(hub.asPeer(), 0);
  for (let round = 0; round < 3; round++) {
    hub.now += 1_000_000;
    hub.device.setPeer(one.asPeer(), hub.now);
    hub.device.sendPacket(packet('10.0.0.1', '10.0.0.2', 'x'.repeat(70)), hub.now);
    if (round === 0) hub.device.removePeer(one.publicKey);
    else hub.device.poll(hub.now + 90_000); // given up
    hub.device.setPeer(two.asPeer(), hub.now);
    hub.device.sendPacket(packet('10.0.0.1', '10.0.0.3', `${round}`.repeat(70)), hub.now);
    two.device.receiveDatagram(pair.initiation(), 'hub', hub.now);
    hub.device.receiveDatagram(two.last(messageTypes.response), 'two', hub.now);
    two.device.receiveDatagram(hub.last(transport), 'hub', hub.now);
    hub.device.removePeer(two.publicKey);
  }
  t.same(texts(two), ['0'.repeat(70), '1'.repeat(70), '2'.repeat(70)]);
});

void t.test('what has ended frees its index: a device with sixteen of them can go on forever', async (t) => {
  const fill = seededBytes('few');
  let tries = 0;
  const few = (target: Uint8Array): void => {
    fill(target);
    if (target.length !== 4) return;
    target.set([0, 0, 0, (target[3] ?? 0) & 15]);
    if (tries++ > 10_000) throw new RangeError('no index is free');
  };
  const pair = new Pair({ a: { random: few }, b: { random: few } });
  const random = seededNumbers('ends');
  let loss = 0;
  pair.link = (_from, bytes) => (random() < loss ? [] : [bytes]);
  for (let i = 0; i < 200; i++) {
    loss = random() < 0.5 ? 0 : 0.5;
    if (random() < 0.6) pair.send(pair.a, 'x');
    if (random() < 0.6) pair.send(pair.b, 'y');
    if (random() < 0.05) {
      pair.b.device.removePeer(pair.a.publicKey);
      pair.b.device.setPeer(pair.a.asPeer(), pair.now);
    }
    pair.run(random() * 200_000);
  }
  t.ok(pair.a.handshakes.filter(({ completed }) => completed).length > 100);
});

void t.test('a removed peer is forgotten at once, with its session and its queue', async (t) => {
  const pair = new Pair().connect();
  pair.send(pair.a, 'under way');
  pair.b.device.removePeer(pair.a.publicKey);
  pair.b.device.removePeer(pair.a.publicKey);
  pair.run(100);
  t.same(pair.b.delivered, []);
  t.equal(pair.send(pair.b, 'nobody'), false);
  t.equal(pair.b.device.pollAt(), Infinity);
  t.same(pair.b.device.status(), []);
  pair.run(20_000);
  t.same(pair.b.sent, []);
  pair.b.device.setPeer(pair.a.asPeer(), pair.now);
  pair.send(pair.b, 'back');
  pair.run(1_000);
  t.same(texts(pair.a), ['back']);
});

void t.test('a change of a peer keeps its session', async (t) => {
  const pair = new Pair().connect();
  pair.a.device.setPeer(pair.b.asPeer({ allowedIps: [prefix('10.0.0.2/32'), prefix('10.9.0.0/16')] }), pair.now);
  pair.send(pair.a, 'same session');
  t.equal(pair.a.device.sendPacket(packet('10.0.0.1', '10.9.1.1', 'new prefix'), pair.now), true);
  pair.run(100);
  t.same(texts(pair.b), ['same session', 'new prefix']);
  t.same(pair.a.times(initiation), []);
});

void t.test('a sink may send while it is delivered to', async (t) => {
  const pair = new Pair().connect();
  const echoed: string[] = [];
  const { push } = pair.b.delivered;
  pair.b.delivered.push = (...items) => {
    if (echoed.length < 3) {
      echoed.push('echo');
      pair.send(pair.b, 'echo');
    }
    return push.apply(pair.b.delivered, items);
  };
  for (let i = 0; i < 3; i++) pair.send(pair.a, `${i}`);
  pair.run(100);
  t.same(texts(pair.b), ['0', '1', '2']);
  t.same(texts(pair.a), ['echo', 'echo', 'echo']);
});

void t.test('status counts what went over the wire', async (t) => {
  const pair = new Pair().connect();
  const [before] = pair.a.device.status();
  pair.send(pair.a, 'x');
  pair.run(100);
  const [after] = pair.a.device.status();
  t.equal((after?.sentBytes ?? 0) - (before?.sentBytes ?? 0), 16 + 32 + 16);
  t.equal(after?.receivedBytes, before?.receivedBytes);
  t.equal(pair.b.device.status()[0]?.receivedBytes, after?.sentBytes);
});

void t.test('unusable peers and full tables are refused and change nothing', async (t) => {
  const side = new Side('a', '10.0.0.1', { limits: { peers: 2, prefixes: 3 } });
  const peer = new Side('b', '10.0.0.2');
  const set =
    (more: object): (() => void) =>
    () =>
      side.device.setPeer({ ...peer.asPeer(), ...more }, 0);
  t.throws(set({ publicKey: 'AAAA' }), { code: 'WIREGUARD_BAD_PEER' });
  t.throws(set({ publicKey: side.publicKey }), { code: 'WIREGUARD_SELF_PEER' });
  t.throws(set({ presharedKey: new Uint8Array(31) }), { code: 'WIREGUARD_BAD_PEER' });
  t.throws(set({ persistentKeepaliveMs: -1 }), { code: 'WIREGUARD_BAD_PEER' });
  t.throws(set({ persistentKeepaliveMs: Number.NaN }), { code: 'WIREGUARD_BAD_PEER' });
  t.same(side.device.status(), []);
  side.device.setPeer(peer.asPeer(), 0);
  t.throws(set({ allowedIps: ['10.1.0.0/16', '10.2.0.0/16', '10.3.0.0/16', '10.4.0.0/16'].map(prefix) }), { code: 'WIREGUARD_PREFIX_LIMIT' });
  t.equal(side.device.sendPacket(packet('10.0.0.1', '10.0.0.2', ''), 0), true);
  side.device.setPeer(new Side('c', '10.0.0.3').asPeer(), 0);
  t.throws(() => side.device.setPeer(new Side('d', '10.0.0.4').asPeer(), 0), { code: 'WIREGUARD_PEER_LIMIT' });
  side.device.setPeer(peer.asPeer(), 0);
  t.equal(side.device.status().length, 2);
});

void t.test('another provider of the cipher can stand in; it is asked once per key and direction', async (t) => {
  let [made, destroyed, sealed] = [0, 0, 0];
  const count = (key: Uint8Array): AeadKey => {
    const inner = nodeAead(key);
    made++;
    return {
      seal: (...rest) => {
        sealed++;
        return inner.seal(...rest);
      },
      open: (...rest) => inner.open(...rest),
      destroy: () => {
        destroyed++;
        inner.destroy();
      },
    };
  };
  const counting: AeadProvider = Object.assign(count, { cipher: 'counting' });
  const pair = new Pair({ a: { aead: counting } }).connect();
  t.equal(pair.a.device.cipher, 'counting');
  t.equal(made - destroyed, 2, 'the two keys of the session live on');
  const before = made;
  sealed = 0;
  for (let i = 0; i < 50; i++) pair.send(pair.a, `${i}`);
  pair.run(100);
  t.equal(pair.b.delivered.length, 50);
  t.equal(sealed, 50);
  t.equal(made, before);
  pair.a.device.removePeer(pair.b.publicKey);
  t.equal(made, destroyed);
});

void t.test('a sink may remove the peer in the middle of anything', async (t) => {
  for (const moment of ['sendDatagram', 'authenticated', 'handshake', 'deliverPacket'] as const) {
    const a = new Side('a', '10.0.0.1');
    const random = seededBytes('remover');
    const privateKey = generatePrivateKey(random);
    const remove = (name: string) => (peer: string | undefined) => {
      if (name === moment && peer !== undefined) b.removePeer(peer);
    };
    const b: WireGuardDevice = createDevice(
      { privateKey, random, wall: () => 1_700_000_000_000 },
      {
        sendDatagram: (peer, datagram) => {
          answers.push(datagram.slice());
          remove('sendDatagram')(peer);
        },
        authenticated: remove('authenticated'),
        handshake: remove('handshake'),
        deliverPacket: remove('deliverPacket'),
      },
    );
    const answers: Uint8Array[] = [];
    const publicKey = keyToText(publicFromPrivate(privateKey));
    a.device.setPeer({ publicKey, allowedIps: [prefix('10.0.0.2/32')], persistentKeepaliveMs: 0 }, 0);
    b.setPeer(a.asPeer({ persistentKeepaliveMs: 1_000 }), 0);
    a.device.sendPacket(packet('10.0.0.1', '10.0.0.2', 'x'), 0);
    b.receiveDatagram(a.last(initiation), 'a', 0);
    for (const answer of answers.splice(0)) a.device.receiveDatagram(answer, 'b', 0);
    for (const { bytes } of a.sent.filter((sent) => sent.bytes[0] === transport)) b.receiveDatagram(bytes, 'a', 0);
    t.same(b.status(), [], moment);
    t.equal(b.pollAt(), Infinity, moment);

    b.setPeer(a.asPeer(), 0);
    b.initiate(a.publicKey, 0);
    t.equal(b.status().length, moment === 'sendDatagram' ? 0 : 1);
    if (moment === 'sendDatagram') t.equal(b.pollAt(), Infinity);
  }
});
