// What is open while its policy, the hour or what decides changes: who would not be let in any more is cut, and nobody else.
import type { TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { systemClock, type Clock } from '#lib/clock.ts';
import { type AccessPolicy, type AccessRule, anything, plainAccess, signInProofs } from '#model/access.ts';
import { defaultWeb, type WebOptions } from '#model/web.ts';
import { SWEEP_MS } from '#publish/constants.ts';
import { noGeo } from '#publish/access/rules/facts.ts';
import { plainSurroundings, type Surroundings } from '#publish/access/surroundings.ts';
import { exchange, type Fixture, issue, listenTcp, mapping, path, readUntil, session, startFixture } from '../harness.ts';

const rule = (name: string, action: AccessRule['action'], when: Partial<AccessRule['when']>): AccessRule => ({
  name,
  action,
  observe: false,
  when: { ...anything, ...when },
  proofs: [],
});

/** The wall clock may be moved. */
class Shifted implements Clock {
  shift = 0;
  readonly after = systemClock.after.bind(systemClock);
  readonly now = systemClock.now.bind(systemClock);
  wall(): number {
    return systemClock.wall() + this.shift;
  }
}

interface Site {
  readonly fixture: Fixture;
  readonly clock: Shifted;
  readonly around: { -readonly [Key in keyof Surroundings]: Surroundings[Key] };
  apply(access: Partial<AccessPolicy>, web?: Partial<WebOptions>): void;
}

async function start(t: Test, access: Partial<AccessPolicy>): Promise<Site> {
  const upstream = await listenTcp((socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello');
      socket.pipe(socket);
    });
  });
  const clock = new Shifted();
  const around = { ...plainSurroundings(clock) };
  const service = (change: Partial<AccessPolicy>, web: Partial<WebOptions> = {}) =>
    mapping('a.test', [path(upstream.port)], { access: { ...plainAccess, proofs: signInProofs, ...change }, web: { ...defaultWeb, ...web } });
  const fixture = await startFixture([service(access)], { around, clock });
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  fixture.identity.sessions.set('s1', { kind: 'live', session: session('s1', mapping('a.test', []).id, Date.now() + 100 * 86_400_000) });
  return { fixture, clock, around, apply: (change, web) => fixture.setRoutes([service(change, web)]) };
}

async function open(fixture: Fixture, target = '/ws', cookie = 'Cookie: __Host-meshgate=s1\r\n'): Promise<TLSSocket> {
  const socket = await fixture.connect('a.test');
  const switched = readUntil(socket, (text) => text.endsWith('hello') || /^HTTP\/1.1 [2-5]/.test(text));
  socket.write(
    `GET ${target} HTTP/1.1\r\nHost: a.test\r\n${cookie}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
  );
  socket.resume();
  if (!(await switched).endsWith('hello')) throw new TypeError('not switched');
  socket.resume();
  return socket;
}

/** How long until it was cut. */
function cut(socket: TLSSocket): Promise<number> {
  const begun = performance.now();
  return new Promise((resolve) => socket.once('close', () => resolve(performance.now() - begun)));
}

const sweeps = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 2 * SWEEP_MS + 100));

void t.test('a change of rules cuts whom they do not let in any more, and only them', async (t) => {
  const { fixture, apply } = await start(t, { rules: [rule('open', 'bypass', { paths: ['/open'] })] });
  const own = await open(fixture);
  const anybody = await open(fixture, '/open/x', '');
  apply({ rules: [rule('open', 'bypass', { paths: ['/open'] }), rule('others', 'deny', { addresses: ['192.0.2.0/24'], users: ['mallory'] })] });
  await sweeps();
  t.same([own.destroyed, anybody.destroyed], [false, false], 'both would be let in again');
  const gone = cut(anybody);
  const entry = fixture.nextEntry();
  apply({ rules: [rule('others', 'deny', { users: ['mallory'] })] });
  const ms = await gone;
  t.comment(`figure: cut ${ms.toFixed(0)} ms after the change of rules`);
  t.ok(ms < 1_000);
  t.match(await entry, { reason: 'not_signed_in', rule: 'open' });
  t.equal(own.destroyed, false);
  const mine = cut(own);
  apply({ rules: [rule('alice', 'deny', { users: ['u-alice'] })] });
  t.ok((await mine) < 1_000);
  t.match(await exchange(fixture, 'GET / HTTP/1.1\r\nHost: a.test\r\nCookie: __Host-meshgate=s1\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 403/);
  t.match(fixture.entries.at(-1), { reason: 'rule_denied', rule: 'alice', userId: '' });
});

void t.test('the end of a time window cuts what it had let in', async (t) => {
  const { fixture, clock } = await start(t, {
    rules: [rule('day', 'allow', { times: [{ days: [], from: 480, to: 1_080, timeZone: 'UTC' }] })],
    otherwise: 'deny',
  });
  const today = Math.floor(Date.now() / 86_400_000) * 86_400_000;
  clock.shift = today + 86_400_000 + 17 * 3_600_000 - Date.now();
  const socket = await open(fixture);
  await sweeps();
  t.equal(socket.destroyed, false);
  const gone = cut(socket);
  const entry = fixture.nextEntry();
  clock.shift += 2 * 3_600_000;
  const ms = await gone;
  t.comment(`figure: cut ${ms.toFixed(0)} ms after the hour`);
  t.ok(ms < 1_000);
  t.match(await entry, { reason: 'rule_denied' });
});

void t.test('what decides from outside cuts too: a data base that has changed', async (t) => {
  const site = await start(t, { rules: [rule('land', 'deny', { countries: ['FR'] })] });
  let [country, version] = ['DE', 1];
  site.around.geo = { ...noGeo, country: () => country };
  site.around.version = () => version;
  const socket = await open(site.fixture);
  await sweeps();
  t.equal(socket.destroyed, false);
  const gone = cut(socket);
  country = 'FR';
  version++;
  t.ok((await gone) < 1_000);
});

void t.test('what is only observed is in the record', async (t) => {
  const { fixture } = await start(t, { proofs: [], rules: [{ ...rule('would', 'deny', { paths: ['/x'] }), observe: true }] });
  const socket = await open(fixture, '/x', '');
  const entry = fixture.nextEntry();
  socket.destroy();
  t.match(await entry, { reason: 'public_service', rule: undefined, observed: ['would'] });
});

void t.test('who has shown no certificate is cut where one is asked for now', async (t) => {
  const { fixture, apply } = await start(t, {});
  const socket = await open(fixture);
  const gone = cut(socket);
  const entry = fixture.nextEntry();
  apply({}, { clientCertificate: { ca: (await issue(['ca.test'])).ca, required: true } });
  t.ok((await gone) < 1_000);
  t.match(await entry, { reason: 'host_mismatch' });
});
