// TCP and TLS services at the door: which connection means which service, who may pass, what the target received, and what ends a stream.
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect as tlsConnect, createServer as createTlsServer } from 'node:tls';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { plainAccess, signInProofs } from '#model/access.ts';
import { noRestrictions, type ServiceMapping } from '#model/service.ts';
import { asId, type ServiceId } from '#model/ids.ts';
import { defaultStream, type StreamLimits } from '#model/stream.ts';
import { HELLOS_PER_ADDRESS } from '#publish/constants.ts';
import { buildStreamTable } from '#publish/index.ts';
import { CLIENT_HELLO_BYTES } from '#wire/client-hello.ts';
import { readProxyHeader } from '#wire/proxy-protocol.ts';
import { alice, issue, listenTcp, withLogin } from '../harness.ts';
import { dial, entry, gone, open, port, read, stream, upstream } from './door.ts';

void t.test('bytes pass both ways and half-closed, and leave one record', async (t) => {
  const target = await upstream(t);
  const door = await open(t, [stream('db.test', [target.port])]);
  const socket = dial(door);
  socket.end('hello');
  t.equal(await read(socket), 'HELLO');
  t.same(target.received, ['hello']);
  t.match(await entry(door), {
    protocol: 'tcp',
    host: 'db.test',
    serviceId: 's-db.test',
    bytesUp: 5,
    bytesDown: 5,
    reason: 'done',
    sourceIp: '127.0.0.1',
    authSuccess: true,
  });
  t.equal(door.open(), 0);
});

void t.test('who is not let in reaches nothing', async (t) => {
  const target = await upstream(t);
  const refusals: readonly (readonly [string, Partial<ServiceMapping>, string])[] = [
    ['an address that is not allowed', { restrictions: { ...noRestrictions, allowedCidrs: ['10.0.0.0/8'] } }, 'ip_denied'],
    ['an address that is blocked', { restrictions: { ...noRestrictions, blockedCidrs: ['127.0.0.0/8'] } }, 'ip_denied'],
    ['a country that nobody can tell', { restrictions: { ...noRestrictions, allowedCountries: ['DE'] } }, 'country_unknown'],
    ['CrowdSec that nobody can ask', { restrictions: { ...noRestrictions, crowdsecMode: 'enforce' } }, 'crowdsec_unavailable'],
    ['somebody who has not signed in', { access: { ...plainAccess, proofs: signInProofs } }, 'not_signed_in'],
    ['a proof that is not checked here', { access: { ...plainAccess, proofs: [['certificate']] } }, 'auth_unsupported'],
    ['one that is, beside it', { access: { ...plainAccess, proofs: [['certificate'], ['oidc']] } }, 'not_signed_in'],
    ['a PIN, which the page asks for', { access: { ...plainAccess, proofs: [['pin']] } }, 'not_signed_in'],
    ['a private service', { private: true }, 'auth_unsupported'],
  ];
  for (const [what, change, reason] of refusals) {
    const door = await open(t, [stream('db.test', [target.port], change)]);
    const socket = dial(door);
    socket.write('hello');
    await gone(socket);
    t.match(await entry(door), { reason, authSuccess: false, bytesUp: 0 }, what);
  }
  t.same(target.received, []);
  t.equal(target.sockets.size, 0);
});

void t.test('a port without a service is closed; one that belongs to another service is told', async (t) => {
  const door = await open(t, []);
  await gone(dial(door));
  door.apply([stream('a.test', [1]), stream('b.test', [1]), stream('c.test', [1], { listenPort: undefined })]);
  t.same(door.problems, ["s-b.test port 5432 is a.test's already", 's-c.test it has no port']);
});

void t.test('targets take turns, and one that is gone is passed over', async (t) => {
  const one = await upstream(t, () => 'one');
  const two = await upstream(t, () => 'two');
  const door = await open(t, [stream('db.test', [one.port, two.port])]);
  const ask = async (): Promise<string> => {
    const socket = dial(door);
    socket.end('x');
    return read(socket);
  };
  t.same(new Set([await ask(), await ask()]), new Set(['one', 'two']));
  await one.close();
  t.same([await ask(), await ask(), await ask()], ['two', 'two', 'two']);
  await two.close();
  t.equal(await ask(), '');
  t.match(await entry(door, 6), { reason: 'upstream_refused' });
});

