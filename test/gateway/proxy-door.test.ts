// Load balancers at the gateway's door (attack row H-14): their word has to come, and nobody else's is taken.
import { connect, type Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import t, { type Test } from 'tap';
import { parsePrefix, type IpPrefix } from '#lib/ip.ts';
import { silentLogger } from '#lib/log.ts';
import type { Ends } from '#lib/net.ts';
import { writeProxyHeader } from '#wire/proxy-protocol.ts';
import { plainConnectionsPerAddress, proxyHeaderMs, maxProxyHeaders } from '../../src/gateway/constants.ts';
import { ProxyDoor } from '../../src/gateway/listen/proxy-door.ts';
import { listenPlainHttp } from '../../src/gateway/listen/plain-http.ts';
import { listenTcp } from '../../src/gateway/listen/tcp.ts';
import { mapping, path, readAll, readUntil, startEcho, startFixture } from '../publish/harness.ts';
import { ManualClock } from '../support/manual-clock.ts';

const client = { address: '203.0.113.7', port: 4_321 };
const site = { address: '198.51.100.1', port: 443 };

interface Doorway {
  readonly port: number;
  readonly clock: ManualClock;
  readonly entered: Ends[];
  readonly sockets: Socket[];
}

async function start(t: Test, trusted: readonly string[], enter: (socket: Socket, ends: Ends) => void = () => undefined): Promise<Doorway> {
  const clock = new ManualClock();
  const prefixes = trusted.map(parsePrefix).filter((prefix): prefix is IpPrefix => prefix !== undefined);
  const door = new ProxyDoor({ trusted: prefixes, clock, log: silentLogger });
  const entered: Ends[] = [];
  const sockets: Socket[] = [];
  const listener = await listenTcp({ host: '127.0.0.1', port: 0 }, (socket, remote) => {
    sockets.push(socket);
    door.admit(socket, { remote, local: { address: socket.localAddress ?? '', port: listener.port } }, (ends) => {
      entered.push(ends);
      enter(socket, ends);
    });
  });
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    await Promise.all([door.close(), listener.close()]);
  });
  return { port: listener.port, clock, entered, sockets };
}

/** Sends bytes and resolves when the connection has closed. */
function send(port: number, ...parts: readonly (string | Buffer)[]): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  const all = readAll(socket);
  socket.on('error', () => undefined);
  for (const part of parts) socket.write(part);
  return all;
}

/** A plain port behind load balancers at these addresses. */
async function startPlain(t: Test, trusted: readonly string[]): Promise<{ readonly port: number; readonly clock: ManualClock }> {
  const clock = new ManualClock();
  const prefixes = trusted.map(parsePrefix).filter((prefix): prefix is IpPrefix => prefix !== undefined);
  const door = new ProxyDoor({ trusted: prefixes, clock, log: silentLogger });
  const token = async (_host: string, asked: string) => (asked === 'tok' ? 'tok.key' : undefined);
  const listener = await listenPlainHttp({ host: '127.0.0.1', port: 0 }, { known: (host) => host === 'a.test', token, httpsPort: 443, door });
  t.teardown(() => listener.close());
  return { port: listener.port, clock };
}

