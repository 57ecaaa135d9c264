// The relay server over real WebSockets: who is let in, what is carried, who hears of whom, and what a hostile client cannot do.
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { silentLogger } from '#lib/log.ts';
import { createRelayServer, type RelayServer, relayWebSocketOptions } from '#server/relay/index.ts';
import {
  AUTH_TIMEOUT_MS,
  HEALTH_CHECK_INTERVAL_MS,
  MAX_QUEUED_BYTES,
  MAX_SUBSCRIPTIONS,
  MAX_UNAUTHENTICATED,
} from '../../../src/server/relay/constants.ts';
import { Presence } from '../../../src/server/relay/presence.ts';
import {
  decodeRelay,
  encodeRelayAuth,
  encodeRelayHealthCheck,
  encodeRelayList,
  encodeRelayToken,
  encodeRelayTransport,
  type RelayMessage,
  relayPeerId,
} from '#wire/relay.ts';
import { ManualClock } from '../../support/manual-clock.ts';

interface Setting {
  readonly relay: RelayServer;
  readonly clock: ManualClock;
  readonly url: string;
}

async function setting(t: { teardown(undo: () => Promise<void>): void }): Promise<Setting> {
  const clock = new ManualClock();
  const relay = createRelayServer({ secret: 's', instanceUrl: () => 'rel://relay.test:1', log: silentLogger, clock });
  const http: Server = createServer();
  const sockets = new WebSocketServer(relayWebSocketOptions);
  http.on('upgrade', (request, socket, head) => sockets.handleUpgrade(request, socket, head, (webSocket) => relay.accept(webSocket)));
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    await relay.close();
    http.closeAllConnections();
    for (const socket of sockets.clients) socket.terminate();
    await new Promise((resolve) => http.close(resolve));
  });
  return { relay, clock, url: `ws://127.0.0.1:${(http.address() as AddressInfo).port}/relay` };
}

/** A client that speaks frames and remembers what it heard. */
class Client {
  readonly socket: WebSocket;
  readonly #heard: RelayMessage[] = [];
  #waiting: (() => void) | undefined;
  readonly closed: Promise<unknown>;

