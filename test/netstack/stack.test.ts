// The stack around TCP: which packets it takes, UDP, ICMP, calls from inside callbacks, fragments and extension headers.
import t from 'tap';
import { pseudoSum } from '#wire/checksum.ts';
import { PROTOCOL, writeIpv4 } from '#wire/ipv4.ts';
import { writeIpv6 } from '#wire/ipv6.ts';
import { writeUdp } from '#wire/udp.ts';
import { createStack } from '#netstack/stack.ts';
import type { IpStack, TcpConnection } from '#netstack/types.ts';
import { A4, A6, B4, B6, Endpoint, Network, at, dial, fillWith, ip, seeded } from './link.ts';
import { Script } from './script.ts';

function make(): { stack: IpStack; sent: Uint8Array[] } {
  const sent: Uint8Array[] = [];
  return {
    sent,
    stack: createStack({ addresses: [A4, A6], mtu: 1280, random: fillWith(seeded(2)), output: (packet) => sent.push(new Uint8Array(packet)) }),
  };
}

function datagram(family: 4 | 6, port: number, text: string, to = family === 4 ? A4 : A6, from = family === 4 ? B4 : B6): Uint8Array {
  const start = family === 4 ? 20 : 40;
  const data = Buffer.from(text);
  const packet = new Uint8Array(start + 8 + data.length);
  packet.set(data, start + 8);
  writeUdp(packet, start, packet.length, 5000, port, pseudoSum(from.bytes, 0, to.bytes, 0, from.bytes.length, PROTOCOL.udp));
  if (family === 4) writeIpv4(packet, packet.length, PROTOCOL.udp, from.bytes, to.bytes);
  else writeIpv6(packet, packet.length, PROTOCOL.udp, from.bytes, to.bytes);
  return packet;
}

void t.test('datagrams reach the socket of their port, and come back', async (t) => {
  for (const family of [4, 6] as const) {
    const { stack, sent } = make();
    const seen: unknown[] = [];
    const socket = stack.bindUdp(53, (bytes, from, to, now) => {
      seen.push([Buffer.from(bytes).toString(), from.port, to.port, from.ip.family]);
      socket.send(bytes, from, now);
    });
    stack.receivePacket(datagram(family, 53, 'hello'), 1);
    t.same(seen, [['hello', 5000, 53, family]]);
    t.equal(sent.length, 1);
    t.throws(() => stack.bindUdp(53, () => {}), { code: 'NETSTACK_PORT_IN_USE' });
    t.throws(() => stack.bindUdp(70_000, () => {}), { code: 'NETSTACK_PORT' });
    socket.send(new Uint8Array(65_530), at(family === 4 ? B4 : B6, 9), 1);
    t.equal(stack.counters.udpTooBig, 1, 'more than a packet can say');
    t.equal(sent.length, 1);
    socket.close();
    socket.send(new Uint8Array(1), at(B4, 9), 1);
    stack.receivePacket(datagram(family, 53, 'again'), 1);
    t.equal(sent.length, 2, 'only the answer that the port is closed');
    t.equal(sent[1]?.[family === 4 ? 20 : 40], family === 4 ? 3 : 1);
    t.ok(stack.bindUdp(0, () => {}).local.port >= 49_152);
  }
});

void t.test('errors for closed UDP ports and resets are limited', async (t) => {
  const { stack, sent } = make();
  for (let i = 0; i < 1000; i++) stack.receivePacket(datagram(4, 7, 'x'), 1);
  t.equal(sent.length, 100);
  stack.receivePacket(datagram(4, 7, 'x'), 101);
  t.equal(sent.length, 101, 'ten more after a tenth of a second, one used');
  const s = new Script();
  const syn = s.build({ flags: 'S', mss: 1240 });
  for (let i = 0; i < 3000; i++) s.stack.receivePacket(syn, 1);
  t.equal(s.packets.length, 1000);
});

void t.test('what is not ours, or cannot be answered, is dropped', async (t) => {
  const { stack, sent } = make();
  stack.receivePacket(datagram(4, 7, 'x', ip('100.64.0.9')), 1);
  stack.receivePacket(datagram(6, 7, 'x', ip('fd00::9')), 1);
  for (const from of ['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255']) stack.receivePacket(datagram(4, 7, 'x', A4, ip(from)), 1);
  for (const from of ['::', '::1', 'ff02::1']) stack.receivePacket(datagram(6, 7, 'x', A6, ip(from)), 1);
  t.equal(stack.counters.notOurs, 9);
  const fragment = datagram(4, 7, 'x');
  fragment[6] = 0x20;
  fragment[10] = 0;
  fragment[11] = 0;
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += ((fragment[i] ?? 0) << 8) | (fragment[i + 1] ?? 0);
  sum = ~((sum >> 16) + (sum & 0xffff)) & 0xffff;
  fragment[10] = sum >> 8;
  fragment[11] = sum & 0xff;
  stack.receivePacket(fragment, 1);
  t.equal(stack.counters.fragments, 1);
  stack.receivePacket(new Uint8Array(0), 1);
  stack.receivePacket(new Uint8Array([0x45]), 1);
  t.equal(stack.counters.malformed, 2);
  t.same(sent, []);
});

