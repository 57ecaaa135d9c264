// Runs in a network namespace of its own: a TUN device whose other end is a mirror, so that a connection to 10.9.0.2 comes back as one
// from there. Every byte crosses the device twice, split and joined on the way. Prints one line of JSON.
import { createHash } from 'node:crypto';
import { connect, createServer } from 'node:net';
import { argv } from 'node:process';
import { parsePrefix } from '#lib/ip.ts';
import { silentLogger } from '#lib/log.ts';
import { SystemInterface } from '#overlay/system/interface.ts';
import { openTun } from '#overlay/system/tun-device.ts';
import { Coalescer } from '#wire/coalescing.ts';
import { Segmenter } from '#wire/segmentation.ts';

const own = [parsePrefix('10.9.0.1/24'), parsePrefix('fd09::1/64')].filter((prefix) => prefix !== undefined);
const total = Number(argv[2]);
const target = argv[3] ?? '10.9.0.2';
const local = argv[3] === undefined ? '10.9.0.1' : 'fd09::1';

const segmenter = new Segmenter();
const piece = new Uint8Array(65_536);
let superPackets = 0;
let packets = 0;
const coalescer = new Coalescer((packet, segmentSize) => tun.write(packet, segmentSize));

function mirror(packet: Uint8Array): void {
  const six = (packet[0] ?? 0) >> 4 === 6;
  const [source, destination, length] = six ? [8, 24, 16] : [12, 16, 4];
  const from = Uint8Array.from(packet.subarray(source, source + length));
  packet.copyWithin(source, destination, destination + length);
  packet.set(from, destination);
  coalescer.add(packet);
}

const tun = openTun(
  'mirror%d',
  (packet, segmentSize) => {
    packets++;
    if (segmentSize === 0) return mirror(packet);
    superPackets++;
    if (!segmenter.begin(packet, segmentSize)) return;
    for (let i = 0; i < segmenter.count; i++) mirror(piece.subarray(0, segmenter.write(i, piece, 0)));
  },
  (read) => {
    read();
    coalescer.flush();
  },
);
const device = new SystemInterface(tun.name, silentLogger);
await device.up(1420);
await device.set(own, []);

const sent = createHash('sha256');
const received = createHash('sha256');
const server = createServer((socket) => {
  socket.on('data', (chunk) => received.update(chunk));
  socket.on('end', () => socket.end());
});
await new Promise<void>((resolve) => {
  server.listen(9000, local, () => resolve());
});
const started = process.hrtime.bigint();
const socket = connect(9000, target);
const chunk = Buffer.alloc(65_536, 'mirror');
for (let left = total; left > 0; left -= chunk.length) {
  chunk.writeUInt32LE(left, 0);
  sent.update(chunk);
  if (!socket.write(Buffer.from(chunk))) {
    await new Promise<void>((resolve) => {
      socket.once('drain', () => resolve());
    });
  }
}
await new Promise<void>((resolve) => {
  socket
    .on('close', () => resolve())
    .resume()
    .end();
});
server.close();
await tun.close();
const seconds = Number(process.hrtime.bigint() - started) / 1e9;
console.log(
  JSON.stringify({
    same: sent.digest('hex') === received.digest('hex'),
    gigabits: (total * 8) / seconds / 1e9,
    packets,
    superPackets,
    refused: tun.refused,
  }),
);
