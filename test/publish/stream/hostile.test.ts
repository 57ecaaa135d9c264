// What strangers send first to a port of TLS services (attack rows T-1, D-1 and D-17 of streams): however a hello is cut it means the same, what
// is none goes to whoever takes the rest, and who says nothing useful in time is closed.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { openHostUdp } from '#lib/host-udp.ts';
import { silentLogger } from '#lib/log.ts';
import { HANDSHAKE_MS, HELLOS, STREAMS_PER_ADDRESS, SWEEP_MS } from '#publish/constants.ts';
import { buildStreamTable, createStreamPublisher, Unlocks } from '#publish/index.ts';
import { ClientHelloReader } from '#wire/client-hello.ts';
import { readProxyHeader, writeProxyHeader } from '#wire/proxy-protocol.ts';
import { clientHello } from '../../support/hostile.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { seeded } from '../../support/seeded.ts';
import { dialTcp, listenTcp } from '../harness.ts';
import { dial, type Door, entry, gone, open, port, read, stream, upstream } from './door.ts';

/** The handshake message of a hello, in records of at most `size` bytes. */
function inRecords(hello: Buffer, size: number): Buffer {
  const message = hello.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size);
    records.push(Buffer.of(22, 3, 1, part.length >> 8, part.length & 0xff), part);
  }
  return Buffer.concat(records);
}

/** The hello with one more extension of so many bytes (RFC 7685 padding). */
function padded(hello: Buffer, bytes: number): Buffer {
  const message = Buffer.from(hello.subarray(5));
  // Version, random, session id, suites, compression: then the extensions, which are the rest.
  let at = 4 + 2 + 32;
  at += 1 + (message[at] ?? 0);
  at += 2 + message.readUInt16BE(at);
  at += 1 + (message[at] ?? 0);
  const extension = Buffer.alloc(4 + bytes);
  extension.writeUInt16BE(21, 0);
  extension.writeUInt16BE(bytes, 2);
  message.writeUInt16BE(message.readUInt16BE(at) + extension.length, at);
  const whole = Buffer.concat([message, extension]);
  whole.writeUIntBE(whole.length - 4, 1, 3);
  return Buffer.concat([Buffer.alloc(5), whole]);
}

async function two(t: Test): Promise<{ readonly door: Door; readonly received: { readonly one: string[]; readonly rest: string[] } }> {
  const [one, rest] = [await upstream(t, () => 'one'), await upstream(t, () => 'rest')];
  const door = await open(t, [stream('one.test', [one.port], { mode: 'tls' }), stream('rest.test', [rest.port])]);
  return { door, received: { one: one.received, rest: rest.received } };
}

