// A peer that opens the way to its target before it answers: what the dialling side hears is what the target said, and nothing was sent before.
// Two overlays over real UDP on loopback.
import { type Duplex, duplexPair } from 'node:stream';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import type { DialTarget } from '#lib/net.ts';
import { MAX_OPENINGS } from '../../src/overlay/constants.ts';
import { connect, type Member, member, TestSignal } from './pair.ts';

interface Asked {
  readonly port: number;
  readonly signal: AbortSignal;
  readonly open: (way: Duplex) => void;
  readonly fail: (code: string) => void;
}

interface World {
  readonly a: Member;
  readonly b: Member;
  readonly asked: Asked[];
  readonly handled: Duplex[];
  dial(limitMs?: number): Promise<Duplex>;
}

/** `b` accepts port 80; each way is opened by the test. What comes through a way is echoed. */
async function world(t: Test, answer: (asked: Asked) => void = () => undefined): Promise<World> {
  const signal = new TestSignal();
  const [a, b] = [await member(signal, 'a'), await member(signal, 'b')];
  t.teardown(() => Promise.all([a.overlay.close(), b.overlay.close()]));
  const asked: Asked[] = [];
  const handled: Duplex[] = [];
  b.overlay.accept(
    (port) => port === 80 || port === 81,
    ({ stream }, way) => {
      stream.on('error', () => undefined);
      if (way === undefined) return;
      handled.push(way);
      stream.pipe(way).pipe(stream);
    },
    (port, signal) =>
      new Promise((open, reject) => {
        const fail = (code: string): void => reject(Object.assign(new Error(code), { code }));
        signal.addEventListener('abort', () => fail('ABORT_ERR'));
        const one = { port, signal, open, fail };
        asked.push(one);
        answer(one);
      }),
  );
  connect([a, b]);
  const target: DialTarget = { host: b.address, port: 80 };
  // A path first, so that times below are of connections only.
  asked.length = 0;
  const warm = a.overlay.dial({ host: b.address, port: 82 }, { signal: AbortSignal.timeout(10_000) });
  await t.rejects(warm, { code: 'ECONNREFUSED' }, 'a port that nobody wants is refused at once');
  return { a, b, asked, handled, dial: (limitMs = 10_000) => a.overlay.dial(target, { signal: AbortSignal.timeout(limitMs) }) };
}

/** A target that echoes. */
function echo(): Duplex {
  const [near, far] = duplexPair();
  far.pipe(far);
  return near;
}

t.test('the answer waits for the target, whose way is handed over', async (t) => {
  const { asked, handled, dial } = await world(t);
  const dialled = dial();
  let open = false;
  void dialled.then(() => (open = true));
  while (asked.length === 0) await new Promise(setImmediate);
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
  t.equal(open, false, 'nothing is said before');
  const way = echo();
  asked[0]?.open(way);
  const stream = await dialled;
  stream.write('hello');
  t.same((await once(stream, 'data'))[0], Buffer.from('hello'));
  t.equal(handled[0], way);
  stream.destroy();
});

t.test('a target that refuses is a port that refuses; one that cannot be reached is said to be so', async (t) => {
  for (const [code, heard] of [
    ['ECONNREFUSED', 'ECONNREFUSED'],
    ['ECONNRESET', 'ECONNREFUSED'],
    ['EHOSTUNREACH', 'EHOSTUNREACH'],
    ['ENETUNREACH', 'EHOSTUNREACH'],
  ] as const) {
    const { handled, dial } = await world(t, ({ fail }) => fail(code));
    const begun = performance.now();
    await t.rejects(dial(), { code: heard }, code);
    t.ok(performance.now() - begun < 900, 'before the SYN would be repeated');
    t.equal(handled.length, 0);
  }
});

t.test('a silent target stays silent, and a repeated SYN opens nothing more', async (t) => {
  const { asked, dial } = await world(t);
  // The SYN is repeated after a second.
  const stream = dial(6_000);
  while (asked.length === 0) await new Promise(setImmediate);
  const repeated = performance.now() + 1_300;
  while (performance.now() < repeated) await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(asked.length, 1);
  asked[0]?.open(echo());
  (await stream).destroy();
  const silent = await world(t, ({ fail }) => fail('ETIMEDOUT'));
  await t.rejects(silent.dial(1_500), 'no answer');
  t.equal(silent.asked.length, 1, 'one try, although the SYN came twice');
});

