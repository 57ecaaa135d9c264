// Services of many ports through the whole product: each port leads to its own target port, a port that somebody holds is told with who it is,
// and all of them close with the service.
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
import t, { type Test } from 'tap';
import { call, type Json, until } from '../support/parts.ts';
import { metaOf, publishStream, startStreamSite, streamBody } from '../support/stream-site.ts';

let next = 20_000 + (process.pid % 400) * 25;

/** So many free ports in a row, below those that systems give away by themselves. */
async function freeRange(count: number): Promise<number> {
  for (;;) {
    const first = next;
    next += count;
    const servers = await Promise.all(Array.from({ length: count }, (_, i) => listen(first + i)));
    const open = servers.filter((server) => server !== undefined);
    await Promise.all(open.map((server) => new Promise((done) => void server.close(done))));
    if (open.length === count) return first;
  }
}

function listen(port: number, answer?: string): Promise<Server | undefined> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(answer ?? '');
  });
  return new Promise((done) => {
    server.once('error', () => done(undefined));
    server.listen(port, '127.0.0.1', () => done(server));
  });
}

async function targets(t: Test, first: number, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const server = await listen(first + i, `target ${i}`);
    t.teardown(() => server?.close());
  }
}

async function ask(port: number): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  let text = '';
  try {
    for await (const chunk of socket) text += String(chunk);
    return text;
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}

void t.test('TCP ports of a range lead to as many others; who holds one is told, and they close together', { timeout: 120_000 }, async (t) => {
  const site = await startStreamSite(t);
  const count = 4;
  const inside = await freeRange(count + 1);
  await targets(t, inside, count + 1);
  const first = await freeRange(count + 2);
  const holder = await listen(first + 2);
  const body = streamBody(site, 'many', {
    mode: 'tcp',
    ports: [inside],
    change: {
      stream: {
        port_ranges: [
          { start: first, end: first + count - 1 },
          { start: first + count + 1, end: first + count + 1, target: inside + count },
        ],
      },
    },
  });
  const id = await publishStream(site, body, 'error');
  const reason = String((await metaOf(site, id))['status_reason']);
  t.match(reason, new RegExp(`^1 of ${count + 1} ports are not open: ${first + 2}: .*in use`));
  t.match(reason, new RegExp(`process ${process.pid}`), 'who has it');
  await until('the others are open meanwhile', async () => (await ask(first)) === 'target 0', 20_000);
  await new Promise((done) => void holder?.close(done));
  await until('it is active', async () => (await metaOf(site, id))['status'] === 'active', 20_000);
  const answers = await Promise.all(Array.from({ length: count }, (_, i) => ask(first + i)));
  t.same(answers, ['target 0', 'target 1', 'target 2', 'target 3']);
  t.equal(await ask(first + count), 'ECONNREFUSED', 'between the ranges');
  t.equal(await ask(first + count + 1), `target ${count}`);
  const taken = call(
    site.plane,
    'POST',
    '/api/reverse-proxies/services',
    streamBody(site, 'other', { mode: 'tcp', ports: [1], listenPort: first + 1 }),
  );
  await t.rejects(taken, { detail: /many/ } as unknown as Error, 'another service is told whose it is');
  await call(site.plane, 'DELETE', `/api/reverse-proxies/services/${id}`);
  for (const port of [first, first + 3, first + count + 1])
    await until(`${port} is closed`, async () => (await ask(port)) === 'ECONNREFUSED', 10_000);
});

void t.test('UDP ports of a range lead to the same ports inside', { timeout: 120_000 }, async (t) => {
  const site = await startStreamSite(t);
  const count = 3;
  const inside = await freeRange(count);
  for (let i = 0; i < count; i++) {
    const target = createSocket('udp4');
    target.on('message', (bytes, from) => target.send(`${bytes.toString()} at ${i}`, from.port, from.address));
    target.bind(inside + i, '127.0.0.1');
    await once(target, 'listening');
    t.teardown(() => target.close());
  }
  const first = await freeRange(count);
  const body = streamBody(site, 'game', {
    mode: 'udp',
    ports: [inside],
    change: { stream: { port_ranges: [{ start: first, end: first + count - 1 }] } },
  });
  await publishStream(site, body);
  const client = createSocket('udp4');
  const answers = new Set<string>();
  client.on('message', (bytes) => void answers.add(bytes.toString()));
  await sendUntil(
    client,
    () => answers.size === count,
    Array.from({ length: count }, (_, i) => [`n${i}`, first + i] as const),
  );
  t.same([...answers].toSorted(), ['n0 at 0', 'n1 at 1', 'n2 at 2']);
  t.match(await site.gateway.status(), { streams: { udpFlows: count } as Json });
  client.close();
});

/** A datagram may be lost, as when the way is only being made. */
async function sendUntil(client: UdpSocket, done: () => boolean, datagrams: readonly (readonly [string, number])[]): Promise<void> {
  await until(
    'all have answered',
    () => {
      for (const [text, port] of datagrams) client.send(text, port, '127.0.0.1');
      return Promise.resolve(done());
    },
    20_000,
  );
}
