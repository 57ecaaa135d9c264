// Explicit congestion notification is off, and off cleanly: never offered, never agreed to, and marks that arrive all the same do no harm
// (RFC 3168 §6.1.1: a peer that did not agree is sent nothing with ECN).
import t from 'tap';
import { PROTOCOL } from '#wire/ipv4.ts';
import { pseudoSum } from '#wire/checksum.ts';
import { sealTcp } from '#wire/tcp.ts';
import { checksum } from '#wire/checksum.ts';
import { A4, B4, Network, dial, payload } from './link.ts';
import { Script } from './script.ts';
import type { Seen, Sent } from './script.ts';

const ECE = 0x40;
const CWR = 0x80;
const CONGESTION_EXPERIENCED = 3;

/** Sets flags that the script's packets do not have, and marks of the IP header. */
function marked(packet: Uint8Array, flags: number, mark: number): Uint8Array {
  packet[33] = (packet[33] ?? 0) | flags;
  packet[1] = ((packet[1] ?? 0) & 0xfc) | mark;
  packet[36] = 0;
  packet[37] = 0;
  sealTcp(packet, 20, packet.length, pseudoSum(B4.bytes, 0, A4.bytes, 0, 4, PROTOCOL.tcp));
  packet[10] = 0;
  packet[11] = 0;
  const sum = checksum(packet, 0, 20);
  packet[10] = sum >> 8;
  packet[11] = sum & 0xff;
  return packet;
}

/** Sends a marked segment; the answers, of which none may speak of ECN. */
function send(t: { ok(holds: boolean, message: string): void }, s: Script, sent: Sent, flags: number, mark: number): readonly Seen[] {
  s.stack.receivePacket(marked(s.build(sent), flags, mark), s.now);
  s.stack.poll(s.now);
  t.ok(
    s.packets.every((packet) => ((packet[33] ?? 0) & (ECE | CWR)) === 0 && ((packet[1] ?? 0) & 3) === 0),
    'no answer speaks of ECN',
  );
  return s.take();
}

void t.test('our SYN does not offer it', async (t) => {
  const s = new Script();
  s.stack.connect({ ip: B4, port: 80 }, s.endpoint, s.now);
  const [syn] = s.packets;
  t.equal((syn?.[33] ?? 0) & (ECE | CWR), 0);
  t.equal((syn?.[1] ?? 0) & 3, 0, 'nor does its IP header');
});

void t.test('an offer is answered by a SYN-ACK without it', async (t) => {
  const s = new Script();
  s.listen();
  t.match(send(t, s, { flags: 'S', mss: 1240 }, ECE | CWR, 0), [{ flags: 'SA', ack: 1 }]);
  send(t, s, { flags: 'A', seq: 1, ack: 1 }, 0, 0);
  t.equal(s.endpoint.isEstablished, true);
});

void t.test('marks on data and flags on ACKs change nothing', async (t) => {
  const s = new Script().established({ mss: 1240 });
  t.match(send(t, s, { flags: 'A', seq: 1, ack: 1, data: 1240 }, CWR, CONGESTION_EXPERIENCED), []);
  t.match(send(t, s, { flags: 'A', seq: 1241, ack: 1, data: 1240 }, 0, CONGESTION_EXPERIENCED), [{ flags: 'A', ack: 2481 }]);
  t.equal(s.endpoint.received, 2480);
  s.write(100_000);
  t.equal(s.take().length, 10);
  t.equal(send(t, s, { flags: 'A', seq: 2481, ack: 1 + 2480 }, ECE, 0).length, 4, 'an echo that nobody asked for does not slow us down');
});

void t.test('a transfer over a link that marks every packet', async (t) => {
  const network = new Network({
    delayMs: 5,
    filter: (packet) => {
      packet[1] = CONGESTION_EXPERIENCED;
      packet[10] = 0;
      packet[11] = 0;
      const sum = checksum(packet, 0, 20);
      packet[10] = sum >> 8;
      packet[11] = sum & 0xff;
      return true;
    },
  });
  const { client, server } = dial(network);
  const { bytes, digest } = payload(500_000);
  client.send(bytes, true, network.now);
  t.ok(network.runUntil(() => client.end === 'finished' && server.end === 'finished', 10_000));
  t.equal(server.hash.digest('hex'), digest);
});
