// The kernel's structures as bytes: what is read of them never leaves its place, whatever stands there.
import t from 'tap';
import { AddressTable, decodeSocketAddress, encodeSocketAddress, SOCKET_ADDRESS_BYTES } from '../../../src/overlay/udp/socket-address.ts';
import { MessageVector, UDP_GRO, vectorMemoryBytes } from '../../../src/overlay/udp/message-vector.ts';
import { KNOWN_ADDRESSES } from '../../../src/overlay/udp/constants.ts';
import { seeded, seededBytes } from '../../support/seeded.ts';

const slotBytes = 2048;
const count = 4;

function vector(): MessageVector {
  return new MessageVector(new Uint8Array(vectorMemoryBytes(count)), count, 0x7f12_3456_7000, 0x7f00_0000_0000, slotBytes);
}

/** Writes as the kernel would: a length, flags and one control message. */
function fill(v: MessageVector, i: number, length: number, flags: number, control: Uint8Array): void {
  const view = new DataView(v.memory.buffer);
  view.setUint32(i * 64 + 56, length, true);
  view.setUint32(i * 64 + 48, flags, true);
  view.setUint32(i * 64 + 40, control.length, true);
  v.memory.set(control.subarray(0, 64), v.controlAt(i));
}

function controlMessage(bytes: number, level: number, type: number, value: number, total = 24): Uint8Array {
  const control = new Uint8Array(total);
  const view = new DataView(control.buffer);
  view.setUint32(0, bytes, true);
  view.setInt32(8, level, true);
  view.setInt32(12, type, true);
  if (total >= 20) view.setInt32(16, value, true);
  return control;
}

t.test('pointers and lengths stand where the kernel looks for them', async (t) => {
  const v = vector();
  const view = new DataView(v.memory.buffer);
  const pointer = (at: number): number => Number(view.getBigUint64(at, true));
  for (let i = 0; i < count; i++) {
    t.equal(pointer(i * 64), 0x7f12_3456_7000 + v.nameAt(i));
    t.equal(view.getUint32(i * 64 + 8, true), SOCKET_ADDRESS_BYTES);
    const iovec = pointer(i * 64 + 16) - 0x7f12_3456_7000;
    t.equal(pointer(i * 64 + 24), 1);
    t.equal(pointer(iovec), 0x7f00_0000_0000 + i * slotBytes);
    t.equal(pointer(iovec + 8), slotBytes);
    t.equal(pointer(i * 64 + 32), 0x7f12_3456_7000 + v.controlAt(i));
  }
});

t.test('what the kernel joined is told by its control message alone', async (t) => {
  const v = vector();
  const sizeOf = (control: Uint8Array, length = 1000, flags = 0): number => {
    fill(v, 1, length, flags, control);
    const payload = v.payloadLength(1);
    return payload < 0 ? -1 : v.datagramSize(1, payload);
  };
  t.equal(sizeOf(controlMessage(20, 17, UDP_GRO, 300)), 300);
  t.equal(sizeOf(new Uint8Array(0)), 1000, 'none: one datagram');
  t.equal(sizeOf(controlMessage(20, 17, UDP_GRO, 1000)), 1000);
  t.equal(sizeOf(controlMessage(20, 17, UDP_GRO, 5000)), 1000);
  for (const size of [0, -1, -0x8000_0000]) t.equal(sizeOf(controlMessage(20, 17, UDP_GRO, size)), 1000, `size ${size}`);
  t.equal(sizeOf(controlMessage(20, 1, UDP_GRO, 300)), 1000, 'another level');
  t.equal(sizeOf(controlMessage(20, 17, 1, 300)), 1000, 'another type');
  t.equal(sizeOf(Buffer.concat([controlMessage(20, 1, 29, 7), controlMessage(20, 17, UDP_GRO, 400)])), 400, 'the second');
  for (const bytes of [0, 1, 15, 16, 19, 25, 0xffff_ffff]) t.equal(sizeOf(controlMessage(bytes, 17, UDP_GRO, 300)), 1000, `${bytes} bytes of it`);
  t.equal(sizeOf(controlMessage(20, 17, UDP_GRO, 300, 16)), 1000, 'cut off before the size');
  t.equal(sizeOf(controlMessage(20, 17, UDP_GRO, 300), slotBytes), 300);
  t.equal(sizeOf(controlMessage(20, 17, UDP_GRO, 300), slotBytes + 1), -1, 'longer than its place');
  t.equal(sizeOf(controlMessage(20, 17, UDP_GRO, 300), 1000, 0x20), -1, 'cut off');
  t.equal(sizeOf(controlMessage(20, 17, UDP_GRO, 300), 1000, 0x08), -1, 'control cut off: its size cannot be known');
});

