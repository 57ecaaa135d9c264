// What the agent does with a connection from the overlay: the target and only that, limits, half-close, and reasons in its status.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { duplexPair, type Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { agentSchema } from '#agent/config.ts';
import { maxConnections, maxTargetsInStatus } from '#agent/constants.ts';
import { Forwarder } from '#agent/forward.ts';
import { hostDial } from '#lib/host-dial.ts';
import { silentLogger } from '#lib/log.ts';
import type { Dial } from '#lib/net.ts';
import { parseOrThrow } from '#lib/schema.ts';
import { asId, type PublicKey } from '#model/ids.ts';

const peer = asId<PublicKey>(Buffer.alloc(32, 1).toString('base64'));

function connection(port: number): { far: Duplex; near: Duplex; asked: Parameters<Forwarder['handle']>[0] } {
  const [far, near] = duplexPair();
  for (const stream of [far, near]) stream.on('error', () => undefined);
  return { far, near, asked: { stream: near, local: { address: '100.92.0.1', port }, remote: { address: '100.92.0.2', port: 5 }, peer } };
}

async function upstream(t: Test, answer: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    answer(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

void t.test('row X-4: granted ports lead to their target, to the default host, or nowhere', async (t) => {
  const dialled: unknown[] = [];
  const dial: Dial = async (target) => {
    dialled.push(target);
    throw Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
  };
  const targets = new Map([[80, { host: '10.0.0.5', port: 8080 }]]);
  const open = new Forwarder(targets, '127.0.0.1', { dial, log: silentLogger });
  const listed = new Forwarder(targets, undefined, { dial, log: silentLogger });
  t.same([open.wants(80), open.wants(22), listed.wants(80), listed.wants(22)], [true, true, true, false]);
  for (const port of [80, 22]) await open.handle(connection(port).asked);
  const unlisted = connection(22);
  await listed.handle(unlisted.asked);
  t.equal(unlisted.near.destroyed, true);
  t.same(dialled, [
    { host: '10.0.0.5', port: 8080 },
    { host: '127.0.0.1', port: 22 },
  ]);
  t.equal(parseOrThrow(agentSchema, { control: { url: 'https://mesh.example.com' } }).defaultHost, '127.0.0.1', 'as the reference says');
});

void t.test('a port that is led somewhere leads there until the end of it, which resets what came through', async (t) => {
  const port = await upstream(t, (socket) => void socket.pipe(socket));
  const target = { host: '127.0.0.1', port };
  const listed = new Forwarder(new Map([[80, { host: '10.0.0.5', port: 8080 }]]), undefined, { dial: hostDial, log: silentLogger });
  t.equal(listed.wants(7000), false);
  const lead = listed.lead(7000, target);
  t.ok(lead);
  t.equal(listed.lead(7000, target), undefined, 'for one at a time');
  t.equal(listed.lead(80, target), undefined, 'not where the configuration leads elsewhere');
  t.ok(listed.lead(80, { host: '10.0.0.5', port: 8080 }));
  const open = new Forwarder(new Map(), '127.0.0.1', { dial: hostDial, log: silentLogger });
  t.equal(open.lead(7000, target), undefined, 'nor where the same port of this host is meant by default');
  t.ok(open.lead(port, target));
  const { far, near, asked } = connection(7000);
  const handled = listed.handle(asked);
  far.write('hello');
  t.equal(String((await once(far, 'data'))[0]), 'hello');
  t.equal(listed.wants(7001), false, 'and no other port');
  lead?.end();
  await handled;
  t.ok(near.destroyed);
  t.equal(listed.wants(7000), false);
});

void t.test('a half-close passes through, so a request that ends with its sending gets its answer', async (t) => {
  const port = await upstream(t, (socket) => {
    let got = '';
    socket.on('data', (chunk: Buffer) => (got += chunk.toString('utf8')));
    socket.on('end', () => socket.end(`got ${got}`));
  });
  const forwarder = new Forwarder(new Map([[80, { host: '127.0.0.1', port }]]), undefined, { dial: hostDial, log: silentLogger });
  const near = Promise.withResolvers<Socket>();
  const far = connect({ port: await upstream(t, (socket) => near.resolve(socket)), host: '127.0.0.1', allowHalfOpen: true });
  const handled = forwarder.handle({ ...connection(80).asked, stream: await near.promise });
  far.end('everything');
  t.equal(await text(far), 'got everything');
  await handled;
  t.match(forwarder.status(), [{ target: `127.0.0.1:${port}`, open: 0, total: 1, reason: '' }]);
});

void t.test('why a target could not be reached is in the status until it can be', async (t) => {
  let port = await upstream(t, (socket) => socket.end('ok'));
  let failing = true;
  const dial: Dial = (target, options) =>
    failing ? Promise.reject(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })) : hostDial({ ...target, port }, options);
  const forwarder = new Forwarder(new Map([[80, { host: '127.0.0.1', port: 1 }]]), undefined, { dial, log: silentLogger });
  const first = connection(80);
  await forwarder.handle(first.asked);
  t.equal(first.near.destroyed, true, 'the caller is cut');
  t.match(forwarder.status(), [{ open: 0, total: 1, reason: /ECONNREFUSED/ }]);
  failing = false;
  const second = connection(80);
  const handled = forwarder.handle(second.asked);
  second.far.end();
  t.equal(await text(second.far), 'ok');
  await handled;
  t.match(forwarder.status(), [{ open: 0, total: 2, reason: '' }]);
  port = 0;
});

void t.test('a caller that goes away ends the dial; close ends what is open; connections and status are bounded', async (t) => {
  const aborted = Promise.withResolvers<void>();
  const hanging: Dial = (_target, { signal }) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        aborted.resolve();
        reject(signal.reason);
      });
    });
  const forwarder = new Forwarder(new Map(), '127.0.0.1', { dial: hanging, log: silentLogger });
  const gone = connection(80);
  const handled = forwarder.handle(gone.asked);
  gone.near.destroy();
  await Promise.all([aborted.promise, handled]);

  const open = Array.from({ length: maxConnections }, (_, index) => connection(1 + index));
  const all = Promise.all(open.map(({ asked }) => forwarder.handle(asked)));
  t.equal(forwarder.wants(80), false, 'full');
  t.equal(forwarder.status().length, maxTargetsInStatus);
  forwarder.close();
  await all;
  t.equal(forwarder.wants(80), true);
});
