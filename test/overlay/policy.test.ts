// The map decides: who may connect, who is still a peer, and what outlives a change.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import t from 'tap';
import type { PacketFilter } from '#model/network-map.ts';
import { encodeStun } from '#wire/stun.ts';
import { connect, mapFor, member, type Member, pathKind, prefix, readAll, TestSignal, until } from './pair.ts';

function allow(from: Member, port: number): PacketFilter {
  const base = { direction: 'in', action: 'accept', protocol: 'tcp' } as const;
  return { kind: 'rules', rules: [{ ...base, peer: prefix(`${from.address}/32`), ports: { start: port, end: port } }] };
}

async function three(t: { teardown(undo: () => Promise<unknown>): void }): Promise<[Member, Member, Member, TestSignal]> {
  const signal = new TestSignal();
  const all: [Member, Member, Member] = [await member(signal, 'a'), await member(signal, 'b'), await member(signal, 'c')];
  t.teardown(() => Promise.all(all.map(({ overlay }) => overlay.close())));
  return [...all, signal];
}

function echo(of: Member): Duplex[] {
  const accepted: Duplex[] = [];
  of.overlay.accept(
    () => true,
    ({ stream }) => {
      accepted.push(stream);
      stream.on('error', () => undefined);
      stream.pipe(stream);
    },
  );
  return accepted;
}

const dial = (from: Member, to: Member, port: number): Promise<Duplex> =>
  from.overlay.dial({ host: to.address, port }, { signal: AbortSignal.timeout(10_000) });

async function says(stream: Duplex, text: string): Promise<string> {
  const answer = once(stream, 'data');
  stream.write(text);
  return String((await answer)[0]);
}

t.test('only what a rule admits gets in; a refusal is a reset; answers to our own connections pass', async (t) => {
  const [a, b] = await three(t);
  echo(b);
  echo(a);
  a.overlay.apply(mapFor(a, [a, b], { kind: 'rules', rules: [] }));
  b.overlay.apply(mapFor(b, [a, b], allow(a, 80)));
  const stream = await dial(a, b, 80);
  t.equal(await says(stream, 'ping'), 'ping', 'a admits nothing, and hears the answer');
  await t.rejects(dial(a, b, 81), { code: 'ECONNREFUSED' });
  await t.rejects(dial(b, a, 80), { code: 'ECONNREFUSED' });
  stream.destroy();
});

t.test('a peer that leaves while somebody dials it: the dial fails, and nothing else does', async (t) => {
  const [a, b] = await three(t);
  echo(b);
  connect([a, b]);
  (await dial(a, b, 80)).destroy(); // so that there is a path
  const dialled = dial(a, b, 80);
  a.overlay.apply(mapFor(a, [a], { kind: 'open' }));
  await t.rejects(dialled, { code: 'EHOSTUNREACH' });
});

t.test('a permission that goes ends what it had admitted, and nothing else', async (t) => {
  const [a, b, c] = await three(t);
  echo(b);
  const rules = [allow(a, 80), allow(c, 80)].flatMap((filter) => (filter.kind === 'rules' ? filter.rules : []));
  connect([a, c], { kind: 'open' }, [a, b, c]);
  b.overlay.apply(mapFor(b, [a, b, c], { kind: 'rules', rules }));
  const [fromA, fromC] = [await dial(a, b, 80), await dial(c, b, 80)];
  const broken = once(fromA, 'error');
  b.overlay.apply(mapFor(b, [a, b, c], allow(c, 80)));
  t.match((await broken)[0], { code: 'ECONNRESET' });
  t.equal(await says(fromC, 'still'), 'still');
  fromC.destroy();
});

t.test('a peer that leaves the map loses its connections at once; the others keep theirs, paths and sessions', async (t) => {
  const [a, b, c] = await three(t);
  const [atB, atC] = [echo(b), echo(c)];
  connect([a, b, c]);
  const [toB, toC] = [await dial(a, b, 80), await dial(a, c, 80)];
  await until(() => pathKind(a, c) === 'direct', 5000);
  const before = a.overlay.status().peers.find(({ publicKey }) => publicKey === c.publicKey);
  const broken = once(toB, 'error');
  connect([a, c], { kind: 'open' }, [a, c]);
  t.match((await broken)[0], { code: 'EHOSTUNREACH' });
  t.equal(await says(toC, 'still'), 'still');
  const after = a.overlay.status().peers;
  t.equal(after.length, 1);
  t.ok(Math.abs(Date.parse(after[0]?.path?.since ?? '') - Date.parse(before?.path?.since ?? '')) < 50, 'the same path');
  await t.rejects(dial(a, b, 80), { code: 'EHOSTUNREACH' });
  t.equal(atB.length + atC.length, 2);

  const waiting = dial(a, c, 80);
  (await waiting).destroy();
  a.overlay.apply({ ...mapFor(a, [a, b, c], { kind: 'open' }), serial: 0n });
  t.equal(a.overlay.status().peers.length, 1, 'an older map is ignored');
  toC.destroy();
});

