import t, { type Test } from 'tap';
import { createPeerControl } from '#control/index.ts';
import type { LoginOutcome, PeerControl, PeerControlOptions } from '#control/types.ts';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { formatPrefix } from '#lib/ip.ts';
import { FakeDomain } from '../server/management/fake-domain.ts';
import { startServer } from '../server/management/fake-server.ts';
import { expiredKey, goodKey, Inbound, peerOptions, publicKeyOf, wrongKey } from './peer-helpers.ts';

const deps = { log: silentLogger, clock: systemClock };
const never = new AbortController().signal;

async function loginWith(t: Test, options: PeerControlOptions): Promise<{ control: PeerControl; outcome: LoginOutcome }> {
  const control = createPeerControl(options, deps);
  t.teardown(() => control.close());
  return { control, outcome: await control.login(never) };
}

async function running(t: Test, options: PeerControlOptions): Promise<{ control: PeerControl; inbound: Inbound }> {
  const { control, outcome } = await loginWith(t, options);
  const inbound = new Inbound();
  if (outcome.kind === 'signed-in') control.start(outcome.endpoints, inbound);
  return { control, inbound };
}

void t.test('a peer registers with a good setup key and gets its first map at once', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const options = peerOptions(server, goodKey);
  const { control, outcome } = await loginWith(t, options);
  t.match(outcome, { kind: 'signed-in', endpoints: { signal: { host: 'control.localhost', port: server.port, tls: true } } });
  if (outcome.kind !== 'signed-in') return;
  const inbound = new Inbound();
  control.start(outcome.endpoints, inbound);
  const map = await inbound.maps.next();
  t.equal(formatPrefix(map.self.v4), '100.92.0.1/16');
  t.equal(map.self.fqdn, 'box-1.mesh.test');
  t.same(map.filter, { kind: 'rules', rules: [] }, 'an empty list of rules denies');
  t.equal(control.status()[0]?.connected, true);
  t.equal(server.domain.log[0], 'connected peer-1');
  t.match((await inbound.endpointUpdates.next()).relay, { tokenPayload: '1893456000' });
});

void t.test('a wrong, an expired and a missing setup key are refused with their reason', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const outcomes = await Promise.all([wrongKey, expiredKey, undefined].map(async (key) => (await loginWith(t, peerOptions(server, key))).outcome));
  t.match(outcomes, [
    { kind: 'refused', reason: /There is no such setup key/ },
    { kind: 'refused', reason: /has expired/ },
    { kind: 'refused', reason: /not registered/ },
  ]);
});

void t.test('a known peer needs no setup key', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const options = peerOptions(server, goodKey);
  await loginWith(t, options);
  const again = await loginWith(t, { ...options, setupKey: undefined });
  t.equal(again.outcome.kind, 'signed-in');
});

void t.test('a change reaches every peer within a second', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const first = await running(t, peerOptions(server, goodKey));
  t.equal((await first.inbound.maps.next()).peers.length, 0);
  const otherOptions = peerOptions(server, goodKey);
  const startedAt = performance.now();
  await loginWith(t, otherOptions);
  const map = await first.inbound.maps.next();
  t.ok(performance.now() - startedAt < 1000);
  t.same(
    map.peers.map((peer) => peer.publicKey),
    [publicKeyOf(otherOptions)],
  );
  t.same(map.peers[0]?.allowedIps.map(formatPrefix), ['100.92.0.2/32'], 'without IPv6 of our own, none of theirs');
});

void t.test('after a restart of the server a peer reconnects, and an older serial is ignored', async (t) => {
  const domain = new FakeDomain();
  domain.serial = 10n;
  const before = await startServer({ domain });
  const { inbound } = await running(t, peerOptions(before, goodKey));
  const serial = (await inbound.maps.next()).serial;
  await before.close();
  domain.serial = serial - 5n;
  const after = await startServer({ domain, port: before.port });
  t.teardown(() => after.close());
  await inbound.endpointUpdates.until(() => true);
  await inbound.endpointUpdates.next(); // the new stream's first message, whose map is older
  t.equal(inbound.maps.length, 0);
  domain.serial = serial + 1n;
  domain.filter = { kind: 'open' };
  domain.emit({ kind: 'network', peers: undefined });
  t.match(await inbound.maps.next(), { serial: serial + 1n, filter: { kind: 'open' } });
});

void t.test('a removed peer is told so', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const options = peerOptions(server, goodKey);
  const { control, inbound } = await running(t, options);
  await inbound.maps.next();
  server.domain.removePeer(publicKeyOf(options));
  t.match(await inbound.refusals.next(), /removed from the network/);
  t.match(control.status()[0], { connected: false, reason: /removed/ });
});

void t.test('logging out removes the peer', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const { control } = await loginWith(t, peerOptions(server, goodKey));
  t.equal(server.domain.known.size, 1);
  await control.logout(never);
  t.equal(server.domain.known.size, 0);
});