void t.test('a connection without an address of its family fails through the handler, at the next poll', async (t) => {
  const stack = createStack({ addresses: [A4], mtu: 1280, random: fillWith(seeded(2)), output: () => t.fail('nothing is sent') });
  const endpoint = new Endpoint();
  const connection = stack.connect(at(B6, 80), endpoint, 5);
  t.equal(connection.write(new Uint8Array(3), 5), 0);
  t.equal(endpoint.end, undefined);
  t.ok(stack.pollAt() <= 5);
  stack.poll(5);
  t.equal(endpoint.end, 'ENETUNREACH');
  t.equal(stack.pollAt(), Infinity);
});

void t.test('the MTU is checked', async (t) => {
  for (const mtu of [0, 1279, 70_000, 1300.5]) {
    t.throws(() => createStack({ addresses: [A4], mtu, random: () => {}, output: () => {} }), { code: 'NETSTACK_MTU' });
  }
});

void t.test('listeners: one per port, one for the rest, and closing frees the port', async (t) => {
  const network = new Network();
  const seen: string[] = [];
  const listen = (port: number | 'any', name: string) =>
    network.b.listen(
      port,
      (local) => local.port !== 1000,
      (connection) => {
        seen.push(`${name} ${connection.local.port}`);
        connection.attach(new Endpoint());
      },
    );
  const first = listen(80, 'web');
  listen('any', 'any');
  t.throws(() => listen(80, 'x'), { code: 'NETSTACK_PORT_IN_USE' });
  t.throws(() => listen('any', 'x'), { code: 'NETSTACK_PORT_IN_USE' });
  const ends = [80, 81, 1000].map((port) => {
    const endpoint = new Endpoint();
    endpoint.connection = network.a.connect(at(B4, port), endpoint, network.now);
    return endpoint;
  });
  network.pass(1000);
  t.same(seen, ['web 80', 'any 81']);
  t.same(
    ends.map(({ end }) => end),
    [undefined, undefined, 'ECONNREFUSED'],
  );
  first.close();
  first.close();
  t.ok(listen(80, 'new'));
});

void t.test('callbacks may call back: abort, write and connect from inside data; two stacks joined without a wire', async (t) => {
  const stacks: { a?: IpStack; b?: IpStack } = {};
  const random = fillWith(seeded(4));
  const a = createStack({ addresses: [A4], mtu: 1280, random, output: (packet) => stacks.b?.receivePacket(packet, 1) });
  const b = createStack({ addresses: [B4], mtu: 1280, random, output: (packet) => stacks.a?.receivePacket(packet, 1) });
  Object.assign(stacks, { a, b });
  const log: string[] = [];
  b.listen(
    80,
    () => true,
    (connection) => {
      connection.attach({
        established: () => {},
        data: (bytes, now) => {
          log.push(`server got ${bytes.length}`);
          connection.consumed(bytes.length, now);
          if (bytes.length === 3) connection.abort(now);
          else connection.write(bytes, now);
        },
        remoteEnded: () => {},
        writable: () => {},
        closed: (reason) => log.push(`server ${reason}`),
      });
    },
  );
  const open: TcpConnection[] = [];
  const [connection] = [
    a.connect(
      at(B4, 80),
      {
        established: (now) => {
          log.push('established');
          open[0]?.write(new Uint8Array(5), now);
        },
        data: (bytes, now) => {
          log.push(`client got ${bytes.length}`);
          open[0]?.write(new Uint8Array(3), now);
        },
        remoteEnded: () => {},
        writable: () => {},
        closed: (reason) => log.push(`client ${reason}`),
      },
      1,
    ),
  ];
  open.push(connection);
  t.same(log, [], 'no handler runs inside connect');
  for (let i = 0; i < 20; i++) {
    if (a.pollAt() <= 1) a.poll(1);
    if (b.pollAt() <= 1) b.poll(1);
  }
  t.same(log, ['established', 'server got 5', 'client got 5', 'server got 3', 'client ECONNRESET']);
  t.equal(a.connectionCount() + b.connectionCount(), 0);
});

void t.test('a handler is attached once', async (t) => {
  const network = new Network();
  const { client } = dial(network);
  t.throws(() => client.connection?.attach(new Endpoint()), { code: 'NETSTACK_HANDLER' });
});
