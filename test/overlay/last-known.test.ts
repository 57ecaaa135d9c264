// Peers that remember where they last reached each other find each other there while signal and relay are away.
import t from 'tap';
import { generatePrivateKey } from '#crypto/x25519.ts';
import { systemClock } from '#lib/clock.ts';
import type { OverlayOptions } from '#overlay/index.ts';
import { openDatagramPort } from '#overlay/udp/open.ts';
import { LAST_KNOWN_RETRY, LAST_KNOWN_SEEK_MS, LAST_KNOWN_SILENCE_MS } from '../../src/overlay/constants.ts';
import { LastKnownPath } from '../../src/overlay/path/last-known.ts';
import { connect, mapFor, member, type Member, orderedKeys, pathKind, readAll, TestRelay, TestSignal, until } from './pair.ts';

const limitMs = 20_000;

function peerOf(of: Member, to: Member) {
  return of.overlay.status().peers.find(({ publicKey }) => publicKey === to.publicKey);
}

function serve({ overlay }: Member): void {
  overlay.accept(
    () => true,
    ({ stream }) => {
      stream.on('error', () => undefined);
      stream.pipe(stream);
    },
  );
}

async function echo(from: Member, to: Member, text: string): Promise<string> {
  const stream = await from.overlay.dial({ host: to.address, port: 80 }, { signal: AbortSignal.timeout(limitMs) });
  stream.end(text);
  return (await readAll(stream)).toString();
}

/** The same peer, begun again with what it remembered. */
async function restart(signal: TestSignal, old: Member, privateKey: Uint8Array, options: Partial<OverlayOptions> = {}): Promise<Member> {
  const endpoints = old.overlay.lastEndpoints();
  const { port } = old.overlay.status().figures;
  await old.overlay.close();
  const again = { ...(await member(signal, old.name, { privateKey, listenPort: port, ...options })), address: old.address };
  again.overlay.setLastEndpoints(endpoints);
  return again;
}

for (const which of ['controller', 'other'] as const) {
  t.test(`the ${which} starts anew without signal and relay: both find each other, and ICE takes over when signal is back`, async (t) => {
    const signal = new TestSignal();
    const [larger, smaller] = orderedKeys();
    const key = which === 'controller' ? larger : smaller;
    let a = await member(signal, 'a', { privateKey: key });
    const b = await member(signal, 'b', { privateKey: which === 'controller' ? smaller : larger });
    t.teardown(() => Promise.all([a.overlay.close(), b.overlay.close()]));
    connect([a, b]);
    await until(() => pathKind(a, b) === 'direct' && pathKind(b, a) === 'direct', limitMs);
    serve(b);
    t.equal(await echo(a, b, 'before'), 'before');
    t.match(a.overlay.lastEndpoints(), [{ peer: b.publicKey, address: '127.0.0.1', port: b.overlay.status().figures.port }]);

    signal.down = true;
    a = await restart(signal, a, key);
    serve(a);
    connect([a], { kind: 'open' }, [a, b]);
    const begun = performance.now();
    t.equal(await echo(a, b, 'cold'), 'cold');
    t.comment(`figure: the ${which} answers ${(performance.now() - begun).toFixed(0)} ms after its cold start`);
    t.match(peerOf(a, b), { reason: 'last known address', path: { kind: 'direct' } });
    // The side that did not restart still thinks of its old path until consent is gone.
    const other = await until(() => peerOf(b, a)?.reason === 'last known address', limitMs);
    t.comment(`figure: the other side ${other.toFixed(0)} ms later`);
    t.equal(await echo(b, a, 'back'), 'back');

    const open = await a.overlay.dial({ host: b.address, port: 80 }, { signal: AbortSignal.timeout(limitMs) });
    const all = readAll(open);
    open.write('one ');
    signal.reconnect();
    await until(() => peerOf(a, b)?.reason === 'a direct path was found' && peerOf(b, a)?.reason === 'a direct path was found', limitMs);
    open.end('two');
    t.equal((await all).toString(), 'one two', 'the connection was not cut');
  });
}

t.test('a relay that comes back replaces it, too', async (t) => {
  const signal = new TestSignal();
  const key = generatePrivateKey();
  let a = await member(signal, 'a', { privateKey: key });
  const b = await member(signal, 'b');
  const relay = await new TestRelay().start();
  t.teardown(async () => {
    await Promise.all([a.overlay.close(), b.overlay.close()]);
    await relay.stop();
  });
  connect([a, b]);
  await until(() => pathKind(a, b) === 'direct' && a.overlay.lastEndpoints().length === 1, limitMs);
  signal.down = true;
  a = await restart(signal, a, key);
  connect([a], { kind: 'open' }, [a, b]);
  await until(() => peerOf(a, b)?.reason === 'last known address', limitMs);
  for (const { overlay } of [a, b]) overlay.setEndpoints(relay.endpoints());
  signal.reconnect();
  await until(() => peerOf(a, b)?.reason !== 'last known address' && peerOf(b, a)?.reason !== 'last known address', limitMs);
  t.ok(pathKind(a, b));
});

