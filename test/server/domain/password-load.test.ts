// What passwords cost: neither the time of an answer nor the load of many tells or stops anything.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import t from 'tap';
import { PasswordHasher } from '#crypto/password.ts';
import { passwordConcurrency, passwordWaiting } from '#crypto/constants.ts';
import { errorCode } from '#lib/errors.ts';
import { addOwner, openDomain } from './support.ts';

// Attack row L-1.
t.test('an unknown name takes as long as a wrong password', { timeout: 110_000 }, async (t) => {
  // The hash is made cheap, so that whatever else differs can be seen.
  const { domain, clock } = await openDomain({ hasher: new PasswordHasher({ cost: { N: 2, r: 1, p: 1 } }) });
  await addOwner(domain, 'owner@example.com', 'correct horse');
  const samples = 10_000;
  const times = { known: new Float64Array(samples), unknown: new Float64Array(samples) };
  const measure = async (email: string): Promise<number> => {
    clock.advance(3_600_000 + 1); // the counts of wrong ones are forgotten
    const begun = performance.now();
    if ((await domain.users.checkPassword(email, 'wrong password')) !== undefined) throw new Error('let in');
    return performance.now() - begun;
  };
  for (let i = 0; i < 500; i++) await measure(i % 2 === 0 ? 'owner@example.com' : 'stranger@example.com');
  for (let i = 0; i < samples; i++) {
    // In turns, and each first as often as second: what the machine does meanwhile hits both.
    const order = i % 2 === 0 ? (['known', 'unknown'] as const) : (['unknown', 'known'] as const);
    for (const which of order) times[which][i] = await measure(which === 'known' ? 'owner@example.com' : 'stranger@example.com');
  }
  const [known, unknown] = [faster(times.known), faster(times.unknown)];
  const apart = Math.abs(known.mean - unknown.mean) * 1000;
  const score = apart / 1000 / Math.sqrt(known.variance / known.count + unknown.variance / unknown.count);
  t.comment(
    `figure: wrong password ${(known.mean * 1000).toFixed(1)} µs, unknown name ${(unknown.mean * 1000).toFixed(1)} µs, t = ${score.toFixed(1)} over ${samples} each; a real hash takes 100,000 µs`,
  );
  t.ok(apart < 10, `${apart.toFixed(1)} µs apart`);
  await domain.close();
});

/** Of the faster half: in the slower one the machine did something else too. */
function faster(times: Float64Array): { readonly mean: number; readonly variance: number; readonly count: number } {
  const kept = times.toSorted().subarray(0, times.length / 2);
  const mean = kept.reduce((sum, time) => sum + time, 0) / kept.length;
  const variance = kept.reduce((sum, time) => sum + (time - mean) ** 2, 0) / (kept.length - 1);
  return { mean, variance, count: kept.length };
}

// Attack rows A-15, D-14.
t.test('a hundred sign-ins at once do not hold anything else up, and no more run than may', { timeout: 110_000 }, async (t) => {
  const { domain } = await openDomain({ hasher: new PasswordHasher() });
  await addOwner(domain, 'owner@example.com', 'correct horse');
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      domain.users.checkPassword(`user${i}@example.com`, 'a guess').then(
        () => 'wrong',
        (error: unknown) => String(errorCode(error) ?? (error instanceof Error ? error.name : error)),
      ),
    ),
  );
  delay.disable();
  const p99 = delay.percentile(99) / 1e6;
  t.comment(`figure: loop delay p99 ${p99.toFixed(1)} ms, longest ${(delay.max / 1e6).toFixed(1)} ms under 100 sign-ins at once`);
  t.ok(p99 < 50, `p99 ${p99.toFixed(1)} ms`);
  const counts = Map.groupBy(answers, (answer) => answer);
  t.same(
    [...counts.keys()].filter((answer) => !['wrong', 'CRYPTO_BUSY', 'TimeoutError'].includes(answer)),
    [],
  );
  t.ok((counts.get('wrong')?.length ?? 0) >= passwordConcurrency);
  t.equal(counts.get('CRYPTO_BUSY')?.length, 100 - passwordConcurrency - passwordWaiting, 'beyond those that wait they are told to come back');
  t.match(await domain.users.checkPassword('owner@example.com', 'correct horse'), { email: 'owner@example.com' }, 'then all is as before');
  for (const odd of ['owner@example.com\u0000', 'owner@example.com:x', 'OWNER@example.com ', 'x'.repeat(10_000), 'ｏwner@example.com'])
    t.equal(await domain.users.checkPassword(odd, 'wrong'), undefined, odd.slice(0, 30));
  for (const odd of ['', 'x'.repeat(10_000), 'correct horse\u0000', 'correct\u00a0horse'])
    t.equal(await domain.users.checkPassword('owner@example.com', odd), undefined, odd.slice(0, 30));
  await domain.close();
});
