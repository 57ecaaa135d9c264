// The TUN device and its header: what the kernel sends comes out whole, what is written comes in, with segmentation both ways.
import { spawnSync } from 'node:child_process';
import { endianness } from 'node:os';
import t from 'tap';
import { pseudoSum, sumWords, finishChecksum } from '#wire/checksum.ts';
import { writeIpv4 } from '#wire/ipv4.ts';
import { readVnetHeader, VNET_HEADER, writeVnetHeader } from '#overlay/system/vnet-header.ts';
import { FLAG, writeTcp } from '#wire/tcp.ts';
import { silentLogger } from '#lib/log.ts';
import { SystemInterface } from '#overlay/system/interface.ts';
import { parsePrefix } from '#lib/ip.ts';

const script = new URL('./tun-mirror.ts', import.meta.url).pathname;
const canMake = spawnSync('unshare', ['-n', 'test', '-w', '/dev/net/tun']).status === 0;
const why = canMake ? undefined : 'needs Linux, root and /dev/net/tun';

for (const [family, target] of [
  ['IPv4', undefined],
  ['IPv6', 'fd09::2'],
] as const) {
  t.test(`${family}: a transfer crosses the device twice unharmed, in super-packets`, async (t) => {
    if (why !== undefined) {
      t.plan(0, why);
      return;
    }
    const command = `ip link set lo up && exec ${process.execPath} ${script} 64000000 ${target ?? ''}`;
    const child = spawnSync('unshare', ['-n', 'sh', '-c', command], { encoding: 'utf8', timeout: 60_000 });
    t.equal(child.stderr, '');
    const result: unknown = JSON.parse(child.stdout);
    if (typeof result !== 'object' || result === null) {
      t.fail(child.stdout);
      return;
    }
    const { same, refused, superPackets, packets, gigabits } = result as Record<string, unknown>;
    t.equal(same, true, 'the same bytes');
    t.equal(refused, 0);
    t.ok(Number(superPackets) * 2 > Number(packets) / 2, 'most of it in super-packets');
    t.comment(`figure: ${family} ${Number(gigabits).toFixed(2)} Gb/s through the device twice, hashed twice`);
  });
}

function put16(bytes: Buffer, at: number, value: number): void {
  if (endianness() === 'LE') bytes.writeUInt16LE(value, at);
  else bytes.writeUInt16BE(value, at);
}

function tcpPacket(payload: number): Buffer {
  const packet = Buffer.alloc(40 + payload, 3);
  const [source, destination] = [Buffer.from([10, 0, 0, 1]), Buffer.from([10, 0, 0, 2])];
  writeTcp(packet, 20, 20, 1000, 2000, 1, 2, FLAG.ack, 500);
  writeIpv4(packet, packet.length, 6, source, destination);
  return packet;
}

t.test('a checksum that the kernel left to us is completed', async (t) => {
  const packet = tcpPacket(101);
  const pseudo = pseudoSum(packet, 12, packet, 16, 4, 6) + 121;
  packet.writeUInt16BE(~finishChecksum(pseudo) & 0xffff, 36);
  const frame = Buffer.concat([Buffer.alloc(VNET_HEADER), packet]);
  frame[0] = 1;
  put16(frame, 6, 20);
  put16(frame, 8, 16);
  t.equal(readVnetHeader(frame), 0);
  t.equal(finishChecksum(sumWords(frame, VNET_HEADER + 20, frame.length, pseudo)), 0);
});

t.test('a header that points outside its packet, or asks for what we do not do, is refused', async (t) => {
  const frame = Buffer.concat([Buffer.alloc(VNET_HEADER), tcpPacket(10)]);
  frame[0] = 1;
  for (const [start, offset] of [
    [60, 16],
    [65_535, 65_535],
    [20, 29],
  ] as const) {
    put16(frame, 6, start);
    put16(frame, 8, offset);
    t.equal(readVnetHeader(frame), -1, `${start} + ${offset}`);
  }
  frame[1] = 3;
  t.equal(readVnetHeader(frame), -1, 'UDP fragmentation');
  frame[1] = 1;
  put16(frame, 4, 0);
  t.equal(readVnetHeader(frame), -1, 'segments of nothing');
  put16(frame, 4, 1380);
  t.equal(readVnetHeader(frame), 1380);
  frame[1] = 0x81;
  t.equal(readVnetHeader(frame), 1380, 'with ECN');
  t.equal(readVnetHeader(frame.subarray(0, 12)), -1, 'shorter than any packet');
});

t.test('a joined packet is described so that the kernel can split it', async (t) => {
  const packet = tcpPacket(3000);
  const header = Buffer.alloc(VNET_HEADER, 0xff);
  writeVnetHeader(header, packet, 1000);
  const read = (at: number): number => (endianness() === 'LE' ? header.readUInt16LE(at) : header.readUInt16BE(at));
  t.same([header[0], header[1], read(2), read(4), read(6), read(8)], [1, 1, 40, 1000, 20, 16]);
  const pseudo = pseudoSum(packet, 12, packet, 16, 4, 6) + 3020;
  t.equal(packet.readUInt16BE(36), ~finishChecksum(pseudo) & 0xffff);
  writeVnetHeader(header, packet, 0);
  t.same(header, Buffer.alloc(VNET_HEADER), 'a plain packet is left to the kernel to check');
});

t.test('the interface gets what differs: the old goes before the new, and never a default route', async (t) => {
  const commands: string[] = [];
  const device = new SystemInterface('x0', silentLogger, async (args) => void commands.push(args.join(' ')));
  const one = parsePrefix('100.90.0.5/16');
  const six = parsePrefix('fd00::5/64');
  const two = parsePrefix('100.91.0.5/16');
  if (one === undefined || two === undefined || six === undefined) {
    t.fail('not prefixes');
    return;
  }
  const routes = ['100.90.7.7/32', '10.1.0.0/16', '0.0.0.0/0', 'fd00::9/128'].map(parsePrefix).filter((route) => route !== undefined);
  await device.set([one, six], routes);
  await device.set([one, six], routes);
  t.same(commands.splice(0), [
    '-4 route replace 10.1.0.0/16 dev x0',
    '-4 addr replace 100.90.0.5/16 dev x0',
    '-6 addr replace fd00::5/64 dev x0 nodad',
  ]);
  await device.set([two], []);
  t.same(commands, [
    '-4 route del 10.1.0.0/16 dev x0',
    '-4 addr del 100.90.0.5/16 dev x0',
    '-6 addr del fd00::5/64 dev x0',
    '-4 addr replace 100.91.0.5/16 dev x0',
  ]);
});
