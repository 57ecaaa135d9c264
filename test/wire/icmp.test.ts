// ICMP of both families: what types mean, replies and errors with right checksums.
import t from 'tap';
import { icmpChecksumHolds, icmpKind, icmpMtu, writeEchoReply, writeIcmpError } from '#wire/icmp.ts';

void t.test('types and codes', async (t) => {
  const rows = [
    [4, 8, 0, 'echo-request'],
    [4, 0, 0, 'other'],
    [4, 3, 0, 'net-unreachable'],
    [4, 3, 1, 'host-unreachable'],
    [4, 3, 3, 'port-unreachable'],
    [4, 3, 4, 'too-big'],
    [4, 3, 13, 'host-unreachable'],
    [4, 11, 0, 'host-unreachable'],
    [4, 5, 0, 'other'],
    [6, 128, 0, 'echo-request'],
    [6, 129, 0, 'other'],
    [6, 1, 0, 'net-unreachable'],
    [6, 1, 3, 'host-unreachable'],
    [6, 1, 4, 'port-unreachable'],
    [6, 2, 0, 'too-big'],
    [6, 135, 0, 'other'],
  ] as const;
  for (const [family, type, code, kind] of rows) t.equal(icmpKind(family, type, code), kind, `IPv${family} ${type}/${code}`);
});

void t.test('replies and errors carry right checksums', async (t) => {
  for (const [family, reply, error] of [
    [4, [0, 0], [3, 3]],
    [6, [129, 0], [1, 4]],
  ] as const) {
    const pseudo = family === 4 ? 0 : 12_345;
    const bytes = new Uint8Array(40).fill(9);
    writeEchoReply(bytes, 4, 40, family, pseudo);
    t.same([...bytes.subarray(4, 6)], reply);
    t.equal(bytes[8], 9, 'the identifier stays');
    t.equal(icmpChecksumHolds(bytes, 4, 40, pseudo), true);
    t.equal(icmpChecksumHolds(bytes, 4, 40, pseudo + 1), false);
    t.equal(icmpChecksumHolds(bytes, 4, 11, pseudo), false, 'too short');
    writeIcmpError(bytes, 4, 40, family, 'port', 0, 0, pseudo);
    t.same([...bytes.subarray(4, 6)], error);
    t.same([...bytes.subarray(8, 12)], [0, 0, 0, 0]);
    t.equal(icmpChecksumHolds(bytes, 4, 40, pseudo), true);
    writeIcmpError(bytes, 4, 40, family, 'protocol', 6, 0, pseudo);
    t.same([...bytes.subarray(4, 6)], family === 4 ? [3, 2] : [4, 1]);
    t.same([...bytes.subarray(8, 12)], family === 4 ? [0, 0, 0, 0] : [0, 0, 0, 6], 'where in the packet');
    writeIcmpError(bytes, 4, 40, 6, 'parameter', 300, 2, pseudo);
    t.same([...bytes.subarray(4, 6), ...bytes.subarray(8, 12)], [4, 2, 0, 0, 1, 44]);
  }
});

void t.test('the MTU that "too big" reports', async (t) => {
  const bytes = new Uint8Array([2, 0, 0, 0, 0x80, 0, 0x05, 0x00]);
  t.equal(icmpMtu(4, bytes, 0), 1280);
  t.equal(icmpMtu(6, bytes, 0), 0x80000500);
});