void t.test('the plain port reads the header of a load balancer too', async (t) => {
  const { port, clock } = await startPlain(t, ['127.0.0.1/32']);
  const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a.test\r\n\r\n`;
  for (const version of [1, 2] as const) {
    const header = writeProxyHeader(version, client, { ...site, port: 80 });
    t.match(await send(port, header, get('/p')), /^HTTP\/1\.1 308 .*location: https:\/\/a\.test\/p\r\n/is, `version ${version}`);
    t.match(await send(port, Buffer.concat([header, Buffer.from(get('/.well-known/acme-challenge/tok'))])), /\r\n\r\ntok\.key$/, 'in one piece');
    t.match(await send(port, header.subarray(0, 5), header.subarray(5), get('/p')), /^HTTP\/1\.1 308 /, 'cut');
  }
  t.equal(await send(port, get('/p')), '', 'one that says nothing is nobody');
  const silent = send(port);
  while (clock.pending === 0) await new Promise(setImmediate);
  clock.advance(proxyHeaderMs);
  t.equal(await silent, '', 'nor is one that says it too late');
  const elsewhere = await startPlain(t, ['192.0.2.1/32']);
  t.equal(await send(elsewhere.port, writeProxyHeader(1, client, site), get('/p')), '', 'nobody else’s word is taken: it is no request');
});

void t.test('the share of the plain port is each client’s, not the load balancer’s', async (t) => {
  const { port } = await startPlain(t, ['127.0.0.1/32']);
  const from = (address: string): Buffer => Buffer.from(writeProxyHeader(2, { ...client, address }, site));
  const held = Array.from({ length: plainConnectionsPerAddress }, () => {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    socket.write(from('203.0.113.1'));
    return socket;
  });
  t.teardown(() => held.forEach((socket) => socket.destroy()));
  const ask = (address: string): Promise<string> => send(port, from(address), 'GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  while ((await ask('203.0.113.1')) !== '') await new Promise(setImmediate); // until all of the others have been heard
  t.match(await ask('203.0.113.9'), /^HTTP\/1\.1 308 /);
});

void t.test('the plain port closes with somebody at its door', async (t) => {
  const clock = new ManualClock();
  const door: Pick<ProxyDoor, 'admit'> = { admit: () => void clock.after(1, () => undefined) };
  const listener = await listenPlainHttp({ host: '127.0.0.1', port: 0 }, { known: () => true, token: async () => undefined, httpsPort: 443, door });
  const silent = send(listener.port);
  while (clock.pending === 0) await new Promise(setImmediate);
  await listener.close();
  t.equal(await silent, '');
});

const echo = (socket: Socket): void => void socket.on('data', (chunk: Buffer) => socket.write(chunk));

void t.test('a load balancer’s header names the client, and what follows is the connection', async (t) => {
  const { port, entered, clock } = await start(t, ['127.0.0.0/8'], echo);
  for (const version of [1, 2] as const) {
    const header = writeProxyHeader(version, client, site);
    for (const cut of [0, 1, 8, header.length - 1, header.length]) {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      const got = readUntil(socket, (text) => text.endsWith('hello'));
      socket.write(header.subarray(0, cut));
      await new Promise((resolve) => setImmediate(resolve));
      socket.write(Buffer.concat([header.subarray(cut), Buffer.from('hello')]));
      t.equal(await got, 'hello', `v${version} cut at ${cut}`);
      t.same(entered.at(-1), { remote: client, local: site });
      socket.destroy();
    }
  }
  t.equal(clock.pending, 0, 'no timer is left');
});

void t.test('a load balancer that says nothing, too little or nonsense is closed', async (t) => {
  const { port, entered, clock, sockets } = await start(t, ['127.0.0.1']);
  const v2 = writeProxyHeader(2, client, site);
  const udp = Buffer.from(v2);
  udp[13] = 0x12;
  for (const bytes of ['\x16\x03\x01\x00', 'PROXY UNKNOWN\r\n', 'PROXY TCP4 1 2 3 4\r\n', 'PROXY '.padEnd(200, 'x'), udp]) {
    t.equal(await send(port, bytes), '', JSON.stringify(String(bytes)));
  }
  const closing = connect(port, '127.0.0.1');
  closing.end('PROXY ');
  closing.on('error', () => undefined);
  await new Promise((resolve) => closing.once('close', resolve));
  const silent = send(port, v2.subarray(0, 20));
  const before = sockets.length;
  while (sockets.length === before) await new Promise((resolve) => setImmediate(resolve));
  clock.advance(proxyHeaderMs);
  t.equal(await silent, '');
  t.same(entered, []);
});

void t.test('a health check of its own comes through as its own', async (t) => {
  const { port, entered } = await start(t, ['127.0.0.1'], echo);
  const socket = connect(port, '127.0.0.1');
  const got = readUntil(socket, (text) => text.endsWith('up?'));
  socket.write(Buffer.concat([writeProxyHeader(2, { address: '', port: 0 }, site), Buffer.from('up?')]));
  t.equal(await got, 'up?');
  t.match(entered[0], { remote: { address: '127.0.0.1', port: socket.localPort } });
  socket.destroy();
});

void t.test('a header of anybody else is bytes like others', async (t) => {
  const { port, entered } = await start(t, ['192.0.2.0/24'], echo);
  const socket = connect(port, '127.0.0.1');
  const header = 'PROXY TCP4 203.0.113.7 198.51.100.1 1 443\r\n';
  const got = readUntil(socket, (text) => text === header);
  socket.write(header);
  t.equal(await got, header);
  t.match(entered[0], { remote: { address: '127.0.0.1', port: socket.localPort } });
  socket.destroy();
});

void t.test('so many may wait, and no more', async (t) => {
  const { port, sockets } = await start(t, ['127.0.0.1']);
  const held = Array.from({ length: maxProxyHeaders }, () => connect(port, '127.0.0.1').on('error', () => undefined));
  while (sockets.length < maxProxyHeaders) await new Promise((resolve) => setImmediate(resolve));
  t.equal(await send(port), '');
  for (const socket of held) socket.destroy();
});

void t.test('the client that the header names is the one of rules, fields and the log', async (t) => {
  const up = await startEcho();
  const restrictions = {
    allowedCidrs: ['203.0.113.0/24'],
    blockedCidrs: [],
    allowedCountries: [],
    blockedCountries: [],
    crowdsecMode: 'off',
  } as const;
  const fixture = await startFixture([mapping('a.test', [path(up.port)], { restrictions })]);
  const { port } = await start(t, ['127.0.0.1'], (socket, ends) => fixture.publisher.handleConnection(socket, ends));
  t.teardown(() => Promise.all([fixture.close(), up.close()]));
  const ask = async (source: string): Promise<string> => {
    const raw = connect(port, '127.0.0.1');
    raw.write(writeProxyHeader(2, { address: source, port: 9 }, site));
    const socket = tlsConnect({ socket: raw, servername: 'a.test', ca: fixture.ca });
    const answer = readAll(socket);
    socket.write('GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n\r\n');
    return answer;
  };
  t.match(await ask('203.0.113.7'), /^HTTP\/1\.1 200 [\s\S]*X-Forwarded-For: 203\.0\.113\.7\r\nX-Real-IP: 203\.0\.113\.7\r\n/);
  t.match(fixture.entries.at(-1), { sourceIp: '203.0.113.7' });
  t.match(await ask('192.0.2.1'), /^HTTP\/1\.1 403/);
  t.match(await ask('::ffff:192.0.2.1'), /^HTTP\/1\.1 403/);
  t.match(await ask('::ffff:203.0.113.7'), /^HTTP\/1\.1 200/);
});
