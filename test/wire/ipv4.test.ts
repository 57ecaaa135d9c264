// IPv4 headers: reading refuses what is broken, writing reads back.
import t from 'tap';
import { checksum } from '#wire/checksum.ts';
import { emptyIpHeader, readIpv4, readQuotedIpv4, writeIpv4 } from '#wire/ipv4.ts';

const source = new Uint8Array([192, 0, 2, 1]);
const destination = new Uint8Array([198, 51, 100, 7]);

function packet(change: (bytes: Uint8Array) => void = () => {}): Uint8Array {
  const bytes = new Uint8Array(60);
  writeIpv4(bytes, 60, 6, source, destination);
  change(bytes);
  bytes[10] = 0;
  bytes[11] = 0;
  const sum = checksum(bytes, 0, Math.min(60, ((bytes[0] ?? 0) & 15) * 4));
  bytes[10] = sum >> 8;
  bytes[11] = sum & 0xff;
  return bytes;
}

void t.test('what was written is read', async (t) => {
  const header = emptyIpHeader();
  t.equal(readIpv4(packet(), header), 'ok');
  t.match(header, { family: 4, protocol: 6, payloadStart: 20, payloadEnd: 60, sourceAt: 12, destinationAt: 16, addressLength: 4 });
  t.same(packet().subarray(12, 20), Buffer.from([...source, ...destination]));
  t.equal((packet()[6] ?? 0) & 0x40, 0x40, 'never to be fragmented');
});

void t.test('options are skipped, padding is ignored', async (t) => {
  const header = emptyIpHeader();
  t.equal(
    readIpv4(
      packet((bytes) => void (bytes[0] = 0x47)),
      header,
    ),
    'ok',
  );
  t.equal(header.payloadStart, 28);
  t.equal(
    readIpv4(
      packet((bytes) => void (bytes[3] = 40)),
      header,
    ),
    'ok',
  );
  t.equal(header.payloadEnd, 40);
});

void t.test('broken headers are refused with their reason', async (t) => {
  const header = emptyIpHeader();
  const rows: readonly (readonly [string, Uint8Array])[] = [
    ['malformed', new Uint8Array(19)],
    ['malformed', packet((bytes) => void (bytes[0] = 0x44))],
    ['malformed', packet((bytes) => void (bytes[0] = 0x55))],
    ['malformed', packet((bytes) => void (bytes[3] = 61))],
    ['malformed', packet((bytes) => void (bytes[3] = 19))],
    ['fragment', packet((bytes) => void (bytes[6] = 0x20))],
    ['fragment', packet((bytes) => void (bytes[7] = 1))],
  ];
  for (const [verdict, bytes] of rows) t.equal(readIpv4(bytes, header), verdict);
  const flipped = packet();
  flipped[8] = (flipped[8] ?? 0) ^ 1;
  t.equal(readIpv4(flipped, header), 'checksum');
});

void t.test('a quoted header may be cut short behind the header only', async (t) => {
  const header = emptyIpHeader();
  t.equal(readQuotedIpv4(packet(), 0, 28, header), true);
  t.match(header, { protocol: 6, payloadStart: 20, payloadEnd: 28 });
  t.equal(readQuotedIpv4(packet(), 0, 19, header), false);
  t.equal(readQuotedIpv4(packet(), 4, 60, header), false);
});
