// The connections to one upstream: who gets which, and how many are made.
import { duplexPair, type Duplex } from 'node:stream';
import t from 'tap';
import { errorCode } from '#lib/errors.ts';
import {
  SURPLUS_IDLE_MS,
  UPSTREAM_CONNECTIONS,
  UPSTREAM_DIALS_PER_TURN,
  UPSTREAM_IDLE_CONNECTIONS,
  UPSTREAM_IDLE_MS,
} from '../../src/publish/constants.ts';
import type { UpstreamConnection } from '../../src/publish/http/upstream-connection.ts';
import type { AnswerReceiver } from '../../src/publish/http/upstream-link.ts';
import { UpstreamPool } from '../../src/publish/http/upstream-pool.ts';

interface Dial {
  readonly abort: AbortController;
  succeed(): Duplex;
  fail(error: Error): void;
}

interface Rig {
  readonly pool: UpstreamPool;
  readonly dials: Dial[];
  time: number;
}

function rig(): Rig {
  const dials: Dial[] = [];
  const made: Rig = {
    dials,
    time: 0,
    pool: new UpstreamPool({
      key: 'app',
      now: () => made.time,
      dial: (abort) =>
        new Promise((resolve, reject) => {
          abort.signal.addEventListener('abort', () => reject(abort.signal.reason as Error));
          dials.push({
            abort,
            succeed: () => {
              const [ours, theirs] = duplexPair();
              theirs.on('error', () => undefined);
              resolve(ours);
              return theirs;
            },
            fail: reject,
          });
        }),
    }),
  };
  return made;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => resolve()));
const never = new AbortController().signal;

/** Dials begin in the turn after they are asked for. */
async function connected({ pool, dials }: Rig, count: number): Promise<readonly UpstreamConnection[]> {
  const before = dials.length;
  const waiting = Array.from({ length: count }, () => pool.wait(never));
  while (dials.length < before + count) await turn();
  for (const dial of dials.slice(before)) dial.succeed();
  return Promise.all(waiting);
}

const deaf: AnswerReceiver = {
  interim: () => undefined,
  answerHead: () => undefined,
  answerData: () => true,
  answerFlush: () => undefined,
  answerEnd: () => undefined,
  answerFailed: () => undefined,
  switched: () => undefined,
  requestDrain: () => undefined,
};

t.test('a connection that comes free goes to whoever has waited longest, and the dial is not begun', async (t) => {
  const made = rig();
  const [first] = await connected(made, 1);
  const order: string[] = [];
  const one = made.pool.wait(never).then((connection) => (order.push('one'), connection));
  const two = made.pool.wait(never).then((connection) => (order.push('two'), connection));
  if (first === undefined) return;
  made.pool.idle(first);
  t.equal(await one, first);
  await turn();
  t.equal(made.dials.length, 2, 'only the second needed one');
  made.dials[1]?.succeed();
  t.not(await two, first);
  t.strictSame(order, ['one', 'two']);
});

t.test('a dial that somebody else has made needless gives a kept connection', async (t) => {
  const made = rig();
  const [first] = await connected(made, 1);
  const waiting = made.pool.wait(never);
  while (made.dials.length < 2) await turn();
  if (first === undefined) return;
  made.pool.idle(first);
  t.equal(await waiting, first);
  made.dials[1]?.succeed();
  await turn();
  t.ok(made.pool.take(), 'the dialled one is kept');
});

t.test('dials begin a few in a turn of the loop, and all of them in the end', async (t) => {
  const made = rig();
  const count = UPSTREAM_DIALS_PER_TURN * 5 + 1;
  const waiting = Array.from({ length: count }, () => made.pool.wait(never));
  t.equal(made.dials.length, 0);
  let most = 0;
  while (made.dials.length < count) {
    const before = made.dials.length;
    await turn();
    most = Math.max(most, made.dials.length - before);
  }
  t.ok(most <= UPSTREAM_DIALS_PER_TURN, `${most} in one turn`);
  for (const dial of made.dials) dial.succeed();
  t.equal(new Set(await Promise.all(waiting)).size, count);
});

t.test('a dial that fails is told to who has waited longest; the others wait on', async (t) => {
  const made = rig();
  const one = made.pool.wait(never);
  const two = made.pool.wait(never);
  while (made.dials.length < 2) await turn();
  made.dials[1]?.fail(new Error('refused'));
  await t.rejects(one, { message: 'refused' });
  made.dials[0]?.succeed();
  t.ok(await two);
});

