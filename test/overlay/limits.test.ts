// The overlay's tables are bounded, and say so where they are full.
import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import type { PublicKey } from '#model/ids.ts';
import { ICE_MAX_RECENT_CANDIDATES, MAX_KNOWN_REMOTES, MAX_WAITING_DIALS, STREAM_HIGH_WATER_BYTES } from '../../src/overlay/constants.ts';
import { Dials } from '../../src/overlay/dials.ts';
import { DirectPath, IceRouter } from '../../src/overlay/path/ice.ts';
import { MemoryPath } from '../../src/overlay/path/memory.ts';
import { UdpMux } from '../../src/overlay/path/udp-mux.ts';
import { OverlayStream } from '../../src/overlay/stream.ts';
import { createOverlay } from '#overlay/index.ts';
import { systemClock } from '#lib/clock.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { seeded, seededBytes } from '../support/seeded.ts';
import { prefix, TestSignal } from './pair.ts';

t.test('dials that wait for a path are bounded, and all end when the overlay closes', async (t) => {
  const peer = 'p' as unknown as PublicKey;
  const dials = new Dials({
    find: () => ({ peer, ip: prefix('100.92.0.2/32').address }),
    wants: () => false,
    connect: () => {
      throw new TypeError('no path, no connection');
    },
  });
  const signal = new AbortController().signal;
  const waiting = Array.from({ length: MAX_WAITING_DIALS }, () => dials.dial({ host: 'x', port: 1 }, { signal }));
  await t.rejects(dials.dial({ host: 'x', port: 1 }, { signal }), { code: 'ENOBUFS' });
  dials.close();
  const ends = await Promise.allSettled(waiting);
  t.ok(ends.every((end) => end.status === 'rejected' && (end.reason as { code?: string }).code === 'EHOSTUNREACH'));
});

t.test('a table of remote addresses that is full starts anew; one address is one object meanwhile', async (t) => {
  const mux = await UdpMux.open(0, { wireGuard: () => undefined, turn: () => undefined, stun: () => undefined }, silentLogger);
  t.teardown(() => mux.close());
  const first = mux.remote('192.0.2.1', 1);
  t.equal(mux.remote('192.0.2.1', 1), first);
  for (let i = 0; i < MAX_KNOWN_REMOTES; i++) mux.remote('192.0.2.2', i);
  t.not(mux.remote('192.0.2.1', 1), first);
});

t.test('candidates that come without an offer are bounded, and used when it comes', async (t) => {
  const clock = new ManualClock();
  let checked = 0;
  const path = new DirectPath({
    controlling: true,
    mux: () => undefined,
    router: new IceRouter(),
    clock,
    random: seededBytes(1),
    localCandidates: () => [],
    allowed: () => {
      checked++;
      return true;
    },
    announce: () => undefined,
    changed: () => undefined,
  });
  for (let i = 0; i < 100; i++) path.addRemote(`1 1 udp 1 192.0.2.1 ${i + 1} typ host`);
  t.equal(checked, 0);
  path.start({ ufrag: 'u', pwd: 'p', sessionId: undefined });
  t.equal(checked, ICE_MAX_RECENT_CANDIDATES);
  path.close();
  t.equal(clock.pending, 0, 'and no timer is left');
});

t.test('what a stream gathers counts against the window until it is read', async (t) => {
  let consumed = 0;
  const gathered: OverlayStream[] = [];
  const stream = new OverlayStream({ clock: new ManualClock(), touch: () => undefined, gather: (one) => gathered.push(one) }, true, {
    opened: () => undefined,
    gone: () => undefined,
  });
  const at = { ip: prefix('100.92.0.2/32').address, port: 1 };
  stream.bind({
    local: at,
    remote: at,
    attach: () => undefined,
    write: (bytes) => bytes.length,
    consumed: (count) => (consumed += count),
    end: () => undefined,
    abort: () => undefined,
    hurry: () => undefined,
    sendBufferFree: 1,
    describe: () => '',
  });
  const segment = new Uint8Array(1200);
  let received = 0;
  while (received < 3 * STREAM_HIGH_WATER_BYTES) {
    stream.handler.data(segment, 0);
    received += segment.length;
    for (const one of gathered.splice(0)) one.flush();
  }
  t.ok(consumed <= STREAM_HIGH_WATER_BYTES, `${consumed} of ${received} let go`);
  let read = 0;
  for (let chunk: Buffer | null = stream.read(); chunk !== null; chunk = stream.read()) read += chunk.length;
  t.equal(read, received);
  t.equal(consumed, received);
  stream.destroy();
});

t.test('a path in memory holds no more than its capacity', async (t) => {
  const clock = new ManualClock();
  const [a, b] = MemoryPath.pair({ clock, random: seeded(1), delayMs: 10, loss: 0, reorder: 0, capacity: 3 });
  let got = 0;
  b.receive = () => got++;
  for (let i = 0; i < 5; i++) a.send(Uint8Array.of(i));
  clock.advance(10);
  t.equal(got, 3);
  t.equal(a.lost, 2);
});

t.test('a bad key is refused; closing twice is one closing and leaves the port free', async (t) => {
  const deps = { signal: new TestSignal().port('p' as unknown as PublicKey), log: silentLogger, clock: systemClock };
  const options = { listenPort: 0, version: 'test', ca: undefined };
  await t.rejects(createOverlay(deps, { ...options, privateKey: new Uint8Array(31) }), { code: 'OVERLAY_BAD_KEY' });
  const privateKey = new Uint8Array(32).fill(7);
  const overlay = await createOverlay(deps, { ...options, privateKey });
  t.equal(overlay.close(), overlay.close());
  await overlay.close();
  await t.rejects(overlay.dial({ host: '100.92.0.2', port: 1 }, { signal: AbortSignal.timeout(1000) }), { code: 'EHOSTUNREACH' });
});
