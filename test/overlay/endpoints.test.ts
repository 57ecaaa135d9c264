// What the control plane names: relays over TLS with a private CA, relays that misbehave, STUN servers.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { WebSocketServer } from 'ws';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import type { MeshEndpoints } from '#model/network-map.ts';
import { createStunServer } from '#server/stun/index.ts';
import { encodeRelayAuthResponse, encodeRelayHealthCheck } from '#wire/relay.ts';
import { RelayLink } from '../../src/overlay/path/relay-link.ts';
import { StunProbe } from '../../src/overlay/path/stun-probe.ts';
import { UdpMux } from '../../src/overlay/path/udp-mux.ts';
import type { Candidate } from '../../src/overlay/path/ice-candidate.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { seededBytes } from '../support/seeded.ts';
import { createTestCa } from '../support/test-ca.ts';
import { connect, member, pathKind, TestRelay, TestSignal, until } from './pair.ts';

t.test('a STUN server tells the shared socket’s address; it becomes one candidate, asked for again only when it is old', async (t) => {
  const server = await createStunServer({ host: '127.0.0.1', port: 0, log: silentLogger });
  t.teardown(() => server.close());
  const found = Promise.withResolvers<Candidate>();
  const clock = new ManualClock();
  let asked = 0;
  const mux: UdpMux = await UdpMux.open(
    0,
    { wireGuard: () => undefined, turn: () => undefined, stun: (message, from) => probe.receive(message, from) },
    silentLogger,
  );
  t.teardown(() => mux.close());
  const probe: StunProbe = new StunProbe({
    clock,
    log: silentLogger,
    random: seededBytes(1),
    send: (datagram, to) => {
      asked++;
      mux.send(datagram, to);
    },
    found: (candidate) => found.resolve(candidate),
  });
  probe.setServers(['turn:ignored', 'stun:', `stun:127.0.0.1:${server.port}`]);
  const candidate = await found.promise;
  t.match(candidate, { kind: 'srflx', address: '127.0.0.1', port: mux.port });
  probe.ask();
  clock.advance(10_000);
  t.equal(asked, 1, 'an answered question is not repeated');
  t.equal(probe.candidates.length, 1);
  probe.close();
});

t.test('a STUN server that does not answer is asked four times', async (t) => {
  const clock = new ManualClock();
  const asked: number[] = [];
  const first = Promise.withResolvers<void>();
  const probe = new StunProbe({
    clock,
    log: silentLogger,
    random: seededBytes(1),
    send: () => {
      asked.push(clock.now());
      first.resolve();
    },
    found: () => t.fail('nothing answered'),
  });
  probe.setServers(['stun:127.0.0.1:1']);
  await first.promise;
  clock.advance(60_000);
  t.same(asked, [0, 500, 1000, 1500]);
});

/** What a link tells of a relay that does this with each connection. */
async function linkTo(t: { teardown(undo: () => unknown): void }, misbehave: (send: (bytes: Uint8Array | string) => void) => void): Promise<string> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  t.teardown(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  await once(server, 'listening');
  server.on('connection', (socket) => socket.on('message', () => misbehave((bytes) => socket.send(bytes))));
  const down = Promise.withResolvers<string>();
  const link = new RelayLink(
    {
      url: `rel://127.0.0.1:${(server.address() as AddressInfo).port}`,
      selfId: new Uint8Array(36),
      token: new Uint8Array(43),
      ca: undefined,
      clock: systemClock,
    },
    { up: () => undefined, down: (_link, reason) => down.resolve(reason), packet: () => undefined, presence: () => undefined },
  );
  t.teardown(() => link.close());
  return down.promise;
}

t.test('a relay that sends text, nonsense, too much, or what only clients send is left', async (t) => {
  t.match(await linkTo(t, (send) => send('text')), /text/);
  t.match(await linkTo(t, (send) => send(Buffer.of(9, 9, 9))), /no relay sends/);
  t.match(await linkTo(t, (send) => send(Buffer.alloc(100_000, 1))), /size/i);
  t.match(
    await linkTo(t, (send) => {
      send(encodeRelayAuthResponse('rel://x:1'));
      send(encodeRelayHealthCheck());
      send(Buffer.concat([Buffer.of(1, 8), Buffer.alloc(36)]));
    }),
    /no relay sends/,
  );
});

t.test('nobody at the relay’s address: said so, and tried again', async (t) => {
  const relay = await new TestRelay().start();
  const endpoints = relay.endpoints();
  await relay.stop();
  const a = await member(new TestSignal(), 'a');
  t.teardown(() => a.overlay.close());
  a.overlay.setEndpoints(endpoints);
  await until(() => a.overlay.status().relay.reason.includes('ECONNREFUSED'), 3000);
  await relay.start();
  t.teardown(() => relay.stop());
  t.comment(`connected ${(await until(() => a.overlay.status().relay.connected, 5000)).toFixed(0)} ms after the relay came`);
});

t.test('a relay without TLS that a peer names is not given our token where our own relays use TLS', async (t) => {
  const relay = await new TestRelay().start();
  t.teardown(() => relay.stop());
  const signal = new TestSignal();
  const [a, b] = [await member(signal, 'a', { forceRelay: true }), await member(signal, 'b', { forceRelay: true })];
  t.teardown(() => Promise.all([a.overlay.close(), b.overlay.close()]));
  const [controller, other] = a.publicKey > b.publicKey ? [a, b] : [b, a];
  const plain = relay.endpoints();
  const secure: MeshEndpoints = { ...plain, relay: plain.relay && { ...plain.relay, urls: ['rels://127.0.0.1:1'] } };
  controller.overlay.setEndpoints(plain);
  other.overlay.setEndpoints(secure);
  await until(() => controller.overlay.status().relay.connected, 3000);
  connect([a, b]);
  await until(() => signal.log.filter(({ message }) => message.kind === 'answer').length >= 2, 3000);
  t.equal(relay.server.stats().connections, 1);
  t.equal(pathKind(other, controller), undefined);
});

t.test('a relay over TLS: the private CA is trusted where it was given, and only there', async (t) => {
  const ca = await createTestCa();
  const relay = await new TestRelay(await ca.issue(['relay.localhost'])).start();
  const signal = new TestSignal();
  const a = await member(signal, 'a', { ca: ca.caPem });
  const b = await member(signal, 'b');
  t.teardown(async () => {
    await Promise.all([a.overlay.close(), b.overlay.close()]);
    await relay.stop();
  });
  for (const { overlay } of [a, b]) overlay.setEndpoints(relay.endpoints());
  await until(() => a.overlay.status().relay.connected, 3000);
  await until(() => /certificate/.test(b.overlay.status().relay.reason), 3000);
  t.equal(b.overlay.status().relay.connected, false);
});
