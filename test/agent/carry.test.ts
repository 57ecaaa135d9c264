// What an agent does with what it carries for peers: connections to where they were sent, UDP by sockets of the host, names by its resolver.
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { duplexPair } from 'node:stream';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { maxConnections, maxSystemLookups, systemLookupTtlSeconds } from '#agent/constants.ts';
import { Forwarder } from '#agent/forward.ts';
import { type NameSystem, resolveForPeers } from '#agent/host-names.ts';
import { maxWaitingDatagrams, openHostUdp } from '#lib/host-udp.ts';
import { hostDial } from '#lib/host-dial.ts';
import { silentLogger } from '#lib/log.ts';
import { asId, type PublicKey } from '#model/ids.ts';

const peer = asId<PublicKey>(Buffer.alloc(32, 1).toString('base64'));
const fail = (code: string): Promise<never> => Promise.reject(Object.assign(new Error(code), { code }));

async function udpServer(t: Test): Promise<{ readonly socket: UdpSocket; readonly port: number }> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.teardown(() => socket.close());
  return { socket, port: socket.address().port };
}

/** Lets the event loop turn until it holds; the test's own limit is the deadline. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((done) => setImmediate(done));
}

void t.test('a carried connection goes to the address that it was sent to, whatever the targets say', async (t) => {
  const server = createServer((socket) => socket.end('behind'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const forwarder = new Forwarder(new Map([[port, { host: '203.0.113.1', port: 1 }]]), undefined, { dial: hostDial, log: silentLogger });
  const upstream = await forwarder.dialCarried({ host: '127.0.0.1', port }, { signal: AbortSignal.timeout(5_000) });
  const [far, near] = duplexPair();
  const carried = forwarder.carry(
    { stream: near, local: { address: '127.0.0.1', port }, remote: { address: '100.92.0.2', port: 5 }, peer },
    upstream,
  );
  far.end();
  t.equal(await text(far), 'behind');
  await carried;
  t.match(forwarder.status(), [{ target: `127.0.0.1:${port}`, open: 0, total: 1, reason: '' }]);
});

void t.test('a destination that refuses is in the status, with the reason', async (t) => {
  const forwarder = new Forwarder(new Map(), undefined, { dial: () => fail('ECONNREFUSED'), log: silentLogger });
  await t.rejects(forwarder.dialCarried({ host: '10.7.0.1', port: 80 }, { signal: AbortSignal.timeout(5_000) }), { code: 'ECONNREFUSED' });
  t.match(forwarder.status(), [{ target: '10.7.0.1:80', open: 0, total: 0, reason: /ECONNREFUSED/ }]);
});

void t.test('carried connections count with all others', async (t) => {
  const forwarder = new Forwarder(new Map(), undefined, { dial: hostDial, log: silentLogger });
  const open = Array.from({ length: maxConnections + 1 }, () => ({ stream: duplexPair()[0], upstream: duplexPair()[0] }));
  for (const { stream, upstream } of open) {
    for (const side of [stream, upstream]) side.on('error', () => undefined);
    void forwarder.carry({ stream, local: { address: '10.7.0.1', port: 1 }, remote: { address: '100.92.0.2', port: 5 }, peer }, upstream);
  }
  const last = open.at(-1);
  t.same([last?.stream.destroyed, last?.upstream.destroyed], [true, true]);
  t.equal(open.at(-2)?.stream.destroyed, false);
  forwarder.close();
});

void t.test('a UDP flow speaks with its one end, from the first datagram on', async (t) => {
  const { socket, port } = await udpServer(t);
  const seen: string[] = [];
  socket.on('message', (bytes, from) => {
    seen.push(bytes.toString());
    socket.send(`re: ${bytes.toString()}`, from.port, from.address);
  });
  const answers: string[] = [];
  const bytes = Buffer.from('one');
  const flow = openHostUdp(
    { address: '127.0.0.1', port },
    (answer) => answers.push(Buffer.from(answer).toString()),
    () => t.fail('failed'),
  );
  flow.send(bytes);
  bytes.fill('x'); // they are the caller's again
  await until(() => answers.length === 1);
  flow.send(Buffer.from('two'));
  await until(() => answers.length === 2);
  t.same(answers, ['re: one', 're: two']);
  const { socket: stranger } = await udpServer(t);
  flow.close();
  flow.close();
  flow.send(Buffer.from('three'));
  stranger.send('x', port, '127.0.0.1');
  await until(() => seen.includes('x'));
  t.same(seen, ['one', 'two', 'x']);
  const many = openHostUdp(
    { address: '127.0.0.1', port },
    () => undefined,
    () => undefined,
  );
  for (let i = 0; i < maxWaitingDatagrams + 5; i++) many.send(Buffer.from(`m${i}`));
  await until(() => seen.includes(`m${maxWaitingDatagrams - 1}`));
  t.notOk(seen.includes(`m${maxWaitingDatagrams}`), 'only so many wait for the socket');
  many.close();
});

void t.test('a flow to nobody ends', async (t) => {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  await new Promise<void>((failed) => {
    const flow = openHostUdp({ address: '127.0.0.1', port }, () => undefined, failed);
    flow.send(Buffer.from('anybody?'));
  });
  t.pass('the host said that nobody is there');
});

void t.test('names: the name servers first, then the system', async (t) => {
  const never = new AbortController().signal;
  let lookedUp = 0;
  const system = (answer: () => Promise<{ address: string; ttl: number }[]>, known: NameSystem['lookup'] = () => fail('ENOTFOUND')): NameSystem => ({
    resolver: () => ({ resolve4: answer, resolve6: answer, cancel: () => undefined }),
    lookup: (name, options) => {
      lookedUp++;
      return known(name, options);
    },
  });
  const hosts: NameSystem['lookup'] = async () => [
    { address: '10.7.0.9', family: 4 },
    { address: 'fd07::9', family: 6 },
  ];
  t.same(
    await resolveForPeers(
      'a.test',
      4,
      never,
      system(async () => [
        { address: '10.7.0.1', ttl: 30 },
        { address: '10.7.0.2', ttl: 20 },
      ]),
    ),
    {
      addresses: ['10.7.0.1', '10.7.0.2'],
      ttlSeconds: 20,
    },
  );
  t.same(
    await resolveForPeers(
      'a.test',
      6,
      never,
      system(() => fail('ENODATA')),
    ),
    { addresses: [], ttlSeconds: 0 },
    'a name of the other family',
  );
  t.equal(lookedUp, 0);
  const unknown = (): Promise<never> => fail('ENOTFOUND');
  t.same(await resolveForPeers('nas.test', 4, never, system(unknown, hosts)), { addresses: ['10.7.0.9'], ttlSeconds: systemLookupTtlSeconds });
  t.same(await resolveForPeers('nas.test', 6, never, system(unknown, hosts)), { addresses: ['fd07::9'], ttlSeconds: systemLookupTtlSeconds });
  t.equal(await resolveForPeers('none.test', 4, never, system(unknown)), undefined);
  await t.rejects(
    resolveForPeers(
      'a.test',
      4,
      never,
      system(() => fail('ETIMEOUT')),
    ),
    { code: 'AGENT_NAME_UNANSWERED' },
  );
  await t.rejects(
    resolveForPeers(
      'a.test',
      4,
      never,
      system(unknown, () => fail('EAI_AGAIN')),
    ),
    { code: 'AGENT_NAME_UNANSWERED' },
  );
  const stuck = system(unknown, () => new Promise(() => undefined));
  const patience = new AbortController();
  const asked = Array.from({ length: maxSystemLookups }, () => resolveForPeers('slow.test', 4, patience.signal, stuck));
  await new Promise((done) => setImmediate(done));
  await t.rejects(resolveForPeers('one.more.test', 4, never, stuck), { code: 'AGENT_NAME_UNANSWERED' }, 'the system has few threads');
  await t.rejects(resolveForPeers('a.test', 4, AbortSignal.abort(), stuck), { name: 'AbortError' });
  patience.abort();
  for (const answer of asked) await t.rejects(answer, { code: 'AGENT_NAME_UNANSWERED' }, 'who asked has no more time');
  await t.rejects(resolveForPeers('one.more.test', 4, never, stuck), { code: 'AGENT_NAME_UNANSWERED' }, 'the threads are taken all the same');
});
