// Hosts that ask clients for certificates beside hosts that do not, on one address and behind one certificate of ours: each is exact, for HTTPS
// and for TLS services alike, and what cannot be checked lets nobody in.
import { once } from 'node:events';
import { connect as tlsConnect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t, { type Test } from 'tap';
import type { ServiceMapping } from '#model/service.ts';
import { defaultStream } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import { rounds } from './harness.ts';
import { issue, mapping, path, readAll, startEcho, startFixture, type Echo, type Fixture } from '../publish/harness.ts';
import { open, stream, upstream, type Door } from '../publish/stream/door.ts';
import { until } from '../support/until.ts';
import { createTestCa, type TestCa } from '../support/test-ca.ts';

type Pair = Awaited<ReturnType<TestCa['issue']>>;

interface Keys {
  readonly ca: TestCa;
  readonly alice: Pair;
  readonly ended: Pair;
  /** Of an authority with the same name and another key. */
  readonly mallory: Pair;
}

async function makeKeys(): Promise<Keys> {
  const [ca, other] = [await createTestCa(), await createTestCa()];
  return { ca, alice: await ca.issue(['alice']), ended: await ca.issue(['bob'], { ended: true }), mallory: await other.issue(['mallory']) };
}

function asks(ca: string, required = true): Partial<ServiceMapping> {
  return { web: { ...defaultWeb, clientCertificate: { ca, required } } };
}

function offer(pair: Pair | undefined): ConnectionOptions {
  return pair === undefined ? {} : { cert: pair.certPem, key: pair.keyPem };
}

interface Tried {
  readonly answer: string;
  /** A session to come back with. */
  readonly ticket: Buffer | undefined;
  readonly reused: boolean;
}

/** One request, or what became of the handshake. */
function ask(fixture: Fixture, servername: string, host: string, options: ConnectionOptions = {}): Promise<Tried> {
  return new Promise((done) => {
    const socket = tlsConnect({ host: '127.0.0.1', port: fixture.port, servername, ca: fixture.ca, ALPNProtocols: ['http/1.1'], ...options });
    let ticket: Buffer | undefined;
    let reused = false;
    let answer = '';
    socket.on('session', (session: Buffer) => (ticket = session));
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
    socket.once('secureConnect', () => {
      reused = socket.isSessionReused();
      socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    });
    socket.once('close', () => done({ answer: answer === '' ? 'closed' : (answer.split('\r\n', 1)[0] ?? ''), ticket, reused }));
  });
}

async function site(t: Test, change: (keys: Keys) => Record<string, Partial<ServiceMapping>>): Promise<{ fixture: Fixture; echo: Echo; keys: Keys }> {
  const keys = await makeKeys();
  const echo = await startEcho();
  const services = Object.entries(change(keys)).map(([domain, more]) => mapping(domain, [path(echo.port)], more));
  const fixture = await startFixture(services);
  t.teardown(async () => {
    await fixture.close();
    await echo.close();
  });
  return { fixture, echo, keys };
}

void t.test('T-9: a host that asks for certificates is reached through no other host, name or ticket', async (t) => {
  const { fixture, echo, keys } = await site(t, ({ ca }) => ({
    'a.test': asks(ca.caPem),
    'b.test': {},
    '*.wild.test': asks(ca.caPem),
    'open.wild.test': {},
  }));
  const { alice, ended, mallory } = keys;
  const status = async (...args: Parameters<typeof ask> extends [unknown, ...infer Rest] ? Rest : never): Promise<string> =>
    (await ask(fixture, ...args)).answer;
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const only = { minVersion: version, maxVersion: version };
    t.match(await status('a.test', 'a.test', { ...offer(alice), ...only }), /200/, `${version}: who is known`);
    t.match(await status('b.test', 'b.test', only), /200/, 'where nothing is asked');
    t.match(await status('open.wild.test', 'open.wild.test', only), /200/, 'the exact host asks for nothing, whatever its wildcard does');
    t.match(await status('x.wild.test', 'x.wild.test', { ...offer(alice), ...only }), /200/);
    const before = echo.received.length;
    for (const [what, pair] of Object.entries({ nothing: undefined, 'one that has ended': ended, 'another authority’s': mallory })) {
      for (const host of ['a.test', 'x.wild.test'])
        t.equal(await status(host, host, { ...offer(pair), ...only }), 'closed', `${version}: ${host} with ${what}`);
    }
    t.match(await status('b.test', 'a.test', { ...offer(alice), ...only }), /421/, 'another host’s connection');
    t.match(await status('open.wild.test', 'x.wild.test', only), /421/);
    t.match(await status('x.wild.test', 'open.wild.test', { ...offer(alice), ...only }), /421/);
    // One certificate of ours stands for all of them, so a ticket could be good for all.
    const { ticket } = await ask(fixture, 'b.test', 'b.test', only);
    t.ok(ticket);
    for (const host of ['a.test', 'x.wild.test'])
      t.equal(await status(host, host, { session: ticket, ...only }), 'closed', `a ticket of b.test at ${host}`);
    t.equal(echo.received.length, before + 1, 'only b.test was asked');
    const again = await ask(fixture, 'a.test', 'a.test', { ...offer(alice), ...only });
    const resumed = await ask(fixture, 'a.test', 'a.test', { ...offer(alice), session: again.ticket, ...only });
    t.match(resumed, { answer: /200/, reused: false }, 'each connection proves it anew');
  }
});