t.test('a dial waits for a peer that has no path, until its caller gives up or the peer leaves', async (t) => {
  const [a, b] = await three(t);
  a.overlay.apply(mapFor(a, [a, b], { kind: 'open' }));
  const giveUp = new AbortController();
  const first = a.overlay.dial({ host: b.address, port: 80 }, { signal: giveUp.signal });
  const second = dial(a, b, 80);
  giveUp.abort();
  await t.rejects(first, { code: 'ABORT_ERR' });
  a.overlay.apply(mapFor(a, [a], { kind: 'open' }));
  await t.rejects(second, { code: 'EHOSTUNREACH' });
  t.match(a.overlay.status().peers, []);
});

t.test('a peer that asked to rest gets no offers until somebody wants it; then its connections go on', async (t) => {
  const [a, b, , signal] = await three(t);
  echo(b);
  connect([a, b]);
  const stream = await dial(a, b, 80);
  t.equal(await says(stream, 'one'), 'one');
  await until(() => pathKind(a, b) === 'direct' && pathKind(b, a) === 'direct', 5000);
  // The acknowledgment of what was said goes out a little later, and would wake the peer.
  const quietFrom = performance.now();
  await until(() => performance.now() - quietFrom > 250, 1000);
  signal.port(b.publicKey).send(a.publicKey, { kind: 'go-idle' });
  await until(() => pathKind(a, b) === undefined, 1000);
  const sent = signal.log.filter(({ from }) => from === a.publicKey).length;
  await t.rejects(until(() => signal.log.filter(({ from }) => from === a.publicKey).length > sent, 300));
  t.match(a.overlay.status().peers[0]?.reason, /rest/);
  const woken = performance.now();
  t.equal(await says(stream, 'two'), 'two', 'the first packet wakes the peer');
  t.comment(`a resting peer answered ${(performance.now() - woken).toFixed(0)} ms after the first packet`);
  t.ok(signal.log.filter(({ from, message }) => from === a.publicKey && message.kind === 'offer').length >= 2);
  stream.destroy();
});

t.test('random bytes, cut and forged messages at the UDP port are harmless', async (t) => {
  const [a, b] = await three(t);
  echo(b);
  connect([a, b]);
  const stream = await dial(a, b, 80);
  const port = Number(a.overlay.status().peers[0]?.path?.remote.split(':')[1]);
  const socket = createSocket('udp4');
  t.teardown(async () => socket.close());
  let seed = 42;
  const random = (below: number): number => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) % below;
  for (let i = 0; i < 2000; i++) {
    const kind = random(4);
    const bytes =
      kind === 0
        ? encodeStun({ class: 'request', transactionId: Buffer.alloc(12, random(256)), username: 'a:b', useCandidate: true }, 'guess')
        : Buffer.from(Array.from({ length: random(300) }, () => random(256)));
    if (kind === 1 && bytes.length >= 4) bytes.set([1 + random(4), 0, 0, 0]);
    if (kind === 2 && bytes.length > 20) bytes.set([0, 1, 0, bytes.length - 20, 0x21, 0x12, 0xa4, 0x42]);
    socket.send(bytes, port, '127.0.0.1');
    if (i % 100 === 99) t.equal(await says(stream, `round ${i}`), `round ${i}`);
  }
  t.equal(a.overlay.status().peers[0]?.path?.kind, 'direct');
  stream.end();
  await readAll(stream);
});

t.test('a slow reader stops the writer, and every byte arrives when it reads again', async (t) => {
  const [a, b] = await three(t);
  const accepted = new Promise<Duplex>((resolve) =>
    b.overlay.accept(
      () => true,
      ({ stream }) => resolve(stream.pause()),
    ),
  );
  connect([a, b]);
  const stream = await dial(a, b, 80);
  const reader = await accepted;
  const piece = Buffer.alloc(64 * 1024, 7);
  let wrote = 0;
  // The window and both buffers fill; then nothing drains any more.
  for (;;) {
    wrote += piece.length;
    if (stream.write(piece)) continue;
    const drained = await Promise.race([once(stream, 'drain').then(() => true), new Promise<false>((resolve) => setTimeout(resolve, 500, false))]);
    if (!drained) break;
    if (wrote > 64 * 1024 * 1024) break;
  }
  t.ok(wrote < 8 * 1024 * 1024, `the writer stopped after ${wrote} bytes`);
  stream.end();
  t.equal((await readAll(reader)).length, wrote);
  reader.end();
});
