// Several targets of a TCP service: shares, stickiness, checks and ejection, seen at the targets; and which changes cut what is open.
import { once } from 'node:events';
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { ServiceMapping } from '#model/service.ts';
import { defaultStream, type StreamOptions } from '#model/stream.ts';
import { listenTcp } from '../harness.ts';
import { until } from '../../support/until.ts';
import { dial, entry, open, read, stream, upstream, type Door } from './door.ts';

interface Weighted {
  readonly port: number;
  readonly weight?: number;
}

function service(targets: readonly Weighted[], options: Partial<StreamOptions> = {}): ServiceMapping {
  const made = stream(
    'db.test',
    targets.map(({ port }) => port),
    { stream: { ...defaultStream, ...options } },
  );
  const [path] = made.paths;
  if (path === undefined) throw new TypeError('no path');
  return { ...made, paths: [{ ...path, targets: path.targets.map((target, i) => ({ ...target, weight: targets[i]?.weight ?? 1 })) }] };
}

async function ask(door: Door): Promise<string> {
  const socket = dial(door);
  socket.end('x');
  return await read(socket).catch(() => 'reset');
}

async function tally(door: Door, count: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    const answer = await ask(door);
    counts[answer] = (counts[answer] ?? 0) + 1;
  }
  return counts;
}

/** Accepts, and resets a moment later, as an agent whose target is down. */
async function broken(t: Test): Promise<{ readonly port: number; readonly count: () => number }> {
  let count = 0;
  const server = await listenTcp((socket) => {
    count++;
    const timer = setTimeout(() => socket.resetAndDestroy(), 100);
    socket.once('data', () => socket.resetAndDestroy());
    socket.once('close', () => clearTimeout(timer));
  });
  t.teardown(() => server.close());
  return { port: server.port, count: () => count };
}

void t.test('targets have shares of the connections by weight; one of weight 0 has none while another is there', async (t) => {
  const [one, two, spare] = [await upstream(t, () => 'one'), await upstream(t, () => 'two'), await upstream(t, () => 'spare')];
  const targets = [{ port: one.port, weight: 3 }, { port: two.port }, { port: spare.port, weight: 0 }];
  const door = await open(t, [service(targets)]);
  t.same(await tally(door, 40), { one: 30, two: 10 });
  await one.close();
  await two.close();
  t.same(await tally(door, 3), { spare: 3 });
});

void t.test('the one with the fewest connections for its weight is taken', async (t) => {
  const held: Socket[] = [];
  const holding = async (): Promise<{ readonly port: number; readonly open: () => number }> => {
    const server = await listenTcp((socket) => void held.push(socket));
    t.teardown(() => server.close());
    return { port: server.port, open: () => server.sockets.size };
  };
  const [one, two] = [await holding(), await holding()];
  const door = await open(t, [service([{ port: one.port }, { port: two.port }], { balancing: { strategy: 'least_connections', sticky: 'off' } })]);
  for (let i = 1; i <= 20; i++) {
    dial(door).write('x');
    await until('it has come', () => Promise.resolve(one.open() + two.open() === i));
    await until('it is counted', () => Promise.resolve(door.open() === i));
  }
  t.equal(one.open(), 10);
  t.equal(two.open(), 10);
});

void t.test('an address keeps its target, until that is gone', async (t) => {
  const [one, two] = [await upstream(t, () => 'one'), await upstream(t, () => 'two')];
  const door = await open(t, [service([{ port: one.port }, { port: two.port }], { balancing: { strategy: 'round_robin', sticky: 'address' } })]);
  const counts = await tally(door, 10);
  const [mine = ''] = Object.keys(counts);
  t.same(counts, { [mine]: 10 });
  await (mine === 'one' ? one : two).close();
  t.same(await tally(door, 3), { [mine === 'one' ? 'two' : 'one']: 3 });
});

void t.test('a target that breaks every connection off is left out, and is not the last one', async (t) => {
  const bad = await broken(t);
  const good = await upstream(t, () => 'good');
  const door = await open(t, [service([{ port: bad.port }, { port: good.port }], { ejection: { failures: 3, ejectMs: 60_000 } })]);
  const counts = await tally(door, 20);
  t.equal(bad.count(), 3, 'after so many failures in a row');
  t.equal(counts['good'], 17);
  t.match(door.targetProblems('db.test'), [new RegExp(`^${bad.port} left out for 60 s: 3 requests in a row failed`)]);
  door.apply([service([{ port: bad.port }], { ejection: { failures: 3, ejectMs: 60_000 } })]);
  const before = bad.count();
  await tally(door, 5);
  t.equal(bad.count(), before + 5, 'alone it is tried all the same');
});

void t.test('clients that break off say nothing of the target', async (t) => {
  const one = await upstream(t);
  const two = await upstream(t);
  const door = await open(t, [service([{ port: one.port }, { port: two.port }], { ejection: { failures: 1, ejectMs: 60_000 } })]);
  for (let i = 1; i <= 6; i++) {
    const socket = dial(door);
    await once(socket, 'connect');
    await until('it is through', () => Promise.resolve(one.sockets.size + two.sockets.size > 0));
    socket.resetAndDestroy();
    await entry(door, i);
    await until('it is gone', () => Promise.resolve(one.sockets.size + two.sockets.size === 0));
  }
  t.same(door.targetProblems('db.test'), []);
});

void t.test('checks find a target that is gone, and one that accepts and resets, before anybody meets them', async (t) => {
  const bad = await broken(t);
  const good = await upstream(t, () => 'good');
  const away = await upstream(t, () => 'away');
  await away.close();
  const healthCheck = { intervalMs: 1_000, timeoutMs: 1_000, healthyAfter: 1, unhealthyAfter: 1 };
  const targets = [{ port: bad.port }, { port: away.port }, { port: good.port }];
  const door = await open(t, [service(targets, { healthCheck, ejection: { failures: 0, ejectMs: 1_000 } })]);
  await until('both are found', () => Promise.resolve(door.targetProblems('db.test').length === 2), 10_000);
  t.match(door.targetProblems('db.test').join('\n'), new RegExp(`${away.port} the check got ECONNREFUSED`));
  t.match(door.targetProblems('db.test').join('\n'), new RegExp(`${bad.port} the connection of the check was (broken|closed)`));
  const before = bad.count();
  t.same(await tally(door, 6), { good: 6 });
  t.ok(bad.count() - before <= 2, 'no client has come to it');
});

void t.test('what is open stays open when shares or checks change, or another target goes', async (t) => {
  const [one, two] = [await upstream(t), await upstream(t)];
  const door = await open(t, [service([{ port: one.port }, { port: two.port }])]);
  const socket = dial(door);
  socket.write('a');
  await until('it is through', () => Promise.resolve(one.sockets.size + two.sockets.size === 1));
  const [mine, other] = one.sockets.size === 1 ? [one, two] : [two, one];
  const balancing = { strategy: 'random', sticky: 'address' } as const;
  door.apply([service([{ port: one.port, weight: 5 }, { port: two.port }], { balancing, ejection: { failures: 1, ejectMs: 1_000 } })]);
  door.apply([service([{ port: mine.port }])]);
  socket.end('b');
  t.equal(await read(socket), 'AB');
  t.same(mine.received, ['ab']);
  const second = dial(door);
  second.write('c');
  await until('it is through', () => Promise.resolve(mine.sockets.size === 1));
  door.apply([service([{ port: other.port }])]);
  await t.rejects(read(second));
  t.match(await entry(door, 2), { reason: 'service_changed' });
});