t.test('who gives up is not waited for', async (t) => {
  const { a, b, asked } = await world(t);
  const giveUp = new AbortController();
  const dialled = a.overlay.dial({ host: b.address, port: 80 }, { signal: giveUp.signal });
  while (asked.length === 0) await new Promise(setImmediate);
  giveUp.abort();
  await t.rejects(dialled, { code: 'ABORT_ERR' });
  const [first] = asked;
  if (first !== undefined && !first.signal.aborted) await once(first.signal, 'abort', { signal: AbortSignal.timeout(3_000) });
  t.equal(first?.signal.aborted, true, 'the way is given up before its time');
});

t.test('more at once than may be held wait for their turn; another peer is served meanwhile', async (t) => {
  const signal = new TestSignal();
  const [a, b, c] = [await member(signal, 'a'), await member(signal, 'b'), await member(signal, 'c')];
  t.teardown(() => Promise.all([a, b, c].map(({ overlay }) => overlay.close())));
  const held: (() => void)[] = [];
  let released = false;
  let most = 0;
  b.overlay.accept(
    (port) => port === 80 || port === 81,
    ({ stream }, way) => {
      stream.on('error', () => undefined).end();
      way?.destroy();
    },
    async (port) => {
      if (port === 80 && !released) {
        most = Math.max(most, held.length + 1);
        await new Promise<void>((resolve) => held.push(resolve));
      }
      return duplexPair()[0];
    },
  );
  connect([a, b, c]);
  const dial = (from: Member, port: number): Promise<Duplex> => from.overlay.dial({ host: b.address, port }, { signal: AbortSignal.timeout(30_000) });
  (await dial(a, 81)).destroy();
  const count = MAX_OPENINGS / 2 + 200;
  const dials = Array.from({ length: count }, () => dial(a, 80));
  while (held.length < MAX_OPENINGS / 2) await new Promise((resolve) => setTimeout(resolve, 5));
  const begun = performance.now();
  (await dial(c, 81)).destroy();
  t.comment(`figure: another peer's connection while ${held.length} are held: ${(performance.now() - begun).toFixed(1)} ms`);
  t.equal(most, MAX_OPENINGS / 2);
  released = true;
  for (const release of held) release();
  for (const stream of await Promise.all(dials)) stream.destroy();
  t.pass(`all ${count} were served`);
});

t.test('a new connection takes no longer for it', async (t) => {
  const signal = new TestSignal();
  const [a, b, c] = [await member(signal, 'a'), await member(signal, 'b'), await member(signal, 'c')];
  t.teardown(() => Promise.all([a, b, c].map(({ overlay }) => overlay.close())));
  const target = async (): Promise<Duplex> => {
    await new Promise(setImmediate);
    return echo();
  };
  const join = (stream: Duplex, way: Duplex): void =>
    void stream
      .on('error', () => undefined)
      .pipe(way)
      .pipe(stream);
  b.overlay.accept(
    () => true,
    ({ stream }, way) => (way === undefined ? stream.destroy() : join(stream, way)),
    target,
  );
  c.overlay.accept(
    () => true,
    ({ stream }) => void target().then((way) => join(stream, way)),
  );
  connect([a, b, c]);
  const once1 = async (to: Member): Promise<number> => {
    const begun = performance.now();
    const stream = await a.overlay.dial({ host: to.address, port: 80 }, { signal: AbortSignal.timeout(10_000) });
    stream.write('x');
    await once(stream, 'data');
    const ms = performance.now() - begun;
    stream.destroy();
    return ms;
  };
  const times = { held: [] as number[], before: [] as number[] };
  for (let i = 0; i < 220; i++) {
    const [held, before] = [await once1(b), await once1(c)];
    if (i >= 20) {
      times.held.push(held);
      times.before.push(before);
    }
  }
  const median = (list: readonly number[]): number => list.toSorted((x, y) => x - y)[Math.floor(list.length / 2)] ?? NaN;
  const [held, before] = [median(times.held), median(times.before)];
  t.comment(
    `figure: a new connection and one round trip through it, median of 200: ${held.toFixed(2)} ms held, ${before.toFixed(2)} ms when taken first`,
  );
  t.ok(held < before * 2 + 1, 'of one size');
});