/** Sends the parts, each for itself, ends, and reads what comes. */
async function ask(door: Door, ...parts: readonly Buffer[]): Promise<string> {
  const socket = dial(door);
  socket.setNoDelay(true);
  await once(socket, 'connect');
  for (const part of parts) {
    socket.write(part);
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.end();
  return read(socket).catch(() => '');
}

void t.test('a hello means the same cut at every byte, and over any number of records', async (t) => {
  const hello = await clientHello('one.test');
  const { door, received } = await two(t);
  const answers = new Set<string>();
  for (let cut = 1; cut < hello.length; cut += 50) {
    const cuts = Array.from({ length: Math.min(50, hello.length - cut) }, (_, i) => cut + i);
    for (const answer of await Promise.all(cuts.map((at) => ask(door, hello.subarray(0, at), hello.subarray(at))))) answers.add(answer);
  }
  for (const size of [1, 2, 3, 7, 100, 1000]) answers.add(await ask(door, inRecords(hello, size)));
  t.same([...answers], ['one']);
  t.equal(received.one.length, hello.length - 1 + 6);
  t.ok(
    received.one.slice(0, hello.length - 1).every((text) => text === hello.toString('latin1')),
    'and its target got every byte',
  );
  t.same(received.rest, []);
});

void t.test('extensions of 60 KB are read, more than fits is not the name’s', async (t) => {
  const hello = await clientHello('one.test');
  const { door, received } = await two(t);
  t.equal(await ask(door, inRecords(padded(hello, 60_000), 16_000)), 'one');
  t.equal(received.one[0]?.length, inRecords(padded(hello, 60_000), 16_000).length);
  t.not(await ask(door, inRecords(padded(hello, 63_900), 2)), 'one');
});

void t.test('no name, an address for a name, and other protocols are for whoever takes the rest, or nobody', async (t) => {
  const plain = await clientHello(undefined);
  const address = Buffer.from((await clientHello('203.0.113.9x')).toString('latin1').replace('203.0.113.9x', '203.0.113.99'), 'latin1');
  const inputs: readonly (readonly [string, Buffer])[] = [
    ['no name', plain],
    ['an address', address],
    ['another name', await clientHello('other.test')],
    ['SSH', Buffer.from('SSH-2.0-OpenSSH_9.2\r\n')],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: one.test\r\n\r\n')],
    ['a record that is too long', Buffer.of(22, 3, 1, 0xff, 0xff, 1)],
    ['an empty record', Buffer.of(22, 3, 1, 0, 0)],
    ['SSLv2', Buffer.of(0x80, 0x2e, 1, 3, 1)],
    ['an alert', Buffer.of(21, 3, 1, 0, 2, 2, 40)],
  ];
  const { door, received } = await two(t);
  const alone = await open(t, [stream('one.test', [1], { mode: 'tls' })]);
  for (const [what, bytes] of inputs) {
    t.equal(await ask(door, bytes), 'rest', what);
    t.equal(received.rest.pop(), bytes.toString('latin1'), `${what}: every byte of it`);
    t.equal(await ask(alone, bytes), '', `${what}: nobody takes the rest`);
  }
  t.same(received.one, []);
  t.equal(alone.open(), 0);
});

/** A door whose time only the test moves. */
async function slowDoor(t: Test, target: number) {
  const clock = new ManualClock();
  const publisher = createStreamPublisher({
    dial: dialTcp,
    directDial: dialTcp,
    unlocks: new Unlocks({ clock, log: silentLogger }),
    certificates: { find: () => undefined },
    webDomain: () => undefined,
    openUdp: openHostUdp,
    openDirectUdp: openHostUdp,
    accessLog: () => undefined,
    clock,
    log: silentLogger,
  });
  publisher.apply(buildStreamTable([stream('one.test', [target], { mode: 'tls' })], (_id, problem) => t.fail(problem)));
  let from = 0;
  const listener = await listenTcp((socket) => {
    socket.removeAllListeners('end');
    const ends = { remote: { address: `198.51.${from >> 8}.${from++ & 255}`, port: 1 }, local: { address: '127.0.0.1', port } };
    publisher.handleConnection(socket, ends, port);
  });
  t.teardown(async () => {
    await publisher.close();
    await listener.close();
  });
  return { clock, listener, publisher };
}

void t.test('bytes that drip do not move the one deadline of a hello', async (t) => {
  const target = await upstream(t);
  const { clock, listener } = await slowDoor(t, target.port);
  const hello = await clientHello('one.test');
  const sockets = Array.from({ length: 200 }, () => connect({ host: '127.0.0.1', port: listener.port }));
  for (const socket of sockets) socket.on('error', () => undefined).setNoDelay(true);
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  while (listener.sockets.size < sockets.length) await new Promise((resolve) => setImmediate(resolve));
  const [last] = sockets.slice(-1);
  const closed = sockets.map((socket) => once(socket.resume(), 'close'));
  for (let at = 0; at < HANDSHAKE_MS / 1_000; at++) {
    for (const socket of sockets) socket.write(hello.subarray(at, at + 1));
    await new Promise((resolve) => setImmediate(resolve));
    t.equal(last?.readyState, 'open');
    clock.advance(1_000);
  }
  clock.advance(SWEEP_MS);
  await Promise.all(closed);
  t.equal(listener.sockets.size, 0);
  t.equal(target.sockets.size, 0, 'nobody was let through');
});

void t.test('silent connections of many addresses fill no more than their place', { timeout: 60_000 }, async (t) => {
  const target = await upstream(t);
  const { clock, listener } = await slowDoor(t, target.port);
  let refused = 0;
  const sockets: Socket[] = [];
  for (let i = 0; i < HELLOS + 100; i += 100) {
    const some = Array.from({ length: 100 }, () => connect({ host: '127.0.0.1', port: listener.port }));
    for (const socket of some) {
      socket.on('error', () => undefined);
      socket.resume().once('close', () => refused++);
    }
    await Promise.all(some.map((socket) => once(socket, 'connect')));
    sockets.push(...some);
  }
  while (refused < 100) await new Promise((resolve) => setImmediate(resolve));
  t.equal(refused, 100, 'those that came too late are closed at once');
  clock.advance(HANDSHAKE_MS + SWEEP_MS);
  while (refused < sockets.length) await new Promise((resolve) => setImmediate(resolve));
  t.equal(listener.sockets.size, 0, 'and all others in time');
});

void t.test('one address that takes all it can get leaves room for others', async (t) => {
  const target = await listenTcp((socket) => void socket.pipe(socket));
  t.teardown(() => target.close());
  const door = await open(t, [stream('db.test', [target.port])]);
  const own = Array.from({ length: STREAMS_PER_ADDRESS }, () => dial(door));
  for (const socket of own) socket.write('x');
  await Promise.all(own.map((socket) => once(socket, 'data')));
  await gone(dial(door));
  t.match(await entry(door), { reason: 'too_many_streams' });
  own[0]?.destroy();
  while (door.open() === STREAMS_PER_ADDRESS) await new Promise((resolve) => setImmediate(resolve));
  const next = dial(door);
  next.write('y');
  t.same(await once(next, 'data'), [Buffer.from('y')], 'a place that is free again is given');
  for (const socket of [...own, next]) socket.destroy();
});

void t.test('no bytes make the parsers of first bytes throw, hang or take more than is there', async (t) => {
  const draw = seeded(11);
  const below = (limit: number): number => Math.floor(draw() * limit);
  const hello = await clientHello('one.test');
  const ends = [
    { address: '192.0.2.1', port: 1 },
    { address: '192.0.2.2', port: 2 },
  ] as const;
  const seeds = [hello, inRecords(hello, 9), writeProxyHeader(1, ...ends), writeProxyHeader(2, ...ends)].map((bytes) => Buffer.from(bytes));
  let heard = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes = Buffer.from(seeds[below(seeds.length)] ?? hello);
    for (let i = below(6); i > 0; i--) bytes[below(Math.min(bytes.length, 90))] = below(2) === 0 ? 0xff : below(256);
    const cut = below(2) === 0 ? bytes : bytes.subarray(0, 1 + below(bytes.length));
    const reader = new ClientHelloReader();
    const result = reader.push(cut);
    if (result.kind === 'hello') heard++;
    const header = readProxyHeader(cut);
    if (header.kind === 'header' && header.length > cut.length) t.fail('a header that is longer than what came');
  }
  t.ok(heard > 100, `${heard} were hellos all the same`);
});
