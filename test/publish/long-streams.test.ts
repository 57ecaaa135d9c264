// Upgraded streams that outlive everything around them: their trust is asked for again, so that a token's end is seen and a good session stays good.
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { CONFIRM_MS, SWEEP_MS } from '#publish/constants.ts';
import { alice, listenTcp, mapping, path, readUntil, session, startFixture, withLogin, type Fixture } from './harness.ts';
import { ManualClock } from '../support/manual-clock.ts';

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}

async function start(t: Test, field: string): Promise<{ fixture: Fixture; clock: ManualClock; closed: Promise<unknown> }> {
  const clock = new ManualClock();
  const upstream = await listenTcp((socket: Socket) =>
    socket.once('data', () => socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')),
  );
  const service = mapping('a.test', [path(upstream.port)], withLogin);
  const fixture = await startFixture([service], { clock });
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  fixture.identity.sessions.set('s1', { kind: 'live', session: session('s1', service.id, clock.wall() + 30 * 24 * 3_600_000) });
  fixture.identity.tokens.set('nbp_t', { kind: 'valid', identity: { ...alice, method: 'token' } });
  const socket = await fixture.connect('a.test');
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const switched = readUntil(socket, (text) => text.endsWith('\r\n\r\n'));
  socket.write(`GET / HTTP/1.1\r\nHost: a.test\r\n${field}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`);
  t.match(await switched, /^HTTP\/1\.1 101/);
  socket.resume();
  return { fixture, clock, closed };
}

void t.test('a session is confirmed as long as its stream is open, also while it cannot be asked for', async (t) => {
  const { fixture, clock, closed } = await start(t, 'Cookie: __Host-meshgate=s1');
  const asked = fixture.identity.asked.length;
  for (let i = 0; i < 3; i++) {
    fixture.identity.fails = i === 1;
    clock.advance(CONFIRM_MS + SWEEP_MS);
    await settle();
  }
  t.ok(fixture.identity.asked.length >= asked + 3);
  t.equal(fixture.publisher.stats().streams, 1);
  fixture.identity.sessions.set('s1', { kind: 'none', why: 'revoked' });
  clock.advance(CONFIRM_MS + SWEEP_MS);
  await closed;
  t.equal(fixture.publisher.stats().streams, 0);
});

void t.test('a service token that has run out ends its stream', async (t) => {
  const { fixture, clock, closed } = await start(t, 'X-Meshgate-Token: nbp_t');
  clock.advance(CONFIRM_MS + SWEEP_MS);
  await settle();
  t.equal(fixture.publisher.stats().streams, 1);
  fixture.identity.tokens.delete('nbp_t');
  clock.advance(CONFIRM_MS + SWEEP_MS);
  await closed;
  t.equal(fixture.publisher.stats().streams, 0);
});