t.test('no bytes lead a reader out of its place', async (t) => {
  const random = seeded(7);
  const bytes = seededBytes(8);
  const table = new AddressTable();
  let joined = 0;
  for (let round = 0; round < 20_000; round++) {
    const v = rounds;
    bytes(v.memory);
    const view = new DataView(v.memory.buffer);
    for (let i = 0; i < count; i++) {
      // Plain noise seldom gets far, so most are nearly right.
      const kind = random();
      if (kind < 0.8) view.setUint32(i * 64 + 56, Math.floor(random() * (slotBytes + 2)), true);
      if (kind < 0.7) view.setUint32(i * 64 + 48, 0, true);
      if (kind < 0.6) view.setUint32(i * 64 + 40, Math.floor(random() * 80), true);
      if (kind < 0.5) v.memory.set(controlMessage(Math.floor(random() * 40), 17, UDP_GRO, Math.floor((random() - 0.2) * 3000)), v.controlAt(i));
      if (kind < 0.4) view.setUint16(v.nameAt(i), random() < 0.5 ? 2 : 10, true);
      const length = v.payloadLength(i);
      if (length < -1 || length > slotBytes) t.fail(`length ${length}`);
      const size = v.datagramSize(i, Math.max(0, length));
      if (length > 0 && (size < 1 || size > length)) t.fail(`size ${size} of ${length}`);
      if (length > 0 && size < length) joined++;
      const name = v.nameLength(i);
      if (name < 0 || name > SOCKET_ADDRESS_BYTES) t.fail(`name ${name}`);
      const found = table.find(v.memory, v.nameAt(i), name);
      if (found !== undefined && (found.port < 1 || found.port > 65_535 || found.address === '')) t.fail(JSON.stringify(found));
    }
  }
  t.ok(joined > 1_000, `${joined} of them were well-formed`);
});
const rounds = vector();

t.test('addresses go both ways', async (t) => {
  for (const address of ['127.0.0.1', '255.255.255.255', '::1', '2001:db8::7', 'fe80::1%3']) {
    for (const port of [1, 65_535]) {
      for (const ipv6 of [false, true]) {
        const bytes = encodeSocketAddress({ address, port }, ipv6);
        if (address.includes(':') && !ipv6) t.equal(bytes, undefined);
        else t.same(bytes && decodeSocketAddress(bytes), { address, port }, `${address} ${port} ${ipv6}`);
      }
    }
  }
  for (const address of ['', 'name', '1.2.3', '::g', '1.2.3.4 ']) t.equal(encodeSocketAddress({ address, port: 1 }, true), undefined, address);
  for (const port of [-1, 65_536]) t.equal(encodeSocketAddress({ address: '1.2.3.4', port }, true), undefined);
  t.equal(decodeSocketAddress(new Uint8Array(28)), undefined);
  t.equal(decodeSocketAddress(Uint8Array.of(10, 0, 1, 1, ...new Uint8Array(20))), undefined, 'too short for IPv6');
  t.equal(
    decodeSocketAddress(encodeSocketAddress({ address: '1.2.3.4', port: 0 }, false) ?? new Uint8Array(0)),
    undefined,
    'nobody sends from port 0',
  );
});

t.test('the table of senders keeps its size and never confuses two', async (t) => {
  const table = new AddressTable();
  const first = encodeSocketAddress({ address: '10.0.0.1', port: 7 }, true) ?? new Uint8Array(0);
  t.equal(table.find(first, 0, 28), table.find(first.slice(), 0, 28), 'the same object for the same address');
  for (let i = 0; i < 3 * KNOWN_ADDRESSES; i++) {
    const wanted = { address: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, port: 1 + (i % 60_000) };
    const bytes = encodeSocketAddress(wanted, i % 2 === 0) ?? new Uint8Array(0);
    const found = table.find(bytes, 0, bytes.length);
    if (found?.address !== wanted.address || found.port !== wanted.port) t.fail(`${JSON.stringify(found)} for ${JSON.stringify(wanted)}`);
  }
  t.same(table.find(first, 0, 28), { address: '10.0.0.1', port: 7 });
  t.equal(table.find(first, 0, 15), undefined);
  t.equal(table.find(first, 20, 28), undefined);
  t.equal(table.find(first, -1, 28), undefined);
});
