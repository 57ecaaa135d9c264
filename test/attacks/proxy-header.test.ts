// Attack row H-14: the header that says whose a connection is. Only who is trusted says it, only exactly one header is taken, and nothing else comes through.
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { parseIp, parsePrefix } from '#lib/ip.ts';
import { silentLogger } from '#lib/log.ts';
import type { Ends } from '#lib/net.ts';
import { PROXY_V2_BYTES, readProxyHeader, writeProxyHeader, type ProxyRead } from '#wire/proxy-protocol.ts';
import { ProxyDoor } from '../../src/gateway/listen/proxy-door.ts';
import { listenTcp } from '../../src/gateway/listen/tcp.ts';
import { mapping, path, startEcho, startFixture, type Fixture } from '../publish/harness.ts';
import { clientHello, Seeded } from '../support/hostile.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { pick, rounds, seed } from './harness.ts';

const client = { address: '203.0.113.7', port: 4_321 };
const site = { address: '198.51.100.1', port: 443 };
const signature = '0d0a0d0a000d0a515549540a';

/** A header, right or wrong in one of the ways that there are. */
function draw(random: Seeded): Buffer {
  const text = (line: string): Buffer => Buffer.from(`${line}\r\n`, 'latin1');
  const binary = (command: number, kind: number, size: number, body: Buffer): Buffer =>
    Buffer.concat([Buffer.from(signature, 'hex'), Buffer.from([command, kind, size >> 8, size & 255]), body]);
  const addresses = Buffer.from([203, 0, 113, 7, 198, 51, 100, 1, 16, 225, 1, 187]);
  const vector = (length: number, said = length): Buffer => Buffer.concat([Buffer.from([4, said >> 8, said & 255]), Buffer.alloc(length)]);
  return pick(random, [
    () => writeProxyHeader(pick(random, [1, 2] as const), client, site),
    () => writeProxyHeader(pick(random, [1, 2] as const), { address: '2001:db8::7', port: 1 }, { address: '2001:db8::1', port: 443 }),
    () => writeProxyHeader(2, client, site).subarray(0, random.below(28)),
    () => random.mutate(writeProxyHeader(pick(random, [1, 2] as const), client, site)),
    () =>
      text(
        `PROXY ${pick(random, ['UNKNOWN', 'TCP4', 'TCP6', 'UDP4', 'tcp4', ''])} ${pick(random, ['203.0.113.7', '203.0.113.07', '::1', '203.0.113.7 ', '1', 'a.test', '256.0.0.1', '::ffff:1.2.3.4', '%eth0'])} 198.51.100.1 ${pick(random, ['4321', '04321', '65536', '-1', '+1', '1e3', ''])} 443`,
      ),
    () =>
      text(`PROXY TCP4 203.0.113.7 198.51.100.1 4321 443${pick(random, [' ', '\r', '\n', '\0', ' 1', '\r\nPROXY TCP4 6.6.6.6 198.51.100.1 1 443'])}`),
    () => Buffer.from(`PROXY ${'x'.repeat(200)}`),
    () =>
      binary(
        pick(random, [0x20, 0x21, 0x11, 0x22, 0x01, 0xff]),
        pick(random, [0x00, 0x11, 0x12, 0x21, 0x31, 0xff]),
        pick(random, [0, 11, 12, 13, 36, PROXY_V2_BYTES, 65_535]),
        addresses,
      ),
    () => binary(0x21, 0x11, 12 + 3 + 5, Buffer.concat([addresses, vector(5, pick(random, [4, 5, 6, 65_535]))])),
    () => binary(0x21, 0x11, 12 + 2_000, Buffer.concat([addresses, vector(1_997)])),
    () => random.bytes(random.below(60)),
  ])();
}