void t.test('a change ends what it concerns at once, and nothing else', async (t) => {
  const target = await listenTcp((socket) => void socket.pipe(socket));
  t.teardown(() => target.close());
  const before = stream('db.test', [target.port]);
  const door = await open(t, [before]);
  const socket = dial(door);
  socket.write('a');
  await once(socket, 'data');
  door.apply([{ ...before, authToken: 'another' }, stream('other.test', [1], { listenPort: 1 })]);
  socket.write('b');
  t.same(await once(socket, 'data'), [Buffer.from('b')], 'it goes on');
  door.apply([stream('db.test', [target.port], { restrictions: { ...noRestrictions, blockedCidrs: ['10.0.0.0/8'] } })]);
  socket.write('c');
  t.same(await once(socket, 'data'), [Buffer.from('c')], 'others are not let in any more');
  const begun = performance.now();
  door.apply([stream('db.test', [target.port], { restrictions: { ...noRestrictions, blockedCidrs: ['127.0.0.0/8'] } })]);
  await gone(socket);
  t.comment(`figure: a stream was cut ${(performance.now() - begun).toFixed(1)} ms after its service had changed`);
  t.match(await entry(door), { reason: 'ip_denied', bytesUp: 3, bytesDown: 3 });
  await Promise.all([...target.sockets].map((upstream) => once(upstream, 'close')));
  t.equal(target.sockets.size, 0, 'the target’s side too');
});

void t.test('TLS services share a port by name, the key stays at the target, and the rest goes to who takes the rest', async (t) => {
  const certificate = await issue(['one.test', 'two.test']);
  const serve = async (name: string): Promise<number> => {
    const server = createTlsServer({ cert: certificate.certPem, key: certificate.keyPem }, (socket) => void socket.end(name));
    server.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => server.close());
    return (server.address() as AddressInfo).port;
  };
  const rest = await upstream(t, () => 'rest');
  const names = [stream('one.test', [await serve('one')], { mode: 'tls' }), stream('two.test', [await serve('two')], { mode: 'tls' })];
  const door = await open(t, [...names, stream('rest.test', [rest.port])]);
  const ask = async (servername: string): Promise<string> => {
    const socket = tlsConnect({ host: '127.0.0.1', port: door.port, servername, ca: certificate.ca, checkServerIdentity: () => undefined });
    socket.on('error', () => undefined);
    return read(socket).catch(() => '');
  };
  t.equal(await ask('one.test'), 'one');
  t.equal(await ask('TWO.test'), 'two');
  t.match(await entry(door), { protocol: 'tls', host: 'one.test' });
  const plain = dial(door);
  plain.end('SSH-2.0-x\r\n');
  t.equal(await read(plain), 'rest', 'what is no TLS');
  t.same(rest.received, ['SSH-2.0-x\r\n'], 'every byte of it');
  const bare = tlsConnect({ host: '127.0.0.1', port: door.port, servername: '', rejectUnauthorized: false });
  bare.on('error', () => undefined);
  bare.setTimeout(1, () => bare.destroy());
  await gone(bare);
});

void t.test('a name that no TLS service has is passed on with its bytes, or closed', async (t) => {
  const names = [stream('one.test', [1], { mode: 'tls' })];
  const door = await open(t, names, true);
  const client = tlsConnect({ host: '127.0.0.1', port: door.port, servername: 'web.test' });
  client.on('error', () => undefined);
  await gone(client);
  t.same(door.passedOn, ['web.test']);
  const closing = await open(t, names);
  const other = tlsConnect({ host: '127.0.0.1', port: closing.port, servername: 'web.test' });
  other.on('error', () => undefined);
  await gone(other);
  t.equal(closing.entries.length, 0);
});

void t.test('a hello in single bytes is understood, an endless one is cut off', async (t) => {
  const certificate = await issue(['one.test']);
  const server = createTlsServer({ cert: certificate.certPem, key: certificate.keyPem }, (socket) => void socket.end('one'));
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const door = await open(t, [stream('one.test', [(server.address() as AddressInfo).port], { mode: 'tls' })]);
  // Between the client and the door every byte is a segment of its own, as long as the hello lasts.
  const slow = await listenTcp((socket) => {
    const onward = dial(door);
    onward.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      for (const byte of chunk) onward.write(Buffer.of(byte));
    });
    onward.pipe(socket);
  });
  t.teardown(() => slow.close());
  const client = tlsConnect({ host: '127.0.0.1', port: slow.port, servername: 'one.test', ca: certificate.ca });
  t.equal(await read(client), 'one');
  const endless = dial(door);
  const record = Buffer.concat([Buffer.of(22, 3, 1, 0x40, 0), Buffer.from([1, 0xff, 0xff, 0xff]), Buffer.alloc(16_380)]);
  for (let sent = 0; sent < CLIENT_HELLO_BYTES * 2; sent += record.length) endless.write(record);
  await gone(endless);
  t.equal(door.open(), 1, 'only the first has reached a target');
});

