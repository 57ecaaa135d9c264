// TCP headers and options: what is written is read, broken lists end quietly, wrong segments are refused.
import t from 'tap';
import { FLAG, emptyTcpSegment, readTcp, sackOptionLength, sealTcp, writeSack, writeSynOptions, writeTcp, writeTimestamps } from '#wire/tcp.ts';

function segment(options: readonly number[], data = 3): Uint8Array {
  const header = 20 + Math.ceil(options.length / 4) * 4;
  const bytes = new Uint8Array(header + data);
  writeTcp(bytes, 0, header, 1234, 80, -5, 7, FLAG.ack, 600);
  bytes.set(options, 20);
  sealTcp(bytes, 0, bytes.length, 99);
  return bytes;
}

void t.test('a header with every option of a SYN', async (t) => {
  const bytes = new Uint8Array(60);
  const end = writeSynOptions(bytes, 20, 1240, 5, true, true, 11, -12);
  writeTcp(bytes, 0, end, 4000, 443, 0x7fffffff, -1, FLAG.syn | FLAG.ack, 65_535);
  sealTcp(bytes, 0, end, 1000);
  const into = emptyTcpSegment();
  t.equal(readTcp(bytes, 0, end, 1000, into), true);
  t.match(into, { sourcePort: 4000, destinationPort: 443, seq: 0x7fffffff, ack: -1, flags: 18, window: 65_535, mss: 1240, windowScale: 5 });
  t.match(into, { sackPermitted: true, hasTimestamps: true, tsValue: 11, tsEcho: -12, sackBlocks: 0, dataStart: end, dataEnd: end });
});

void t.test('timestamps and SACK blocks', async (t) => {
  const bytes = new Uint8Array(80);
  let end = writeTimestamps(bytes, 20, 1, 2);
  end = writeSack(bytes, end, Int32Array.of(10, 20, -30, -20, 50, 60), 3);
  t.equal(end, 20 + 12 + sackOptionLength(3));
  writeTcp(bytes, 0, end, 1, 2, 3, 4, FLAG.ack, 5);
  sealTcp(bytes, 0, end + 1, 0);
  const into = emptyTcpSegment();
  t.equal(readTcp(bytes, 0, end + 1, 0, into), true);
  t.equal(into.sackBlocks, 3);
  t.same([...into.sackEdges.subarray(0, 6)], [10, 20, -30, -20, 50, 60]);
  t.equal(into.dataEnd - into.dataStart, 1);
});

void t.test('unknown, odd and broken options do no harm', async (t) => {
  const into = emptyTcpSegment();
  const rows: readonly (readonly [string, readonly number[], object])[] = [
    ['unknown kind', [253, 4, 0, 0, 2, 4, 1, 0], { mss: 256 }],
    ['end of list', [0, 2, 4, 1, 0], { mss: -1 }],
    ['length 0', [2, 0, 4, 1], { mss: -1 }],
    ['length 1', [2, 1, 4, 1], { mss: -1 }],
    ['beyond the header', [1, 1, 2, 4], { mss: -1 }],
    ['kind without length', [1, 1, 1, 2], { mss: -1 }],
    ['wrong length', [2, 3, 1, 1, 3, 3, 9, 1], { mss: -1, windowScale: 9 }],
    ['scale too large', [3, 3, 40, 1], { windowScale: 14 }],
    ['SACK of an odd length', [5, 9, 0, 0, 0, 0, 0, 0, 0], { sackBlocks: 0 }],
  ];
  for (const [name, options, expected] of rows) {
    const bytes = segment(options);
    t.equal(readTcp(bytes, 0, bytes.length, 99, into), true, name);
    t.match(into, expected, name);
  }
});

void t.test('short headers, wrong offsets, wrong checksums and port 0 are refused', async (t) => {
  const into = emptyTcpSegment();
  const good = segment([]);
  t.equal(readTcp(good, 0, good.length, 99, into), true);
  t.equal(readTcp(good, 0, good.length, 98, into), false, 'other addresses');
  t.equal(readTcp(good, 0, 19, 99, into), false);
  for (let i = 0; i < good.length; i++) {
    const bad = good.slice();
    bad[i] = (bad[i] ?? 0) ^ 0x10;
    t.equal(readTcp(bad, 0, bad.length, 99, into), false);
  }
  for (const offset of [4, 15]) {
    const bad = segment([]);
    bad[12] = offset << 4;
    bad[16] = 0;
    bad[17] = 0;
    sealTcp(bad, 0, bad.length, 99);
    t.equal(readTcp(bad, 0, bad.length, 99, into), false);
  }
  const zero = new Uint8Array(20);
  writeTcp(zero, 0, 20, 0, 80, 0, 0, FLAG.syn, 0);
  sealTcp(zero, 0, 20, 0);
  t.equal(readTcp(zero, 0, 20, 0, into), false);
});