t.test('no other address is tried: inside the overlay, special, no address at all, or of a peer that is not in the map', async (t) => {
  const signal = new TestSignal();
  signal.down = true;
  const sent: string[] = [];
  const a = await member(signal, 'a', {
    openPort: async () => ({
      port: 4,
      ipv6: true,
      accelerator: { kind: 'dgram', reason: 'a test' },
      send: (_datagram, { address, port }) => void sent.push(`${address} ${port}`),
      sendRun: (_run, _size, { address, port }) => void sent.push(`${address} ${port}`),
      close: async () => undefined,
    }),
  });
  t.teardown(() => a.overlay.close());
  const bad = ['100.92.9.9', '169.254.169.254', '224.0.0.1', '0.0.0.0', '::', 'ff02::1', 'fe80::1', '::ffff:127.0.0.1', 'peer.test', ''];
  const peers: Member[] = [];
  for (let i = 0; i < bad.length + 3; i++) {
    const peer = await member(signal, `p${i}`);
    peers.push(peer);
    t.teardown(() => peer.overlay.close());
  }
  const [good, removed, witness, ...others] = peers;
  if (good === undefined || removed === undefined || witness === undefined) throw new TypeError('peers');
  a.overlay.setLastEndpoints([
    { peer: good.publicKey, address: '127.0.0.9', port: 99 },
    { peer: removed.publicKey, address: '127.0.0.8', port: 99 },
    { peer: witness.publicKey, address: '127.0.0.7', port: 99 },
    ...others.map(({ publicKey }, i) => ({ peer: publicKey, address: bad[i] ?? '', port: 99 })),
  ]);
  connect([a], { kind: 'open' }, [a, good, witness, ...others]);
  t.notOk(
    a.overlay.lastEndpoints().some(({ peer }) => peer === removed.publicKey),
    'a peer that is not in the map is not kept',
  );
  const called = (address: string): number => sent.filter((to) => to === `${address} 99`).length;
  await until(() => called('127.0.0.9') >= 2 && called('127.0.0.7') >= 2, limitMs);
  t.same(new Set(sent), new Set(['127.0.0.9 99', '127.0.0.7 99']));
  connect([a], { kind: 'open' }, [a, witness, ...others]);
  const before = called('127.0.0.9');
  t.same(
    a.overlay.lastEndpoints().filter(({ peer }) => peer === good.publicKey),
    [],
    'a peer that leaves the map is forgotten',
  );
  connect([a], { kind: 'open' }, [a, good, witness, ...others]);
  const later = called('127.0.0.7') + 2;
  await until(() => called('127.0.0.7') >= later, limitMs);
  t.equal(called('127.0.0.9'), before, 'and not tried when it comes back');
});

t.test('another peer at that address does not answer, and is no path', async (t) => {
  const signal = new TestSignal();
  signal.down = true;
  const [a, b, stranger] = [await member(signal, 'a'), await member(signal, 'b'), await member(signal, 'c')];
  t.teardown(() => Promise.all([a, b, stranger].map(({ overlay }) => overlay.close())));
  a.overlay.setLastEndpoints([{ peer: b.publicKey, address: '127.0.0.1', port: stranger.overlay.status().figures.port }]);
  connect([a, stranger], { kind: 'open' }, [a, b, stranger]);
  await t.rejects(a.overlay.dial({ host: b.address, port: 80 }, { signal: AbortSignal.timeout(2500) }));
  t.equal(pathKind(a, b), undefined);
  t.ok((a.overlay.status().peers.find(({ publicKey }) => publicKey === b.publicKey)?.sentBytes ?? 0) >= 148, 'it was tried');
});

for (const forced of ['the one that calls', 'the one that is called'] as const) {
  t.test(`nothing of it where the relay is forced: ${forced}`, async (t) => {
    const signal = new TestSignal();
    signal.down = true;
    const left = { a: 0, b: 0 };
    const counted = (name: 'a' | 'b'): Partial<OverlayOptions> => ({
      openPort: async (...args) => {
        const port = await openDatagramPort(...args);
        const count = (): void => void left[name]++;
        return {
          port: port.port,
          ipv6: port.ipv6,
          accelerator: port.accelerator,
          send: (datagram, to) => (count(), port.send(datagram, to)),
          sendRun: (run, size, to) => (count(), port.sendRun(run, size, to)),
          close: () => port.close(),
        };
      },
    });
    const a = await member(signal, 'a', { ...counted('a'), forceRelay: forced === 'the one that calls' });
    const b = await member(signal, 'b', { ...counted('b'), forceRelay: forced === 'the one that is called' });
    t.teardown(() => Promise.all([a.overlay.close(), b.overlay.close()]));
    a.overlay.setLastEndpoints([{ peer: b.publicKey, address: '127.0.0.1', port: b.overlay.status().figures.port }]);
    connect([a, b]);
    await t.rejects(a.overlay.dial({ host: b.address, port: 80 }, { signal: AbortSignal.timeout(2500) }));
    t.equal(pathKind(a, b) ?? pathKind(b, a), undefined);
    if (forced === 'the one that calls') t.equal(left.a, 0, 'no call');
    else t.ok(left.a > 0, 'it is called');
    t.equal(left.b, 0, 'and no call is answered directly');
  });
}