void t.test('a target that asks for it is told the client’s address, once, before the first byte', async (t) => {
  const target = await upstream(t);
  for (const version of [1, 2] as const) {
    const service = stream('db.test', [target.port]);
    const paths = service.paths.map((one) => ({ ...one, options: { ...one.options, proxyProtocol: true, proxyProtocolVersion: version } }));
    const door = await open(t, [{ ...service, paths }]);
    const socket = dial(door);
    const forged = 'PROXY TCP4 9.9.9.9 9.9.9.9 1 1\r\n';
    await once(socket, 'connect');
    socket.end(`${forged}hello`);
    const own = (socket.address() as AddressInfo).port;
    await read(socket);
    const bytes = Buffer.from(target.received.pop() ?? '', 'latin1');
    const header = readProxyHeader(bytes);
    if (header.kind !== 'header') return t.fail('no header');
    t.same(header.header, {
      kind: 'proxied',
      transport: 'tcp',
      source: { address: '127.0.0.1', port: own },
      destination: { address: '127.0.0.1', port },
    });
    t.equal(bytes.toString('latin1', header.length), `${forged}hello`, 'a forged one is only bytes');
  }
  return t.end();
});

void t.test('whom a service would not let in any more has to sign in again', async (t) => {
  const target = await listenTcp((socket) => void socket.pipe(socket));
  t.teardown(() => target.close());
  const before = stream('db.test', [target.port], withLogin);
  const door = await open(t, [before]);
  const { access } = [...buildStreamTable([before], () => undefined).ports.values()][0]?.rest ?? { access: '' };
  const unlock = { serviceId: before.id, access, address: '127.0.0.1', trustKey: 'k', identity: alice, confirm: () => true };
  t.ok(door.unlocks.open({ ...unlock, expiresAt: Date.now() + 60_000 }));
  const socket = dial(door);
  socket.write('a');
  await once(socket, 'data');
  door.apply([{ ...before, listenPort: port + 1 }, stream('other.test', [target.port])]);
  await gone(socket);
  t.equal(door.unlocks.size, 1, 'another place is no other access');
  door.apply([{ ...before, restrictions: { ...noRestrictions, blockedCidrs: ['10.0.0.0/8'] } }]);
  t.equal(door.unlocks.size, 1, 'it still lets this one in');
  door.apply([{ ...before, access: { ...plainAccess, proofs: [['certificate'], ['token']] } }]);
  t.equal(door.unlocks.size, 0);
  await gone(dial(door));
  t.match(await entry(door, 2), { reason: 'not_signed_in' });
  t.equal(target.sockets.size, 0);
});

void t.test('one address has only so many connections of which no hello has come', async (t) => {
  const target = await upstream(t, () => 'one');
  const door = await open(t, [stream('one.test', [target.port], { mode: 'tls' }), stream('rest.test', [target.port])]);
  const silent = Array.from({ length: HELLOS_PER_ADDRESS }, () => dial(door));
  await Promise.all(silent.map((socket) => once(socket, 'connect')));
  await gone(dial(door));
  silent[0]?.end('no TLS');
  t.equal(await read(silent[0] as Socket), 'one', 'those go on');
  const next = dial(door);
  next.end('no TLS');
  t.equal(await read(next), 'one', 'and leave room');
  for (const socket of silent) socket.destroy();
});

void t.test(
  'connections at once have a limit of the service, of each address and of each person; more are refused before a target is dialled',
  async (t) => {
    const target = await listenTcp((socket) => void socket.pipe(socket));
    t.teardown(() => target.close());
    const limited = (limits: Partial<StreamLimits>, change: Partial<ServiceMapping> = {}): ServiceMapping =>
      stream('db.test', [target.port], { stream: { ...defaultStream, limits: { ...defaultStream.limits, ...limits } }, ...change });
    const asked = { access: { ...plainAccess, proofs: signInProofs } };
    const door = await open(t, [limited({ maxConnections: 2 })]);
    const hold = async (): Promise<Socket> => {
      const socket = dial(door);
      socket.write('a');
      await once(socket, 'data');
      return socket;
    };
    const held = [await hold(), await hold()];
    await gone(dial(door));
    t.match(await entry(door, 1), { reason: 'too_many_streams', authSuccess: false, bytesUp: 0 });
    t.equal(target.sockets.size, 2);
    door.apply([limited({ maxPerAddress: 2 })]);
    await gone(dial(door));
    t.match(await entry(door, 2), { reason: 'too_many_streams' }, 'what was open before the edit counts');
    held.pop()?.destroy();
    await entry(door, 3);
    held.push(await hold());
    for (const socket of held) socket.destroy();
    await entry(door, 5);

    door.apply([limited({ maxPerIdentity: 1 }, asked)]);
    const [service] = buildStreamTable([limited({ maxPerIdentity: 1 }, asked)], () => undefined).services();
    door.unlocks.open({
      serviceId: asId<ServiceId>('s-db.test'),
      access: service?.access ?? '',
      address: '127.0.0.1',
      trustKey: 'k',
      identity: alice,
      expiresAt: Date.now() + 60_000,
      confirm: () => true,
    });
    const mine = await hold();
    await gone(dial(door));
    t.match(await entry(door, 6), { reason: 'too_many_streams', userId: alice.userId });
    mine.destroy();
    await entry(door, 7);
    (await hold()).destroy();
  },
);
