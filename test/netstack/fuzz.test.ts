// Hostile bytes: random packets, mutated real packets, right checksums over nonsense. The stack never throws, never sends a broken
// segment, and holds no more than its limits.
import t from 'tap';
import { pseudoSum } from '#wire/checksum.ts';
import { PROTOCOL, writeIpv4 } from '#wire/ipv4.ts';
import { FLAG, readInt32, sealTcp, writeInt32 } from '#wire/tcp.ts';
import { createStack } from '#netstack/stack.ts';
import { A4, A6, B4, Endpoint, Network, dial, fillWith, payload, seeded } from './link.ts';
import { Script } from './script.ts';

void t.test('random bytes', async (t) => {
  const random = seeded(31);
  const fill = fillWith(random);
  const stack = createStack({ addresses: [A4, A6], mtu: 1280, random: fill, output: () => {} });
  stack.listen(
    'any',
    () => true,
    (connection) => connection.attach(new Endpoint()),
  );
  stack.bindUdp(53, () => {});
  for (let i = 0; i < 50_000; i++) {
    const packet = new Uint8Array(Math.floor(random() * 120));
    fill(packet);
    if (packet.length > 0 && random() < 0.9) packet[0] = random() < 0.5 ? 0x45 : 0x60;
    stack.receivePacket(packet, i);
  }
  t.equal(stack.connectionCount(), 0);
});

void t.test('random TCP with right addresses and checksums', async (t) => {
  const random = seeded(32);
  const fill = fillWith(random);
  const s = new Script();
  const accepted: Endpoint[] = [];
  s.stack.listen(
    'any',
    () => true,
    (connection) => {
      const endpoint = new Endpoint();
      endpoint.connection = connection;
      connection.attach(endpoint);
      accepted.push(endpoint);
      endpoint.send(new Uint8Array(3000), false, s.now);
    },
  );
  let last = s.packets[0];
  for (let i = 0; i < 60_000; i++) {
    const packet = new Uint8Array(40 + Math.floor(random() * 60));
    fill(packet);
    packet[20] = 0x10;
    packet[21] = Math.floor(random() * 8);
    packet[22] = 0;
    packet[23] = 80;
    packet[32] = (5 + Math.floor((random() * (packet.length - 39)) / 4)) << 4;
    packet[33] = [FLAG.syn, FLAG.ack, FLAG.ack | FLAG.fin, FLAG.rst, FLAG.syn | FLAG.ack, Math.floor(random() * 64)][Math.floor(random() * 6)] ?? 0;
    if (last !== undefined && random() < 0.7) {
      // Aim at what the stack has said: its acknowledgment is our next byte, its sequence number our acknowledgment.
      packet.set(last.subarray(22, 24), 20);
      writeInt32(packet, 24, (readInt32(last, 28) + Math.floor(random() * 4) - 1) | 0);
      writeInt32(packet, 28, (readInt32(last, 24) + Math.floor(random() * 3)) | 0);
    }
    packet[36] = 0;
    packet[37] = 0;
    sealTcp(packet, 20, packet.length, pseudoSum(B4.bytes, 0, A4.bytes, 0, 4, PROTOCOL.tcp));
    writeIpv4(packet, packet.length, PROTOCOL.tcp, B4.bytes, A4.bytes);
    s.now += random() * 20;
    s.stack.receivePacket(packet, s.now);
    if (s.stack.pollAt() <= s.now) s.stack.poll(s.now);
    for (const out of s.packets.splice(0)) {
      s.see(out);
      last = out;
    }
  }
  t.ok(s.stack.connectionCount() <= 256 + 8 * 16, `${s.stack.connectionCount()} connections`);
  t.comment(
    `${accepted.length} accepted, ${accepted.filter(({ received }) => received > 0).length} got data, ${accepted.filter(({ ended }) => ended).length} a FIN, ${accepted.filter(({ end }) => end === 'ECONNRESET').length} a reset`,
  );
  t.ok(accepted.length > 20 && accepted.some(({ received }) => received > 0), 'it got past the handshake');
  s.pass(10 * 60_000);
  s.pass(10 * 60_000);
  t.equal(s.stack.connectionCount(), 0, 'and they go away');
});

void t.test('mutated packets of a real transfer: it goes on or ends, within its bounds', async (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const random = seeded(100 + seed);
    const network = new Network({
      seed,
      delayMs: 5,
      filter: (packet, from) => {
        if (random() < 0.1) {
          const bad = new Uint8Array(packet);
          const flips = 1 + Math.floor(random() * 4);
          for (let i = 0; i < flips; i++) bad[20 + Math.floor(random() * Math.min(60, bad.length - 20))] = Math.floor(random() * 256);
          // A right checksum over wrong fields, as a middle box or an attacker would send.
          sealTcpSafely(bad);
          injected.push([from, bad]);
        }
        return true;
      },
    });
    const injected: ['a' | 'b', Uint8Array][] = [];
    const { client, server } = dial(network);
    server.keep = true;
    const { bytes } = payload(200_000, seed);
    client.send(bytes, true, network.now);
    for (let i = 0; i < 20_000 && (client.end === undefined || server.end === undefined); i++) {
      for (const [from, packet] of injected.splice(0)) (from === 'a' ? network.b : network.a).receivePacket(packet, network.now);
      if (!network.step()) break;
    }
    t.ok(server.received <= bytes.length + 8192, `seed ${seed}: ${server.received} bytes, ${client.end} ${server.end}`);
  }
});

function sealTcpSafely(packet: Uint8Array): void {
  packet[36] = 0;
  packet[37] = 0;
  sealTcp(packet, 20, packet.length, pseudoSum(packet, 12, packet, 16, 4, PROTOCOL.tcp));
}

void t.test('truncated packets', async (t) => {
  const s = new Script(6);
  s.listen();
  const whole = s.build({ flags: 'S', mss: 1240, scale: 3, sackPermitted: true, tsValue: 4, data: 20 });
  for (let length = 0; length < whole.length; length++) s.stack.receivePacket(whole.subarray(0, length), s.now);
  t.equal(s.stack.connectionCount(), 0);
  t.equal(s.stack.counters.malformed, whole.length);
});
