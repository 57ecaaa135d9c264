// Fragments: what is cut is put together again, in any order; what overlaps, contradicts itself, comes too late or is too much is not.
import t from 'tap';
import type { Test } from 'tap';
import { pseudoSum } from '#wire/checksum.ts';
import { PROTOCOL, writeIpv4 } from '#wire/ipv4.ts';
import { writeIpv6 } from '#wire/ipv6.ts';
import { UDP_HEADER, writeUdp } from '#wire/udp.ts';
import {
  MAX_FRAGMENTS_OF_PACKET,
  MAX_REASSEMBLY_BYTES,
  MAX_REASSEMBLY_PACKETS,
  MAX_REASSEMBLY_PACKETS_PER_SENDER,
  REASSEMBLY_MS,
} from '#netstack/constants.ts';
import { fragments } from '#netstack/fragments.ts';
import { Reassembler } from '#netstack/reassembly.ts';
import { A4, A6, B4, B6, Network, at, ip, payload, seeded } from './link.ts';

const FAMILIES = [4, 6] as const;

function datagram(family: 4 | 6, length: number, from = family === 4 ? B4 : B6): Uint8Array {
  const start = family === 4 ? 20 : 40;
  const to = family === 4 ? A4 : A6;
  const packet = new Uint8Array(start + UDP_HEADER + length);
  packet.set(payload(length, length).bytes, start + UDP_HEADER);
  writeUdp(packet, start, packet.length, 5000, 53, pseudoSum(from.bytes, 0, to.bytes, 0, from.bytes.length, PROTOCOL.udp));
  if (family === 4) writeIpv4(packet, packet.length, PROTOCOL.udp, from.bytes, to.bytes);
  else writeIpv6(packet, packet.length, PROTOCOL.udp, from.bytes, to.bytes);
  return packet;
}

/** The same bytes but for what fragmentation may change: the don't-fragment bit and the checksum of the IPv4 header. */
function same(t: Test, one: Uint8Array | undefined, other: Uint8Array, message: string): void {
  const skip = (other[0] ?? 0) >> 4 === 4 ? 12 : 0;
  t.same(Buffer.from(one?.subarray(skip) ?? []).equals(other.subarray(skip)), true, message);
}

void t.test('cut and joined, in every order', async (t) => {
  for (const family of FAMILIES) {
    for (const length of [1300, 5000, 65_000]) {
      const random = seeded(length);
      const whole = datagram(family, length);
      const pieces = fragments(whole, 1280, 7);
      t.ok(pieces.every((piece) => piece.length <= 1280) && pieces.length > 1);
      for (let round = 0; round < 5; round++) {
        const reassembler = new Reassembler();
        const shuffled = pieces.map((piece) => ({ piece, key: random() })).toSorted((a, b) => a.key - b.key);
        let result: Uint8Array | undefined;
        for (const { piece } of shuffled) {
          result = reassembler.add(piece, 1);
          if (result !== undefined) break;
          if (random() < 0.2) t.equal(reassembler.add(piece, 1), undefined, 'a repetition does no harm');
        }
        same(t, result, whole, `IPv${family}, ${length} bytes`);
        t.same([reassembler.packets <= 1, reassembler.bytes <= 1280], [true, true]);
      }
    }
  }
});

void t.test('overlaps end a packet for good (RFC 5722)', async (t) => {
  for (const family of FAMILIES) {
    const pieces = fragments(datagram(family, 4000), 1280, 7);
    const shifted = fragments(datagram(family, 4000), 1280 - 8, 7);
    const reassembler = new Reassembler();
    reassembler.add(pieces[0] as Uint8Array, 1);
    reassembler.add(shifted[1] as Uint8Array, 1);
    for (const piece of pieces) t.equal(reassembler.add(piece, 1), undefined);
    t.equal(reassembler.bytes, 0, 'and hold no memory');
    for (const piece of pieces.slice(0, -1)) t.equal(reassembler.add(piece, REASSEMBLY_MS + 2), undefined);
    t.ok(reassembler.add(pieces.at(-1) as Uint8Array, REASSEMBLY_MS + 2), 'until its time is over');
  }
});