void t.test('T-9: a kept connection is not good for what its host asks from now on', async (t) => {
  const keys = await makeKeys();
  const echo = await startEcho();
  const service = (change: Partial<ServiceMapping>): ServiceMapping => mapping('a.test', [path(echo.port)], change);
  const fixture = await startFixture([service({})]);
  t.teardown(async () => {
    await fixture.close();
    await echo.close();
  });
  const request = 'GET / HTTP/1.1\r\nHost: a.test\r\n\r\n';
  const next = async (socket: TLSSocket): Promise<string> => {
    socket.write(request);
    return String((await once(socket, 'data'))[0]).split('\r\n', 1)[0] ?? '';
  };
  const plain = await fixture.connect('a.test');
  t.match(await next(plain), /200/);
  fixture.setRoutes([service(asks(keys.ca.caPem))]);
  t.match(await next(plain), /421/);
  const other = await createTestCa();
  const known = tlsConnect({
    host: '127.0.0.1',
    port: fixture.port,
    servername: 'a.test',
    ca: fixture.ca,
    ALPNProtocols: ['http/1.1'],
    ...offer(keys.alice),
  });
  await once(known, 'secureConnect');
  t.match(await next(known), /200/);
  fixture.setRoutes([service(asks(other.caPem))]);
  t.match(await next(known), /421/, 'another authority');
  t.equal(echo.received.filter((text) => text.includes('GET')).length, 2);
  plain.destroy();
  known.destroy();
});

void t.test('T-9: where a certificate may be left out, a bad one is still refused', async (t) => {
  const { fixture, keys } = await site(t, ({ ca }) => ({ 'a.test': asks(ca.caPem, false) }));
  t.match((await ask(fixture, 'a.test', 'a.test')).answer, /200/);
  t.match((await ask(fixture, 'a.test', 'a.test', offer(keys.alice))).answer, /200/);
  for (const pair of [keys.ended, keys.mallory]) t.equal((await ask(fixture, 'a.test', 'a.test', offer(pair))).answer, 'closed');
});

void t.test('T-10: without authorities that can be read nobody gets in, with or without a certificate', async (t) => {
  const whole = (await createTestCa()).caPem;
  const bundles = {
    none: '',
    blank: ' \n',
    'no PEM': 'x',
    'half of one': whole.slice(0, 200),
    'one that is none': '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
  };
  for (const [what, bundle] of Object.entries({ ...bundles, 'one that is none behind a good one': `${whole}${bundles['one that is none']}` })) {
    const { fixture, echo, keys } = await site(t, () => ({ 'a.test': asks(bundle), 'b.test': {} }));
    for (const pair of [undefined, keys.alice]) t.equal((await ask(fixture, 'a.test', 'a.test', offer(pair))).answer, 'closed', what);
    t.match((await ask(fixture, 'b.test', 'b.test')).answer, /200/, 'others are served');
    t.equal(echo.received.length, 1);
    const target = await upstream(t);
    const door = await tlsDoor(t, [terminated('db.test', target.port, bundle)]);
    for (const pair of [undefined, keys.alice]) t.match(await through(door, 'db.test', offer(pair)), /closed/, what);
    t.same(target.received, [], `${what}: nothing came to the target`);
  }
});

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

void t.test('T-18: certificates of many connections leave nothing behind', async (t) => {
  const { fixture, echo, keys } = await site(t, ({ ca }) => ({ 'a.test': asks(ca.caPem) }));
  const connections = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) if (!(await ask(fixture, 'a.test', 'a.test', offer(keys.alice))).answer.includes('200')) t.fail('refused');
    await until('all are gone', () => Promise.resolve(fixture.publisher.stats().connections === 0));
    fixture.entries.length = 0;
    echo.received.length = 0;
  };
  await connections(400);
  const count = rounds(300);
  await connections(count);
  collect();
  const before = process.memoryUsage();
  const batches = 10;
  for (let batch = 0; batch < batches; batch++) await connections(count);
  collect();
  const after = process.memoryUsage();
  const total = batches * count;
  const heap = (after.heapUsed - before.heapUsed) / total;
  // A certificate that were lost outside of the heap would be 4 KB and more, each time.
  const resident = (after.rss - before.rss) / total;
  t.comment(
    `figure: after ${total} connections ${heap.toFixed(0)} bytes of heap and ${resident.toFixed(0)} of memory more for each, both ends in one process`,
  );
  t.ok(heap < 256, `${heap.toFixed(0)} bytes of heap`);
  t.ok(resident < 4_096, `${resident.toFixed(0)} bytes of memory`);
});

function terminated(domain: string, port: number, ca: string): ServiceMapping {
  return stream(domain, [port], {
    mode: 'tls',
    stream: { ...defaultStream, termination: { alpn: [], tellTarget: false, clientCertificate: { ca, required: true } } },
  });
}

async function tlsDoor(t: Test, services: readonly ServiceMapping[]): Promise<Door> {
  const certificate = await issue(services.map(({ domain }) => domain));
  return open(t, services, false, new Map(services.map(({ domain }) => [domain, certificate])));
}

async function through(door: Door, servername: string, options: ConnectionOptions): Promise<string> {
  const socket = tlsConnect({ host: '127.0.0.1', port: door.port, servername, rejectUnauthorized: false, ...options });
  socket.on('error', () => undefined);
  socket.end('hello');
  const text = await readAll(socket).catch(() => '');
  return text === '' ? 'closed' : text;
}
