// Start is transactional, stop happens once and in reverse; waiting ends when it is told to.
import t from 'tap';
import { Backoff, sleep } from '#lib/backoff.ts';
import { systemClock } from '#lib/clock.ts';
import { Scope, startScoped } from '#lib/lifecycle.ts';

t.test('a scope undoes in reverse order, once', async (t) => {
  const undone: string[] = [];
  const scope = new Scope();
  scope.defer(() => undone.push('first'));
  scope.use({ close: async () => void undone.push('second') });
  t.equal(scope.closed, false);
  const [one, two] = [scope.close(), scope.close()];
  t.equal(one, two, 'later calls share the promise');
  await one;
  t.same(undone, ['second', 'first']);
  t.equal(scope.closed, true);
});

t.test('a step that fails does not keep the others, and its error is told', async (t) => {
  const undone: string[] = [];
  const scope = new Scope();
  scope.defer(() => undone.push('a'));
  scope.defer(() => Promise.reject(new TypeError('early')));
  scope.defer(() => {
    throw new TypeError('first to run');
  });
  await t.rejects(scope.close(), { message: 'first to run' });
  t.same(undone, ['a']);
});

t.test('a step deferred after the close is undone at once', async (t) => {
  const scope = new Scope();
  await scope.close();
  await new Promise<void>((resolve) => scope.defer(resolve));
  t.pass();
});

t.test('a start that fails leaves nothing behind', async (t) => {
  const undone: string[] = [];
  const failed = startScoped(async (scope) => {
    scope.defer(() => undone.push('socket'));
    scope.defer(() => Promise.reject(new TypeError('undo fails too')));
    throw new TypeError('the real reason');
  });
  await t.rejects(failed, { message: 'the real reason' });
  t.same(undone, ['socket']);
  t.equal(await startScoped(async () => 'started'), 'started');
});

t.test('row D-12: backoff grows to its limit, with jitter around it, and starts again', async (t) => {
  const options = { firstMs: 100, factor: 2, maxMs: 1000, jitter: 0 };
  const steady = new Backoff({ ...options, random: () => 0.5 });
  t.same(
    Array.from({ length: 6 }, () => steady.next()),
    [100, 200, 400, 800, 1000, 1000],
  );
  steady.reset();
  t.equal(steady.next(), 100);
  const low = new Backoff({ ...options, jitter: 0.5, random: () => 0 });
  const high = new Backoff({ ...options, jitter: 0.5, random: () => 1 });
  t.same([low.next(), high.next()], [50, 150]);
  const long = new Backoff({ ...options, random: Math.random });
  for (let i = 0; i < 5000; i++) if (!(long.next() <= 1000)) return t.fail(`step ${i}`);
  return t.pass('never more than the limit, however long');
});

t.test('sleep ends by time or by signal, and never rejects', async (t) => {
  const stop = new AbortController();
  const long = sleep(600_000, stop.signal);
  stop.abort();
  await long;
  await sleep(600_000, stop.signal);
  await sleep(1, new AbortController().signal);
  t.pass();
});

t.test('the system clock fires once, and not after a cancel', async (t) => {
  const before = systemClock.now();
  let cancelled = true;
  systemClock.after(0, () => (cancelled = false)).cancel();
  const keep = setTimeout(() => undefined, 5_000); // the clock's timers do not keep the process
  await new Promise<void>((resolve) => {
    const timer = systemClock.after(-5, () => {
      timer.cancel();
      resolve();
    });
  });
  clearTimeout(keep);
  t.ok(cancelled);
  t.ok(systemClock.now() >= before);
  t.ok(Math.abs(systemClock.wall() - Date.now()) < 5_000);
});