void t.test('H-14: whatever the bytes, a header is read whole, refused or awaited, and a cut changes nothing', async (t) => {
  const random = new Seeded(seed);
  let read = 0;
  for (let i = 0; i < rounds(3_000); i++) {
    const bytes = Buffer.concat([draw(random), random.below(2) === 0 ? Buffer.alloc(0) : random.bytes(random.below(40))]);
    const whole = readProxyHeader(bytes);
    if (whole.kind === 'header') {
      read++;
      if (whole.length > bytes.length || whole.length > PROXY_V2_BYTES) t.fail(`length ${whole.length} of ${bytes.length}`);
      if (whole.header.kind === 'proxied') {
        const { source, destination, transport } = whole.header;
        for (const { address, port } of [source, destination])
          if (parseIp(address) === undefined || port < 0 || port > 65_535) t.fail(`${address} ${port}`);
        // What it says, written again, says the same.
        const again = readProxyHeader(writeProxyHeader(2, source, destination));
        if (transport === 'tcp' && JSON.stringify(again) !== JSON.stringify({ ...whole, length: (again as { length?: number }).length }))
          t.fail(bytes.toString('hex'));
      }
    }
    // Awaited until it is there; never another header on the way, and never a change of mind.
    let before: ProxyRead | undefined;
    for (let end = 0; end <= bytes.length; end++) {
      const now = readProxyHeader(bytes.subarray(0, end));
      if (before !== undefined && before.kind !== 'more' && JSON.stringify(before) !== JSON.stringify(now)) {
        t.fail(`${bytes.toString('hex')} at ${end}: ${JSON.stringify(before)} then ${JSON.stringify(now)}`);
        break;
      }
      before = now;
    }
  }
  t.ok(read > 100, `${read} were read`);
});

/** A gateway's door with its publisher behind; `from` says whom the connection seems to come from. */
async function start(t: Test, trusted: readonly string[]): Promise<{ port: number; fixture: Fixture; entered: Ends[]; received: readonly string[] }> {
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)])]);
  const clock = new ManualClock();
  const door = new ProxyDoor({ trusted: trusted.map(parsePrefix).filter((prefix) => prefix !== undefined), clock, log: silentLogger });
  const entered: Ends[] = [];
  const listener = await listenTcp({ host: '127.0.0.1', port: 0 }, (socket, remote) => {
    door.admit(socket, { remote, local: { address: '127.0.0.1', port: 443 } }, (ends) => {
      entered.push(ends);
      fixture.publisher.handleConnection(socket, ends);
      socket.resume();
    });
  });
  t.teardown(async () => {
    await Promise.all([door.close(), fixture.close(), echo.close()]);
    await listener.close();
  });
  return { port: listener.port, fixture, entered, received: echo.received };
}

/** Sends bytes and FIN; what came back. */
function send(port: number, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.end(bytes));
    const chunks: Buffer[] = [];
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.once('close', () => resolve(Buffer.concat(chunks)));
  });
}

void t.test('H-14: a stranger’s header is never honoured, a load balancer’s only if it is exactly one', async (t) => {
  const random = new Seeded(seed);
  const hello = await clientHello('a.test');
  const stranger = await start(t, ['10.0.0.0/8']);
  const nobody = await start(t, []);
  for (let i = 0; i < rounds(80); i++) {
    const header = draw(random);
    // An empty header is none, and a connection without one is a stranger's right.
    if (header.length === 0) continue;
    for (const { port, entered, fixture } of [stranger, nobody]) {
      entered.length = 0;
      const answer = await send(port, Buffer.concat([header, hello]));
      t.equal(answer.length, 0, header.toString('hex'));
      t.same(
        entered.map(({ remote }) => remote.address),
        ['127.0.0.1'],
        'it is who it is',
      );
      t.equal(fixture.publisher.stats().streams, 0);
    }
  }
  const balancer = await start(t, ['127.0.0.0/8']);
  let through = 0;
  for (let i = 0; i < rounds(150); i++) {
    const header = draw(random);
    const read = readProxyHeader(Buffer.concat([header, hello]));
    balancer.entered.length = 0;
    const answer = await send(balancer.port, Buffer.concat([header, hello]));
    const { entered } = balancer;
    if (read.kind !== 'header' || (read.header.kind === 'proxied' && read.header.transport !== 'tcp')) {
      t.same([answer.length, entered.length], [0, 0], header.toString('hex'));
    } else if (entered.length > 0) {
      through++;
      const said = read.header.kind === 'proxied' ? read.header.source.address : '127.0.0.1';
      t.equal(entered[0]?.remote.address, said);
    }
  }
  t.equal(balancer.received.length, 0);
  t.ok(through > 10, `${through} came through`);
});