t.test('a lazy peer is called when somebody wants it, not before, and wakes although nothing can be signalled', async (t) => {
  const signal = new TestSignal();
  signal.down = true;
  const [a, b, busy] = [await member(signal, 'a'), await member(signal, 'b'), await member(signal, 'c', { lazy: false })];
  t.teardown(() => Promise.all([a, b, busy].map(({ overlay }) => overlay.close())));
  serve(b);
  const ports = [a, b].map(({ overlay }) => overlay.status().figures.port);
  a.overlay.setLastEndpoints([{ peer: b.publicKey, address: '127.0.0.1', port: ports[1] ?? 0 }]);
  busy.overlay.setLastEndpoints([{ peer: b.publicKey, address: '127.0.0.1', port: ports[1] ?? 0 }]);
  b.overlay.setLastEndpoints(
    [a, busy].map(({ publicKey, overlay }) => ({ peer: publicKey, address: '127.0.0.1', port: overlay.status().figures.port })),
  );
  for (const self of [a, b, busy]) self.overlay.apply(mapFor(self, [a, b, busy], { kind: 'open' }, true));
  await until(() => pathKind(busy, b) === 'direct' && pathKind(b, busy) === 'direct', limitMs);
  t.pass('a peer that is not lazy calls by itself, and wakes who rests');
  t.equal(peerOf(a, b)?.sentBytes, 0, 'without traffic no call');
  t.equal(await echo(a, b, 'awake'), 'awake');
  t.equal(peerOf(b, a)?.path?.kind, 'direct');
});

t.test('calls grow seldom, wait while peers can be met, and end; silence ends the path', async (t) => {
  let meeting = false;
  let random = 0.5;
  const moved: string[] = [];
  const path = new LastKnownPath({
    clock: systemClock,
    random: () => random,
    mux: () => undefined,
    allowed: () => true,
    address: { address: '192.0.2.1', port: 7 },
    meeting: () => meeting,
    moved: ({ address }) => void moved.push(address),
  });
  t.equal(path.at, Infinity, 'not before somebody seeks');
  path.seek(0, 0);
  const calls: number[] = [];
  for (let i = 0; i < 8; i++) {
    const { at } = path;
    t.ok(path.probes(at));
    calls.push(at);
  }
  const gaps = calls.slice(1).map((at, i) => Math.round(at - (calls[i] ?? 0)));
  t.same(gaps, [1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
  random = 0;
  const before = path.at;
  path.probes(before);
  t.equal(Math.round(path.at - before), LAST_KNOWN_RETRY.maxMs * 0.8, 'with jitter');
  meeting = true;
  t.notOk(path.probes(path.at), 'nothing while signal is there');
  t.ok(path.at < Infinity, 'but it is looked at again');
  meeting = false;
  t.notOk(path.probes(LAST_KNOWN_SEEK_MS + 1), 'and not for ever');
  t.equal(path.at, Infinity);
  path.want(LAST_KNOWN_SEEK_MS + 2);
  t.ok(path.probes(path.at), 'unless somebody wants the peer');
  t.same(moved, []);
});

t.test('a path that goes silent is none, and is found again', async (t) => {
  const signal = new TestSignal();
  signal.down = true;
  const [a, b] = [await member(signal, 'a'), await member(signal, 'b')];
  t.teardown(() => Promise.all([a.overlay.close(), b.overlay.close()]));
  a.overlay.setLastEndpoints([{ peer: b.publicKey, address: '127.0.0.1', port: b.overlay.status().figures.port }]);
  connect([a, b]);
  serve(b);
  t.equal(await echo(a, b, 'first'), 'first');
  const open = await a.overlay.dial({ host: b.address, port: 80 }, { signal: AbortSignal.timeout(limitMs) });
  const all = readAll(open);
  b.port.blocked = true;
  open.end('late');
  const lost = await until(() => pathKind(a, b) === undefined, LAST_KNOWN_SILENCE_MS + 5000);
  t.comment(`figure: silence was noticed after ${lost.toFixed(0)} ms`);
  t.match(peerOf(a, b)?.reason, /silent/);
  b.port.blocked = false;
  t.equal((await all).toString(), 'late', 'the connection outlives it');
  t.equal(pathKind(a, b), 'direct');
});
