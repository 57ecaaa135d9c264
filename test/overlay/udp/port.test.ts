// One suite over both kinds of UDP port: what the overlay relies on holds on each, and between them.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import t from 'tap';
import { MAX_RUN_BYTES } from '../../../src/overlay/udp/constants.ts';
import { seededBytes } from '../../support/seeded.ts';
import { Mailbox, portKinds } from './ports.ts';

const { kinds, missing } = await portKinds();
const hasIpv6 = networkInterfaces()['lo']?.some((entry) => entry.address === '::1') ?? false;

t.test('the native port', async (t) => {
  if (missing === undefined) t.pass('is there');
  else t.plan(0, `needs what this machine has not: ${missing}`);
});

for (const from of kinds) {
  for (const to of kinds) {
    t.test(`${from.name} to ${to.name}`, async (t) => {
      const a = await Mailbox.open(from);
      const b = await Mailbox.open(to);
      t.teardown(() => Promise.all([a.port.close(), b.port.close()]));
      const there = { address: '127.0.0.1', port: b.port.port };
      let expected = 0;

      await t.test('every size arrives whole, with the sender’s address', async (t) => {
        const random = seededBytes(1);
        for (const length of [0, 1, 2, 31, 32, 1200, 1472, 1473, 9000, 32_768, 65_506, 65_507]) {
          const bytes = new Uint8Array(length);
          random(bytes);
          const copy = Buffer.from(bytes);
          a.port.send(bytes, there);
          // The bytes are the caller's again.
          bytes.fill(0);
          await b.got(++expected);
          const last = b.datagrams.at(-1);
          t.ok(last?.bytes.equals(copy), `${length} bytes`);
          t.same([last?.address, last?.port], ['127.0.0.1', a.port.port]);
        }
        // One that no UDP packet holds is dropped, and nothing else.
        a.port.send(new Uint8Array(65_508), there);
        a.port.send(new Uint8Array(5), there);
        await b.got(++expected);
        t.equal(b.datagrams.at(-1)?.bytes.length, 5);
      });

      await t.test('runs arrive in order, datagram by datagram, whatever their size and last one', async (t) => {
        const random = seededBytes(2);
        for (const [size, length] of [
          [1, 1],
          [1, 300],
          [100, 100],
          [100, 250],
          [1340, 1340 * 40 + 7],
          [1452, 65_340],
          [1452, MAX_RUN_BYTES + 20_000],
          [30_000, 70_000],
          [40_000, 50_000],
        ] as const) {
          const run = new Uint8Array(length);
          random(run);
          const copy = Buffer.from(run);
          a.port.sendRun(run, size, there);
          run.fill(0);
          const first = expected;
          expected += Math.ceil(length / size);
          await b.got(expected);
          const got = b.datagrams.slice(first);
          t.ok(Buffer.concat(got.map(({ bytes }) => bytes)).equals(copy), `${length} bytes by ${size}`);
          t.ok(got.every(({ bytes }, i) => bytes.length === Math.min(size, length - i * size)));
        }
      });

      await t.test('a run out of the middle of a buffer', async (t) => {
        const whole = Buffer.alloc(10_000, 'abcdefg');
        a.port.sendRun(whole.subarray(333, 4333), 999, there);
        expected += 5;
        await b.got(expected);
        t.ok(Buffer.concat(b.datagrams.slice(-5).map(({ bytes }) => bytes)).equals(whole.subarray(333, 4333)));
      });

      await t.test('IPv6, and what cannot be sent is dropped in silence', async (t) => {
        if (!hasIpv6 || !a.port.ipv6) return t.plan(0, 'needs IPv6 on loopback');
        for (const address of ['no address', '', '1.2.3.4.5', '::1%nowhere%2', '127.0.0.1%lo']) {
          if (address !== '127.0.0.1%lo') a.port.send(new Uint8Array(9), { address, port: b.port.port });
        }
        a.port.sendRun(Buffer.from('over six'), 5, { address: '::1', port: b.port.port });
        expected += 2;
        await b.got(expected);
        t.same(
          b.datagrams.slice(-2).map(({ bytes, address, port }) => [bytes.toString(), address, port]),
          [
            ['over ', '::1', a.port.port],
            ['six', '::1', a.port.port],
          ],
        );
      });
    });
  }
}

for (const kind of kinds) {
  t.test(`${kind.name}: an answer reaches whoever sent, thousands of them`, async (t) => {
    const box = await Mailbox.open(kind);
    t.teardown(() => box.port.close());
    const sockets = await Promise.all(
      Array.from({ length: 64 }, async () => {
        const socket = createSocket('udp4').bind(0, '127.0.0.1');
        await once(socket, 'listening');
        return socket;
      }),
    );
    t.teardown(() => sockets.forEach((socket) => socket.close()));
    const answers = sockets.map(async (socket) => once(socket, 'message'));
    sockets.forEach((socket, i) => socket.send(Buffer.from([i]), box.port.port, '127.0.0.1'));
    await box.got(64);
    for (const { bytes, address, port } of box.datagrams) {
      t.equal(sockets[bytes[0] ?? 99]?.address().port, port);
      box.port.send(bytes, { address, port });
    }
    for (const [i, answer] of answers.entries()) t.same((await answer)[0], Buffer.from([i]));
    // A port that nobody has open answers by ICMP; that must not harm the others.
    for (let i = 0; i < 3000; i++) box.port.send(Buffer.from('x'), { address: `127.0.${i >> 8}.${i & 255}`, port: 9 });
    sockets[0]?.send(Buffer.from('still there'), box.port.port, '127.0.0.1');
    await box.got(65);
    t.equal(box.datagrams.at(-1)?.bytes.toString(), 'still there');
  });

  t.test(`${kind.name}: a port that is taken, and all ports that follow`, async (t) => {
    const first = await Mailbox.open(kind);
    t.teardown(() => first.port.close());
    const second = await Mailbox.open(kind, first.port.port);
    t.teardown(() => second.port.close());
    t.ok(second.port.port > first.port.port && second.port.port < first.port.port + 16);
  });

  t.test(`${kind.name}: closed in the middle of what is coming`, async (t) => {
    const box = await Mailbox.open(kind);
    const sender = await Mailbox.open(kind);
    t.teardown(() => sender.port.close());
    const closed = Promise.withResolvers<void>();
    let after = 0;
    const receive = box.receive.bind(box);
    box.receive = (...run) => {
      if (box.runs > 0) after++;
      receive(...run);
      void box.port.close().then(closed.resolve);
    };
    for (let i = 0; i < 100; i++) sender.port.send(Buffer.from([i]), { address: '127.0.0.1', port: box.port.port });
    await closed.promise;
    await box.port.close();
    t.equal(after, 0, 'nothing is handed over after the close');
    box.port.send(Buffer.from('x'), { address: '127.0.0.1', port: sender.port.port });
    box.port.sendRun(Buffer.from('xyz'), 1, { address: '127.0.0.1', port: sender.port.port });
    const again = createSocket('udp6').bind(box.port.port);
    await once(again, 'listening');
    t.pass('the port is free again');
    again.close();
    await once(again, 'close');
    t.equal(sender.datagrams.length, 0);
  });
}