void t.test('ends that contradict each other', async (t) => {
  for (const family of FAMILIES) {
    const long = fragments(datagram(family, 4000), 1280, 7);
    const short = fragments(datagram(family, 2000), 1280, 7);
    const reassembler = new Reassembler();
    reassembler.add(long.at(-1) as Uint8Array, 1);
    reassembler.add(short.at(-1) as Uint8Array, 1);
    for (const piece of long) t.equal(reassembler.add(piece, 1), undefined, 'two last fragments');
    const beyond = new Reassembler();
    beyond.add(short.at(-1) as Uint8Array, 1);
    beyond.add(long[2] as Uint8Array, 1);
    for (const piece of short) t.equal(beyond.add(piece, 1), undefined, 'data behind the last fragment');
  }
});

void t.test('what waits is bounded in time, packets, pieces and bytes', async (t) => {
  const reassembler = new Reassembler();
  const first = (id: number, from: string, length = 4000): Uint8Array => fragments(datagram(4, length, ip(from)), 1280, id)[0] as Uint8Array;
  for (let id = 0; id < 100; id++) reassembler.add(first(id, '100.64.0.2'), 1);
  t.equal(reassembler.packets, MAX_REASSEMBLY_PACKETS_PER_SENDER, 'of one sender');
  for (let id = 0; id < 200; id++) reassembler.add(first(1, `100.64.1.${id}`), 1);
  t.equal(reassembler.packets, MAX_REASSEMBLY_PACKETS, 'of all');
  t.equal(reassembler.nextDue(), 1 + REASSEMBLY_MS);
  reassembler.expire(1 + REASSEMBLY_MS);
  t.same([reassembler.packets, reassembler.bytes, reassembler.nextDue()], [0, 0, Infinity]);
  for (let sender = 1; sender < 60; sender++) {
    for (const piece of fragments(datagram(4, 64_000, ip(`100.64.2.${sender}`)), 1280, 1).slice(0, -1)) reassembler.add(piece, 1);
  }
  t.ok(reassembler.bytes <= MAX_REASSEMBLY_BYTES && reassembler.bytes > MAX_REASSEMBLY_BYTES / 2, `${reassembler.bytes} bytes`);
  const tiny = new Reassembler();
  const pieces = fragments(datagram(4, 2000), 28, 1);
  t.ok(pieces.length > MAX_FRAGMENTS_OF_PACKET);
  for (const piece of pieces) t.equal(tiny.add(piece, 1), undefined);
  t.equal(tiny.bytes, 0);
});

void t.test('broken fragments: empty, no whole eights, beyond 64 KB, cut chains', async (t) => {
  const reassembler = new Reassembler();
  const [piece] = fragments(datagram(4, 4000), 1280, 7);
  const change = (edit: (view: DataView) => void): Uint8Array => {
    const copy = new Uint8Array(piece as Uint8Array);
    edit(new DataView(copy.buffer));
    return copy;
  };
  reassembler.add(
    change((view) => view.setUint16(2, 20)),
    1,
  );
  reassembler.add(
    change((view) => view.setUint16(2, 21)),
    1,
  );
  reassembler.add(
    change((view) => view.setUint16(6, 0x3fff)),
    1,
  );
  t.equal(reassembler.packets, 0);
});

void t.test('large datagrams pass between two stacks, in both families, over a link that disorders', async (t) => {
  for (const family of FAMILIES) {
    const network = new Network({ delayMs: 5, reorder: 0.3, reorderMs: 3, duplicate: 0.2 });
    const seen: Buffer[] = [];
    network.b.bindUdp(53, (bytes) => seen.push(Buffer.from(bytes)));
    const socket = network.a.bindUdp(0, () => {});
    const { bytes } = payload(60_000, 3);
    socket.send(bytes, at(family === 4 ? B4 : B6, 53), network.now);
    network.pass(100);
    t.equal(seen.length, 1);
    t.ok(seen[0]?.equals(bytes));
    t.equal(network.a.counters.udpTooBig, 0);
    network.pass(2 * REASSEMBLY_MS);
    t.equal(network.b.pollAt(), Infinity, 'nothing waits any more');
  }
});

void t.test('a socket hears what became of its datagrams', async (t) => {
  for (const family of FAMILIES) {
    const network = new Network({ delayMs: 5 });
    const failures: unknown[] = [];
    const socket = network.a.bindUdp(
      0,
      () => {},
      (reason, to) => failures.push([reason, to.port, to.ip.family]),
    );
    socket.send(new Uint8Array(10), at(family === 4 ? B4 : B6, 4444), network.now);
    network.pass(50);
    t.same(failures, [['ECONNREFUSED', 4444, family]]);
  }
});
