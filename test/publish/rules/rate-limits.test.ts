// How often: buckets in virtual time and bounded memory, and what callers get who ask too often.
import t, { type Test } from 'tap';
import { plainAccess, type RateLimit, signInProofs } from '#model/access.ts';
import { asId, type ServiceId } from '#model/ids.ts';
import { RATE_BUCKETS, RATE_SHARED } from '#publish/constants.ts';
import { compileLimits, type Counted, RateLimits } from '#publish/access/rules/rate-limits.ts';
import { exchange, type Fixture, mapping, path, session, startEcho, startFixture } from '../harness.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const service = asId<ServiceId>('s1');
const limit = (key: RateLimit['key'], count: number, perMs: number, burst = count): RateLimit => ({ key, count, perMs, burst });
const from = (address: string): Counted => ({ service: false, address, identity: undefined });

function buckets(): { clock: ManualClock; limits: RateLimits } {
  const clock = new ManualClock();
  return { clock, limits: new RateLimits(clock) };
}

void t.test('a bucket of a burst that fills at its rate', async (t) => {
  const { clock, limits } = buckets();
  const compiled = compileLimits(service, [limit('address', 10, 1_000, 3)]);
  t.same(
    [1, 2, 3].map(() => limits.take(compiled, from('a'))),
    [0, 0, 0],
  );
  t.equal(limits.take(compiled, from('a')), 100, 'until the next one is there');
  t.equal(limits.take(compiled, from('b')), 0, 'another has another bucket');
  clock.advance(99);
  t.equal(limits.take(compiled, from('a')), 1);
  clock.advance(1);
  t.equal(limits.take(compiled, from('a')), 0);
  t.equal(limits.take(compiled, from('a')), 100);
  clock.advance(60_000);
  t.same(
    [1, 2, 3].map(() => limits.take(compiled, from('a'))),
    [0, 0, 0],
  );
  t.ok(limits.take(compiled, from('a')) > 0, 'it holds no more than its burst');
});

void t.test('several limits at once: one that has none left costs the others nothing', async (t) => {
  const { clock, limits } = buckets();
  const compiled = compileLimits(service, [limit('service', 100, 1_000, 5), limit('identity', 1, 1_000, 1)]);
  const alice: Counted = { service: true, address: undefined, identity: 'alice' };
  t.equal(limits.take(compiled, alice), 0);
  for (let i = 0; i < 50; i++) t.equal(limits.take(compiled, alice), 1_000);
  t.same(
    ['b', 'c', 'd', 'e'].map((identity) => limits.take(compiled, { ...alice, identity })),
    [0, 0, 0, 0],
  );
  t.ok(limits.take(compiled, { ...alice, identity: 'f' }) > 0, 'the service itself has had its five');
  clock.advance(1_000);
  t.equal(limits.take(compiled, alice), 0);
  t.equal(limits.take(compiled, { ...alice, identity: undefined }), 0, 'nobody is counted as nobody');
});

void t.test('memory is bounded, and no flood of addresses empties the memory of what was used', async (t) => {
  const { clock, limits } = buckets();
  const compiled = compileLimits(service, [limit('address', 1, 3_600_000, 2)]);
  t.same(
    [1, 2].map(() => limits.take(compiled, from('victim'))),
    [0, 0],
  );
  const before = process.memoryUsage().heapUsed;
  let passed = 0;
  for (let i = 0; i < RATE_BUCKETS + 50_000; i++) if (limits.take(compiled, from(`2001:db8:${i.toString(16)}::/64`)) === 0) passed++;
  t.comment(`figure: ${limits.size} buckets, ${((process.memoryUsage().heapUsed - before) / 1_048_576).toFixed(1)} MB`);
  t.equal(limits.size, RATE_BUCKETS);
  t.ok(limits.take(compiled, from('victim')) > 0, 'who has used up his own still has');
  t.ok(passed <= RATE_BUCKETS + 2 * RATE_SHARED, 'newcomers share a fixed number');
  clock.advance(2 * 3_600_000);
  for (let i = 0; i < RATE_BUCKETS; i++) limits.take(compiled, from(`10.0.${i}/32`));
  t.equal(limits.take(compiled, from('victim')), 0, 'all have filled up again');
  clock.advance(8 * 3_600_000);
  for (let i = 0; i < 2 * RATE_BUCKETS; i++) {
    limits.take(compiled, from('one'));
    limits.take(compiled, from(`x${i % 30_000}`));
  }
  t.ok(limits.size < RATE_BUCKETS, 'those that nobody uses have left');
});

async function start(t: Test, rateLimits: readonly RateLimit[]): Promise<{ fixture: Fixture; received: readonly string[] }> {
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)], { access: { ...plainAccess, proofs: signInProofs, rateLimits } })]);
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  for (const id of ['s1', 's2']) fixture.identity.sessions.set(id, { kind: 'live', session: session(id, mapping('a.test', []).id) });
  return { fixture, received: echo.received };
}

const ask = (fixture: Fixture, more = ''): Promise<string> => exchange(fixture, `GET / HTTP/1.1\r\nHost: a.test\r\n${more}Connection: close\r\n\r\n`);
const status = (answer: string): string => answer.slice(9, 12);

void t.test('per address: 429 with its time, counted before anybody has to prove anything', async (t) => {
  const { fixture, received } = await start(t, [limit('address', 1, 90_000, 3)]);
  t.same(
    [status(await ask(fixture)), status(await ask(fixture)), status(await ask(fixture, 'Cookie: __Host-meshgate=s1\r\n'))],
    ['401', '401', '200'],
  );
  const refused = await ask(fixture, 'Cookie: __Host-meshgate=s1\r\n');
  t.match(refused, /^HTTP\/1\.1 429 /);
  t.match(refused, /\r\nRetry-After: (?:90|89)\r\n/);
  t.match(fixture.entries.at(-1), { status: 429, reason: 'rate_limited' });
  t.equal(received.length, 1);
  t.match(fixture.publisher.stats().refused, { rate_limited: 1 });
});

void t.test('per identity and service: strangers take nothing from those who may pass', async (t) => {
  const { fixture } = await start(t, [limit('service', 1, 90_000, 2), limit('identity', 1, 90_000, 2)]);
  for (let i = 0; i < 5; i++) t.equal(status(await ask(fixture)), '401');
  t.same(
    [status(await ask(fixture, 'Cookie: __Host-meshgate=s1\r\n')), status(await ask(fixture, 'Cookie: __Host-meshgate=s2\r\n'))],
    ['200', '200'],
  );
  t.equal(status(await ask(fixture, 'Cookie: __Host-meshgate=s1\r\n')), '429');
});
