// Standing in for a network behind this host: TCP and UDP to its addresses are taken, told apart from our own, and answered from there.
import t from 'tap';
import { formatIp, parsePrefix, prefixContains } from '#lib/ip.ts';
import type { SocketAddress, StackOptions } from '#netstack/types.ts';
import { createStack } from '#netstack/stack.ts';
import { A4, A6, B4, Endpoint, Network, fillWith, ip, payload, seeded } from './link.ts';

const prefixes = ['10.7.0.0/16', 'fd07::/64'].map((text) => {
  const parsed = parsePrefix(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
});

function routed(bytes: Uint8Array, at: number, family: 4 | 6): boolean {
  const address = { family, bytes: bytes.subarray(at, at + (family === 4 ? 4 : 16)) };
  return prefixes.some((prefix) => prefixContains(prefix, address));
}

interface Datagram {
  readonly text: string;
  readonly from: string;
  readonly to: string;
}

const named = ({ ip: address, port }: SocketAddress): string => `${formatIp(address)} ${port}`;

/** Two stacks, of which both stand in for the prefixes; a's datagrams are gathered. */
function network(got: Datagram[] = []): Network {
  const options: Partial<StackOptions> = {
    routed,
    routedUdp: (bytes, from, to) => got.push({ text: Buffer.from(bytes).toString(), from: named(from), to: named(to) }),
  };
  return new Network({ options });
}

void t.test('a connection to an address behind us is accepted there, and carries data both ways', async (t) => {
  for (const target of ['10.7.3.4', 'fd07::9']) {
    const net = network();
    const seen: string[] = [];
    const [near, far] = [new Endpoint(), new Endpoint()];
    net.a.listen(
      'any',
      (local, remote) => {
        seen.push(named(local), formatIp(remote.ip));
        return local.port === 443;
      },
      (connection) => {
        far.connection = connection;
        connection.attach(far);
      },
    );
    near.connection = net.b.connect({ ip: ip(target), port: 443 }, near, net.now);
    const { bytes } = payload(50_000, 5);
    near.keep = far.keep = true;
    near.connection.write(bytes, net.now);
    for (let i = 0; i < 2000 && far.received < bytes.length && net.step(); i++);
    t.equal(Buffer.concat(far.chunks).equals(bytes), true, target);
    t.same(seen, [`${target} 443`, formatIp(target.includes(':') ? ip('fd00::2') : B4)]);
    t.equal(named(far.connection?.local ?? { ip: A4, port: 0 }), `${target} 443`);
    const refused = new Endpoint();
    refused.connection = net.b.connect({ ip: ip(target), port: 444 }, refused, net.now);
    for (let i = 0; i < 50 && refused.end === undefined && net.step(); i++);
    t.equal(refused.end, 'ECONNREFUSED');
  }
});

void t.test('datagrams to such addresses reach no socket of ours, and are answered from where they were sent to', async (t) => {
  const got: Datagram[] = [];
  const net = network(got);
  const own: string[] = [];
  net.a.bindUdp(53, (bytes) => own.push(Buffer.from(bytes).toString()));
  const answers: Datagram[] = [];
  const socket = net.b.bindUdp(4000, (bytes, from, to) => answers.push({ text: Buffer.from(bytes).toString(), from: named(from), to: named(to) }));
  socket.send(Buffer.from('behind'), { ip: ip('10.7.0.1'), port: 53 }, net.now);
  socket.send(Buffer.from('own'), { ip: A4, port: 53 }, net.now);
  while (net.step());
  t.same(got, [{ text: 'behind', from: `${formatIp(B4)} 4000`, to: '10.7.0.1 53' }]);
  t.same(own, ['own']);
  net.a.sendUdp(Buffer.from('answer'), { ip: ip('10.7.0.1'), port: 53 }, { ip: B4, port: 4000 }, net.now);
  while (net.step());
  t.same(answers, [{ text: 'answer', from: '10.7.0.1 53', to: `${formatIp(B4)} 4000` }]);
  t.throws(() => net.a.sendUdp(Buffer.alloc(1), { ip: A4, port: 0 }, { ip: B4, port: 1 }, net.now), { code: 'NETSTACK_PORT' });
});

void t.test('what nobody takes is dropped: no ping, no unreachable, nothing without the option', async (t) => {
  const sent: Uint8Array[] = [];
  const stack = createStack({ addresses: [A4, A6], mtu: 1280, random: fillWith(seeded(1)), output: (packet) => sent.push(packet.slice()), routed });
  const ping = Buffer.from('4500001c00000000400100006440000a0a0700010800f7ff00000000', 'hex');
  const fix = (packet: Buffer): Buffer => {
    let sum = 0;
    for (let i = 0; i < 20; i += 2) sum += i === 10 ? 0 : packet.readUInt16BE(i);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    packet.writeUInt16BE(~sum & 0xffff, 10);
    return packet;
  };
  stack.receivePacket(fix(ping), 0);
  t.equal(stack.counters.notOurs, 1, 'a ping to a host behind us');
  const datagram = fix(Buffer.from('4500001c00000000401100006440000a0a070001000100020008 0000'.replace(' ', ''), 'hex'));
  stack.receivePacket(datagram, 0);
  t.equal(stack.counters.notOurs, 2, 'a datagram without a taker');
  t.same(sent, []);
  t.equal(stack.counters.malformed, 0);
});

void t.test('connections end with the network that they are in', async (t) => {
  let standing = true;
  const net = new Network({ options: { routed: (bytes, at, family) => standing && routed(bytes, at, family) } });
  const [near, far] = [new Endpoint(), new Endpoint()];
  net.a.listen(
    'any',
    () => true,
    (connection) => {
      far.connection = connection;
      connection.attach(far);
    },
  );
  near.connection = net.b.connect({ ip: ip('10.7.0.1'), port: 80 }, near, net.now);
  for (let i = 0; i < 50 && far.connection === undefined && net.step(); i++);
  net.a.setAddresses([A4, A6], net.now);
  t.equal(far.end, undefined, 'still ours to carry');
  standing = false;
  net.a.setAddresses([A4, A6], net.now);
  t.equal(far.end, 'ECONNRESET');
});
