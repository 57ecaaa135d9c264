// The gateway's public stream ports under attack: datagrams from 100,000 addresses (attack row D-10), and PROXY headers of strangers and of load
// balancers (row H-14) at a TCP service.
import { spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { noRestrictions, type ServiceMapping } from '#model/service.ts';
import { UDP_FLOWS } from '#publish/constants.ts';
import { writeProxyHeader } from '#wire/proxy-protocol.ts';
import { listenTcp, mapping, path, readAll } from '../publish/harness.ts';
import { freePort } from '../support/mesh.ts';
import { until } from '../support/until.ts';
import { startGate } from './stream-gate.ts';

const flood = `
import socket, struct, sys
port, count = int(sys.argv[1]), int(sys.argv[2])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for i in range(count):
    source = struct.pack('!I', 0x7f100000 + i)
    datagram = struct.pack('!HHHH', 1024 + i % 60000, port, 12, 0) + b'junk'
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 0, 0, 0, 64, 17, 0, source, socket.inet_aton('127.0.0.1'))
    raw.sendto(head + datagram, ('127.0.0.1', 0))
`;

const addresses = 100_000;
const whyNot =
  process.getuid?.() !== 0 ? 'needs root, for raw sockets' : spawnSync('python3', ['--version']).status === 0 ? undefined : 'needs python3';

for (const accelerators of ['auto', 'off'] as const) {
  void t.test(
    `row D-10: 100,000 invented addresses take bounded memory and nothing from who is in use (accelerators ${accelerators})`,
    { timeout: 120_000, ...(whyNot === undefined ? {} : { skip: whyNot }) },
    async (t) => {
      const target = createSocket('udp4');
      // Answers those who have something to say, as a service would.
      target.on('message', (bytes, from) => {
        if (bytes.toString() !== 'junk') target.send(bytes, from.port, from.address);
      });
      target.bind(0, '127.0.0.1');
      await once(target, 'listening');
      t.teardown(() => void target.close());
      const port = await freePort();
      const gate = await startGate(t, [udpService('game.test', target.address().port, port)], accelerators);
      const client = createSocket('udp4');
      t.teardown(() => void client.close());
      const ping = async (text: string): Promise<void> => {
        // The flood may push it out on its way, as any network may.
        const again = setInterval(() => client.send(text, port, '127.0.0.1'), 50);
        for (let heard = ''; heard !== text;) {
          const [bytes] = (await once(client, 'message')) as [Buffer];
          heard = bytes.toString();
        }
        clearInterval(again);
      };
      await ping('before');
      const before = process.memoryUsage().rss;
      // In parts, so that the socket's buffer loses little of it, and somebody plays meanwhile.
      const python = spawnFlood(port);
      await ping('during');
      await python;
      await until('the flood has been looked at', () => Promise.resolve(gate.stats().udpFlows === UDP_FLOWS || gate.entries.length > 0), 20_000);
      await ping('after');
      const growth = (process.memoryUsage().rss - before) / 1e6;
      t.comment(`figure: ${addresses} UDP addresses grew the process by ${growth.toFixed(0)} MB (accelerators ${accelerators})`);
      t.ok(gate.stats().udpFlows <= UDP_FLOWS);
      t.ok(growth < 150, `${growth} MB`);
      t.notOk(
        gate.entries.some(({ sourceIp, reason }) => sourceIp === '127.0.0.1' && reason !== 'idle'),
        'who is in use was not pushed out',
      );
    },
  );
}

async function spawnFlood(port: number): Promise<void> {
  const child = spawn('python3', ['-c', flood, String(port), String(addresses)], { stdio: ['ignore', 'inherit', 'inherit'] });
  await once(child, 'close');
}

function udpService(name: string, target: number, port: number, change: Partial<ServiceMapping> = {}): ServiceMapping {
  return mapping(name, [path(target, { directUpstream: true })], { mode: 'udp', listenPort: port, ...change });
}

void t.test('row D-10: who may not pass is told nothing, so nothing is amplified', async (t) => {
  const target = createSocket('udp4');
  let arrived = 0;
  target.on('message', () => arrived++);
  target.bind(0, '127.0.0.1');
  await once(target, 'listening');
  t.teardown(() => void target.close());
  const port = await freePort();
  const restrictions = { ...noRestrictions, allowedCidrs: ['10.0.0.0/8'] };
  const gate = await startGate(t, [udpService('game.test', target.address().port, port, { restrictions })], 'auto');
  const client = createSocket('udp4');
  t.teardown(() => void client.close());
  client.on('message', () => t.fail('something was said'));
  await until('all have been dropped', async () => {
    for (const size of [0, 1, 1_400]) client.send(Buffer.alloc(size), port, '127.0.0.1');
    return Promise.resolve(gate.stats().udpDropped > 30);
  });
  t.equal(arrived, 0);
  t.equal(gate.stats().udpFlows, 0);
});

void t.test('row H-14: at a TCP service a stranger’s PROXY header is only bytes, and a load balancer’s has to be whole and in time', async (t) => {
  const received: string[] = [];
  const target = await listenTcp((socket) => {
    socket.removeAllListeners('end');
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    socket.on('end', () => {
      received.push(text);
      socket.end('ok');
    });
  });
  t.teardown(() => target.close());
  const service = (port: number): ServiceMapping =>
    mapping('db.test', [path(target.port, { directUpstream: true })], { mode: 'tcp', listenPort: port });
  const ask = async (port: number, bytes: Buffer | string): Promise<string> => {
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    socket.on('error', () => undefined);
    const all = readAll(socket);
    socket.end(bytes);
    return all.catch(() => '');
  };
  const forged = writeProxyHeader(1, { address: '9.9.9.9', port: 9 }, { address: '127.0.0.1', port: 1 });

  const open = await freePort();
  const strangers = await startGate(t, [service(open)], 'auto');
  await until('it listens', async () => (await ask(open, 'x')) === 'ok');
  t.equal(await ask(open, Buffer.concat([forged, Buffer.from('SELECT 1')])), 'ok');
  t.equal(received.at(-1), `${Buffer.from(forged).toString('latin1')}SELECT 1`);
  t.ok(strangers.entries.every(({ sourceIp }) => sourceIp === '127.0.0.1'));

  const behind = await freePort();
  const balanced = await startGate(t, [service(behind)], 'auto', ['127.0.0.0/8']);
  await until('it listens', async () => (await ask(behind, Buffer.concat([forged, Buffer.from('x')]))) === 'ok');
  t.match(balanced.entries.at(-1), { sourceIp: '9.9.9.9' });
  const count = received.length;
  const v2 = Buffer.from(writeProxyHeader(2, { address: '9.9.9.9', port: 9 }, { address: '127.0.0.1', port: 1 }));
  const long = Buffer.from(v2);
  long.writeUInt16BE(0xffff, 14);
  const wrong: readonly (readonly [string, Buffer])[] = [
    ['none', Buffer.from('SELECT 1; SELECT 2; SELECT 3; SELECT 4')],
    ['cut', v2.subarray(0, v2.length - 1)],
    ['v1 cut', Buffer.from('PROXY TCP4 9.9.9.9 9.9')],
    ['v1 without an end', Buffer.from(`PROXY TCP4 ${'9'.repeat(200)}`)],
    ['longer than what follows', long],
    ['another version', Buffer.concat([v2.subarray(0, 12), Buffer.of(0x31), v2.subarray(13)])],
    ['UDP', Buffer.concat([v2.subarray(0, 13), Buffer.of(0x12), v2.subarray(14)])],
    ['an address that is none', Buffer.from('PROXY TCP4 999.9.9.9 1.1.1.1 1 1\r\nx')],
  ];
  for (const [what, bytes] of wrong) t.equal(await ask(behind, bytes), '', what);
  t.equal(received.length, count, 'nothing of it reached the target');
});