  constructor(url: string) {
    this.socket = new WebSocket(url, { perMessageDeflate: false });
    this.socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => this.socket.on('close', resolve));
    this.socket.on('message', (data: Buffer) => {
      const message = decodeRelay(data);
      if (message !== undefined) this.#heard.push(message);
      this.#waiting?.();
    });
  }

  async opened(): Promise<this> {
    await once(this.socket, 'open');
    return this;
  }

  send(...frames: readonly Uint8Array[]): void {
    for (const frame of frames) this.socket.send(frame);
  }

  async next(): Promise<RelayMessage> {
    for (;;) {
      const message = this.#heard.shift();
      if (message !== undefined) return message;
      await new Promise<void>((resolve) => (this.#waiting = resolve));
    }
  }
}

function authOf(relay: RelayServer, name: string, clock: ManualClock): Buffer {
  const token = encodeRelayToken(relay.issueToken(clock.wall()));
  if (token === undefined) throw new TypeError('no token');
  return encodeRelayAuth(relayPeerId(name), token);
}

async function joined({ relay, clock, url }: Setting, name: string): Promise<Client> {
  const client = await new Client(url).opened();
  client.send(authOf(relay, name, clock));
  const answer = await client.next();
  if (answer.kind !== 'auth-response') throw new TypeError(answer.kind);
  return client;
}

t.test('a peer is let in, told the relay’s name, and its packets carry its own id', async (t) => {
  const at = await setting(t);
  const [a, b] = [await joined(at, 'a'), await joined(at, 'b')];
  a.send(encodeRelayTransport(relayPeerId('b'), Buffer.from('hello')), encodeRelayTransport(relayPeerId('nobody'), Buffer.from('x')));
  t.match(await b.next(), { kind: 'transport', peerId: relayPeerId('a'), payload: Buffer.from('hello') });
  t.match(at.relay.stats(), { connections: 2, unauthenticated: 0, forwardedPackets: 1, droppedPackets: 0 });
});

t.test('subscriptions: at once, when the peer comes, when it goes, when it is back, and no more after they are taken back', async (t) => {
  const at = await setting(t);
  const [a, b] = [await joined(at, 'a'), await joined(at, 'b')];
  a.send(...encodeRelayList('subscribe', [relayPeerId('b'), relayPeerId('c')]));
  t.match(await a.next(), { kind: 'online', peerIds: [relayPeerId('b')] });
  const c = await joined(at, 'c');
  t.match(await a.next(), { kind: 'online', peerIds: [relayPeerId('c')] });
  c.socket.close();
  t.match(await a.next(), { kind: 'offline', peerIds: [relayPeerId('c')] });
  await joined(at, 'c');
  t.match(await a.next(), { kind: 'online', peerIds: [relayPeerId('c')] });
  a.send(...encodeRelayList('unsubscribe', [relayPeerId('b')]), ...encodeRelayList('subscribe', [relayPeerId('c')]));
  t.match(await a.next(), { kind: 'online', peerIds: [relayPeerId('c')] });
  b.socket.close();
  await b.closed;
  a.send(...encodeRelayList('subscribe', [relayPeerId('a')]));
  t.match(await a.next(), { kind: 'online', peerIds: [relayPeerId('a')] }, 'nothing of b in between');
});

t.test('a second connection of one peer replaces the first, and nobody hears that the peer went', async (t) => {
  const at = await setting(t);
  const [a, first] = [await joined(at, 'a'), await joined(at, 'b')];
  a.send(...encodeRelayList('subscribe', [relayPeerId('b')]));
  await a.next();
  const second = await joined(at, 'b');
  t.same(await first.next(), { kind: 'close' });
  await first.closed;
  a.send(encodeRelayTransport(relayPeerId('b'), Buffer.from('x')));
  t.match(await second.next(), { kind: 'transport' });
  second.send(encodeRelayTransport(relayPeerId('a'), Buffer.from('y')));
  t.match(await a.next(), { kind: 'transport' }, 'and not offline');
});

t.test('who does not prove itself is out: no token in time, a wrong one, one that has run out, another message first', async (t) => {
  const at = await setting(t);
  const slow = await new Client(at.url).opened();
  const old = authOf(at.relay, 'a', at.clock);
  at.clock.advance(AUTH_TIMEOUT_MS);
  await slow.closed;
  at.clock.advance(13 * 3600 * 1000);
  const wrong = Buffer.from(old);
  wrong[60] = (wrong[60] ?? 0) ^ 1;
  for (const frame of [old, wrong, encodeRelayHealthCheck(), encodeRelayTransport(relayPeerId('b'), Buffer.from('x'))]) {
    const client = await new Client(at.url).opened();
    client.send(frame);
    await client.closed;
  }
  t.match(at.relay.stats(), { connections: 0, unauthenticated: 0 });
});

t.test('malformed, oversized and text messages end the connection that sent them, and no other', async (t) => {
  const at = await setting(t);
  const [a, b] = [await joined(at, 'a'), await joined(at, 'b')];
  const broken: readonly (Uint8Array | string)[] = [
    'text',
    Buffer.of(),
    Buffer.of(1),
    Buffer.of(2, 3),
    Buffer.of(1, 99),
    Buffer.of(1, 3, 0),
    Buffer.of(1, 8, 1, 2, 3),
    Buffer.of(1, 10),
    authOf(at.relay, 'm', at.clock),
    Buffer.concat([Buffer.of(1, 3), relayPeerId('b'), Buffer.alloc(9000)]),
    Buffer.alloc(200_000, 1),
  ];
  for (const bytes of broken) {
    const client = await joined(at, 'm');
    client.socket.send(bytes);
    await client.closed;
  }
  a.send(encodeRelayTransport(relayPeerId('b'), Buffer.from('still here')));
  t.match(await b.next(), { kind: 'transport', payload: Buffer.from('still here') });
});

t.test('health checks go out, and who does not answer is gone', async (t) => {
  const at = await setting(t);
  const [a, b] = [await joined(at, 'a'), await joined(at, 'b')];
  for (let round = 0; round < 3; round++) {
    at.clock.advance(HEALTH_CHECK_INTERVAL_MS);
    if (round < 2) t.same(await a.next(), { kind: 'health-check' });
    a.send(encodeRelayHealthCheck(), ...encodeRelayList('subscribe', [relayPeerId('a')]));
    t.match(await a.next(), { kind: round < 2 ? 'online' : 'health-check' });
  }
  await b.closed;
  t.equal(at.relay.stats().connections, 1);
});

t.test('a receiver that does not read loses packets, and the relay no memory', async (t) => {
  const at = await setting(t);
  const [a, b] = [await joined(at, 'a'), await joined(at, 'b')];
  b.socket.pause();
  const packet = encodeRelayTransport(relayPeerId('b'), Buffer.alloc(8000));
  while (at.relay.stats().droppedPackets === 0) {
    for (let i = 0; i < 64; i++) a.socket.send(packet);
    a.send(...encodeRelayList('subscribe', [relayPeerId('a')]));
    await a.next();
  }
  t.ok(at.relay.stats().forwardedBytes > MAX_QUEUED_BYTES);
  a.send(encodeRelayTransport(relayPeerId('a'), Buffer.from('x')));
  t.match(await a.next(), { kind: 'transport' }, 'others are served');
  b.socket.resume();
  b.socket.terminate();
});

t.test('connections that have not shown a token are limited, subscriptions of one too', async (t) => {
  const { relay } = await setting(t);
  let cut = 0;
  const fake = { on: () => undefined, terminate: () => cut++, send: () => undefined, bufferedAmount: 0 } as unknown as WebSocket;
  for (let i = 0; i < MAX_UNAUTHENTICATED + 5; i++) relay.accept(fake);
  t.equal(relay.stats().unauthenticated, MAX_UNAUTHENTICATED);
  t.equal(cut, 5);

  const presence = new Presence<{ subscriptions: Set<string> }>(MAX_SUBSCRIPTIONS);
  const greedy = { subscriptions: new Set<string>() };
  presence.subscribe(
    greedy,
    Array.from({ length: MAX_SUBSCRIPTIONS + 10 }, (_, i) => String(i)),
  );
  t.equal(greedy.subscriptions.size, MAX_SUBSCRIPTIONS);
  presence.unsubscribe(greedy, ['0']);
  presence.subscribe(greedy, ['more']);
  t.ok(greedy.subscriptions.has('more'));
});

t.test('closing says goodbye', async (t) => {
  const at = await setting(t);
  const a = await joined(at, 'a');
  await at.relay.close();
  t.same(await a.next(), { kind: 'close' });
  await a.closed;
});
