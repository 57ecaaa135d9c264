// What peers and connections cost in memory, in processes of their own: the bars are 64 KB for an idle peer and 256 KB for a busy
// connection, and ten thousand idle connections are held at once.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type End, identities, mapOf, openEnds } from './ends.ts';

const idlePeerKb = 64;
/** The bar is for a connection that is busy one way. Filled to the brim in both directions, with nobody reading at either end, it takes more. */
const busyConnectionKb = 256;
const brimfulConnectionKb = 400;
const idleConnectionKb = 32;
const perKb = (before: number, after: number, count: number): number => (after - before) / 1024 / count;

t.test('ten thousand peers that are known, lazy ones and such as are sought', async (t) => {
  const script = join(import.meta.dirname, 'peers-process.ts');
  const figures = JSON.parse(
    execFileSync(process.execPath, ['--expose-gc', script, '10000'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  ) as {
    readonly lazyKb: number;
    readonly seekingKb: number;
    readonly leftKb: number;
  };
  t.comment(`figure: memory of one of 10,000 known peers: ${figures.lazyKb.toFixed(1)} KB at rest, ${figures.seekingKb.toFixed(1)} KB sought`);
  t.ok(figures.seekingKb <= idlePeerKb);
  t.ok(figures.leftKb < 1, 'what leaves the map leaves nothing behind');
});

t.test('peers that are connected directly and idle', async (t) => {
  const [hub, ...others] = identities(301);
  if (hub === undefined) throw new TypeError('one at least');
  const [one, many] = await openEnds(t, hub, others);
  await many.ask({ kind: 'maps', maps: others.map((self) => ({ publicKey: self.publicKey, map: mapOf(self, [hub]) })) });
  const before = await one.ask({ kind: 'memory' });
  const begun = performance.now();
  await one.ask({ kind: 'maps', maps: [{ publicKey: hub.publicKey, map: mapOf(hub, others) }] });
  while ((await one.ask({ kind: 'connected' })) < others.length) {
    if (performance.now() - begun > 60_000) throw new Error('not all peers were connected within a minute');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.comment(`figure: ${others.length} peers connected with keys agreed, from nothing, in ${(performance.now() - begun).toFixed(0)} ms`);
  const each = perKb(before, await one.ask({ kind: 'memory' }), others.length);
  t.comment(`figure: memory of a connected idle peer: ${each.toFixed(1)} KB (bar ${idlePeerKb})`);
  t.ok(each <= idlePeerKb, `${each.toFixed(1)} KB`);
});

/** Two processes with an overlay each that know each other. */
async function openPair(t: Test): Promise<readonly [End, End, string]> {
  const [a, b] = identities(2);
  if (a === undefined || b === undefined) throw new TypeError('two');
  const [near, far] = await openEnds(t, a, [b]);
  await near.ask({ kind: 'maps', maps: [{ publicKey: a.publicKey, map: mapOf(a, [b]) }] });
  await far.ask({ kind: 'maps', maps: [{ publicKey: b.publicKey, map: mapOf(b, [a]) }] });
  await near.ask({ kind: 'dial', host: b.address, count: 1, atOnce: 1 });
  return [near, far, b.address];
}

/** KB for each of so many since `before`, at either end. */
async function costs(ends: readonly End[], before: readonly number[], count: number): Promise<readonly number[]> {
  const now = await Promise.all(ends.map((end) => end.ask({ kind: 'memory' })));
  return now.map((bytes, i) => perKb(before[i] ?? 0, bytes, count));
}

const text = (kb: readonly number[]): string => kb.map((each) => each.toFixed(1)).join(' and ');

t.test('ten thousand idle connections through two overlays', async (t) => {
  const count = 10_000;
  const [near, far, host] = await openPair(t);
  const ends = [near, far];
  const before = await Promise.all(ends.map((end) => end.ask({ kind: 'memory' })));
  const begun = performance.now();
  t.equal(await near.ask({ kind: 'dial', host, count: count - 1, atOnce: 100 }), count);
  const tookMs = performance.now() - begun;
  t.comment(
    `figure: ${count} connections opened in ${(tookMs / 1000).toFixed(1)} s; each costs ${text(await costs(ends, before, count))} KB at the two ends`,
  );
  const pinged = performance.now();
  await near.ask({ kind: 'ping' });
  t.comment(`figure: a byte there and back through each of ${count} connections: ${(performance.now() - pinged).toFixed(0)} ms`);
  const used = await costs(ends, before, count);
  t.comment(`figure: after that each costs ${text(used)} KB at the two ends`);
  t.ok(Math.max(...used) <= idleConnectionKb);
});

t.test('busy connections: 256 KB each in one direction, in bounds with both full', async (t) => {
  const count = 300;
  const [near, far, host] = await openPair(t);
  const ends = [near, far];
  const before = await Promise.all(ends.map((end) => end.ask({ kind: 'memory' })));
  // Nobody reads at the end, so that every buffer is as full as it gets and nothing that is only on its way is counted.
  // One way: data waits at the sender. Both ways: what comes back waits there too, and what the other side has not sent back yet.
  for (const [way, port, bar] of [
    ['one way', 9, busyConnectionKb],
    ['both ways', 7, brimfulConnectionKb],
  ] as const) {
    await near.ask({ kind: 'busy', count, host, port });
    // Long enough under way for buffers to have grown as far as they do.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    for (const end of ends) await end.ask({ kind: 'hold' });
    let most = await costs(ends, before, count);
    for (let last: readonly number[] = []; last.length === 0 || most.some((kb, i) => Math.abs(kb - (last[i] ?? 0)) > 2);) {
      last = most;
      await new Promise((resolve) => setTimeout(resolve, 300));
      most = await costs(ends, before, count);
    }
    await near.ask({ kind: 'busy', count: 0, host, port });
    t.comment(
      `figure: one of ${count} connections that are busy ${way} and full costs ${text(most)} KB at the two ends (asserted ${bar}, bar ${busyConnectionKb})`,
    );
    t.ok(Math.max(...most) <= bar, way);
  }
});