t.test('who stops waiting takes no connection, and no dial goes on for nobody', async (t) => {
  const made = rig();
  const abort = new AbortController();
  const waiting = made.pool.wait(abort.signal);
  while (made.dials.length < 1) await turn();
  abort.abort(new Error('gone'));
  await t.rejects(waiting, { message: 'gone' });
  t.ok(made.dials[0]?.abort.signal.aborted);
  await turn();
  t.ok(made.pool.empty);
  await t.rejects(made.pool.wait(AbortSignal.abort(new Error('before'))), { message: 'before' });
});

t.test('a connection that closed as it came free is not handed on', async (t) => {
  const made = rig();
  const [first] = await connected(made, 1);
  const waiting = made.pool.wait(never);
  if (first === undefined) return;
  made.pool.idle(first);
  first.destroy();
  while (made.dials.length < 2) await turn();
  made.dials[1]?.succeed();
  t.not(await waiting, first);
});

t.test("one of one's own is dialled at once, and goes to nobody else", async (t) => {
  const made = rig();
  const waiting = made.pool.wait(never);
  const own = made.pool.dial(never);
  t.equal(made.dials.length, 1);
  made.dials[0]?.succeed();
  const connection = await own;
  t.notOk(connection.used);
  while (made.dials.length < 2) await turn();
  made.dials[1]?.succeed();
  t.not(await waiting, connection);
  const abort = new AbortController();
  const given = made.pool.dial(abort.signal);
  abort.abort(new Error('gone'));
  await t.rejects(given, { message: 'gone' });
  t.ok(made.dials[2]?.abort.signal.aborted);
});

t.test('connections and waiting together are bounded', async (t) => {
  const made = rig();
  const abort = new AbortController();
  const waiting = Array.from({ length: UPSTREAM_CONNECTIONS }, () => made.pool.wait(abort.signal));
  t.equal(await made.pool.wait(never).catch(errorCode), 'PUBLISH_UPSTREAM_BUSY');
  t.equal(await made.pool.dial(never).catch(errorCode), 'PUBLISH_UPSTREAM_BUSY');
  abort.abort(new Error('gone'));
  t.equal((await Promise.allSettled(waiting)).filter(({ status }) => status === 'rejected').length, UPSTREAM_CONNECTIONS);
  await turn();
  t.ok(made.pool.empty);
});

t.test('what a burst has left is closed soon, the rest when nobody has used it for long', async (t) => {
  const made = rig();
  const extra = 5;
  for (const connection of await connected(made, UPSTREAM_IDLE_CONNECTIONS + extra)) made.pool.idle(connection);
  const kept = (): number => {
    const taken: UpstreamConnection[] = [];
    for (let one = made.pool.take(); one !== undefined; one = made.pool.take()) taken.push(one);
    // Back in the order in which they lay there.
    for (const connection of taken.toReversed()) made.pool.idle(connection);
    return taken.length;
  };
  made.pool.sweep();
  t.equal(kept(), UPSTREAM_IDLE_CONNECTIONS + extra, 'a burst may come back');
  made.time += SURPLUS_IDLE_MS + 1;
  made.pool.sweep();
  t.equal(kept(), UPSTREAM_IDLE_CONNECTIONS);
  made.time += UPSTREAM_IDLE_MS + 1;
  made.pool.sweep();
  t.equal(kept(), 0);
  t.ok(made.pool.empty);
});

t.test('closing ends what is idle and who waits, and lets what is in work finish', async (t) => {
  const made = rig();
  const [busy, idle] = await connected(made, 2);
  if (busy === undefined || idle === undefined) return;
  busy.send('GET / HTTP/1.1\r\n\r\n', 'GET', 'none', false, deaf);
  made.pool.idle(idle);
  // The idle one would be taken by whoever waits.
  t.equal(made.pool.take(), idle);
  made.pool.idle(idle);
  const taken = made.pool.take();
  const waiting = made.pool.wait(never).catch(errorCode);
  while (made.dials.length < 3) await turn();
  if (taken !== undefined) taken.destroy();
  made.pool.close();
  t.equal(await waiting, 'PUBLISH_UPSTREAM_CLOSED');
  t.ok(made.dials[2]?.abort.signal.aborted);
  t.equal(await made.pool.wait(never).catch(errorCode), 'PUBLISH_UPSTREAM_CLOSED');
  t.notOk(busy.gone);
  made.pool.idle(busy);
  t.ok(busy.gone, 'it is not kept when it comes free');
  await turn();
  t.ok(made.pool.empty);
});
