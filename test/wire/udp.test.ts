// UDP headers: lengths and checksums of both families.
import t from 'tap';
import { emptyUdpHeader, readUdp, writeUdp } from '#wire/udp.ts';

function datagram(length: number): Uint8Array {
  const bytes = new Uint8Array(4 + 8 + length).fill(7);
  writeUdp(bytes, 4, bytes.length, 53, 5353, 500);
  return bytes;
}

void t.test('what was written is read, trailing bytes are ignored', async (t) => {
  const into = emptyUdpHeader();
  const bytes = Buffer.concat([datagram(5), Buffer.alloc(3)]);
  t.equal(readUdp(bytes, 4, bytes.length, 500, 6, into), true);
  t.match(into, { sourcePort: 53, destinationPort: 5353, payloadStart: 12, payloadEnd: 17 });
});

void t.test('a sum of zero goes out as ones; none at all is taken over IPv4 only', async (t) => {
  const into = emptyUdpHeader();
  const bytes = new Uint8Array(10);
  // Chosen so that all words add up to 0xffff.
  writeUdp(bytes, 0, 10, 0xffff - 10 - 10, 0, 0);
  t.same(bytes.subarray(6, 8), Buffer.from([0xff, 0xff]));
  t.equal(readUdp(bytes, 0, 10, 0, 6, into), true);
  bytes[6] = 0;
  bytes[7] = 0;
  t.equal(readUdp(bytes, 0, 10, 0, 4, into), true);
  t.equal(readUdp(bytes, 0, 10, 0, 6, into), false);
});

void t.test('wrong lengths and sums are refused', async (t) => {
  const into = emptyUdpHeader();
  const bytes = datagram(5);
  t.equal(readUdp(bytes, 4, 11, 500, 4, into), false);
  t.equal(readUdp(bytes, 4, 16, 500, 4, into), false);
  t.equal(readUdp(bytes, 4, 17, 501, 4, into), false);
  bytes[9] = 7;
  t.equal(readUdp(bytes, 4, 17, 500, 4, into), false, 'shorter than its header');
});
