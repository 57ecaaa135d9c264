// The choice of a target, in seeded and virtual terms: shares, stickiness, ejection, panic, and what moves when the list changes.
import t from 'tap';
import { Balancer, type Member as AnyMember } from '../../../src/publish/balance/balancer.ts';
import { hashText } from '../../../src/publish/balance/hash.ts';
import { RetryBudget } from '../../../src/publish/http/balance/retry-budget.ts';
import { TargetHealth } from '../../../src/publish/balance/target-health.ts';
import { addressVisitor, drawVisitor, formatVisitor, parseVisitor } from '../../../src/publish/balance/visitor.ts';
import { RETRY_BURST, RETRY_RATE, RETRY_SHARE, SLOW_START_SHARE } from '../../../src/publish/constants.ts';
import type { RouteTarget } from '../../../src/publish/http/routes.ts';
import { defaultWeb, type Balancing, type Ejection } from '#model/web.ts';
import { defaultTargetOptions } from '#model/service.ts';
import { asId } from '#model/ids.ts';
import { describeUpstream } from '../../../src/publish/http/upstream-target.ts';
import { seeded } from '../../support/seeded.ts';

type Member = AnyMember<RouteTarget>;

function member(name: string, weight = 1): Member {
  const target = { protocol: 'http', host: name, port: 80, basePath: '', weight } as const;
  const upstream = describeUpstream(asId('a'), target, defaultTargetOptions);
  return { target: { upstream, basePath: '', host: name, weight }, health: new TargetHealth(), hash: hashText(upstream.key), owed: 0 };
}

const nameOf = (chosen: Member | undefined): string => chosen?.target.host ?? 'none';

function balancer(
  members: readonly Member[],
  strategy: Balancing['strategy'] = 'round_robin',
  more: Partial<Ejection> = {},
  reach?: (target: RouteTarget) => boolean,
): Balancer<RouteTarget> {
  return new Balancer(
    members,
    { balancing: { strategy, sticky: 'off' }, ejection: { ...defaultWeb.ejection, ...more }, slowStartMs: 0 },
    reach ?? (() => true),
  );
}

function tally(rounds: number, choose: () => Member | undefined): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < rounds; i++) {
    const name = nameOf(choose());
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

t.test('round robin gives exact shares, and the heavy ones do not come in a row', (t) => {
  const members = [member('a', 5), member('b', 1), member('c', 1)];
  const b = balancer(members);
  const order = Array.from({ length: 7 }, () => nameOf(b.choose(0, () => 0, undefined, undefined)));
  t.equal(order.join(''), 'aabacaa');
  t.same(
    tally(700, () => b.choose(0, () => 0, undefined, undefined)),
    { a: 500, b: 100, c: 100 },
  );
  t.end();
});

t.test('random gives shares by weight', (t) => {
  const b = balancer([member('a', 3), member('b', 1)], 'random');
  const counts = tally(
    8_000,
    (
      (random) => () =>
        b.choose(0, random, undefined, undefined)
    )(seeded(1)),
  );
  t.ok(Math.abs((counts['a'] ?? 0) - 6_000) < 200, `${counts['a']}`);
  t.end();
});

t.test('least requests follows weights when idle, and turns away from the busy one', (t) => {
  const [a, c] = [member('a', 3), member('b', 1)];
  const b = balancer([a, c], 'least_requests');
  const random = seeded(2);
  const idle = tally(4_000, () => b.choose(0, random, undefined, undefined));
  t.ok(Math.abs((idle['a'] ?? 0) - 3_000) < 150, `${idle['a']}`);
  a.health.inFlight = 10;
  c.health.inFlight = 1;
  t.same(
    tally(100, () => b.choose(0, random, undefined, undefined)),
    { b: 100 },
  );
  // A queue that is worked off: nobody ends up far from the share.
  for (const one of [a, c]) one.health.inFlight = 0;
  for (let i = 0; i < 400; i++) {
    const chosen = b.choose(0, random, undefined, undefined);
    if (chosen !== undefined) chosen.health.inFlight++;
  }
  t.ok(Math.abs(a.health.inFlight - 300) < 30, `${a.health.inFlight}`);
  t.end();
});

t.test('weight 0 is a last resort, and when nobody is well all are tried', (t) => {
  const [a, z] = [member('a', 1), member('z', 0)];
  const lost = new Set<string>();
  const b = balancer([a, z], 'round_robin', {}, ({ host }) => !lost.has(host));
  t.same(
    tally(50, () => b.choose(0, () => 0, undefined, undefined)),
    { a: 50 },
  );
  lost.add('a');
  t.same(
    tally(50, () => b.choose(0, () => 0, undefined, undefined)),
    { z: 50 },
  );
  lost.add('z');
  t.same(
    tally(50, () => b.choose(0, () => 0, undefined, undefined)),
    { a: 50 },
  );
  t.equal(nameOf(b.choose(0, () => 0, undefined, new Set([a]))), 'z');
  t.equal(
    b.choose(0, () => 0, undefined, new Set([a, z])),
    undefined,
  );
  t.end();
});

t.test('failures in a row eject for longer each time, and never the last one', (t) => {
  const [a, c] = [member('a'), member('b')];
  const b = balancer([a, c], 'round_robin', { failures: 3, ejectMs: 1_000 });
  const fail = (one: Member, now: number, times: number): void => {
    for (let i = 0; i < times; i++) b.failed(one, now, 'refused');
  };
  fail(a, 0, 2);
  a.health.succeeded(0);
  fail(a, 0, 2);
  t.ok(a.health.available(0), 'a success between them begins again');
  fail(a, 0, 1);
  t.notOk(a.health.available(999));
  t.match(a.health.problem(0), /left out for 1 s: 3 requests in a row failed, the last one with: refused/);
  fail(c, 10, 100);
  t.ok(c.health.available(10), 'the last one stays');
  t.ok(a.health.available(1_000));
  fail(a, 1_000, 1);
  t.notOk(a.health.available(2_999), 'one failure is enough after it, and it lasts twice as long');
  t.ok(a.health.available(3_000));
  for (let at = 3_000, i = 0; i < 10; i++) {
    fail(a, at, 1);
    while (!a.health.available(at)) at += 1_000;
  }
  fail(a, 1e9, 1);
  t.ok(a.health.available(1e9 + 16_000), 'growth is bounded');
  a.health.succeeded(1e9 + 32_000);
  fail(a, 2e9, 3);
  t.ok(a.health.available(2e9 + 1_000), 'a good time is remembered');
  const off = balancer([a, c], 'round_robin', { failures: 0 });
  for (let i = 0; i < 100; i++) off.failed(c, 3e9, 'x');
  t.ok(c.health.available(3e9));
  t.end();
});

t.test('checks decide after so many in a row', (t) => {
  const health = new TargetHealth();
  const rules = { healthyAfter: 2, unhealthyAfter: 3 };
  const feed = (results: string): string => {
    for (const result of results) health.checked(result === '+' ? undefined : 'status 500', rules, 0);
    return health.available(0) ? '' : health.problem(0);
  };
  t.equal(feed('--'), '', 'unknown counts as well');
  t.equal(feed('-'), 'status 500');
  t.equal(feed('+-+'), 'status 500');
  t.equal(feed('+'), '');
  t.equal(feed('--+--'), '');
  t.equal(feed('-'), 'status 500');
  health.unchecked();
  t.ok(health.available(0));
  t.end();
});

t.test('a changed list moves only the visitors that it must, by weight', (t) => {
  const members = [member('a', 1), member('b', 1), member('c', 2)];
  const visitors = Array.from({ length: 8_000 }, (_, i) => addressVisitor(`192.0.2.${i}/32`));
  const homes = (list: readonly Member[]): string[] => {
    const b = balancer(list);
    return visitors.map((visitor) => nameOf(b.choose(0, () => 0, visitor, undefined)));
  };
  const before = homes(members);
  const share = before.filter((name) => name === 'c').length / before.length;
  t.ok(Math.abs(share - 0.5) < 0.03, `${share}`);
  const without = homes(members.slice(0, 2));
  t.ok(
    before.every((name, i) => name === 'c' || without[i] === name),
    'only those of the one that left have moved',
  );
  const more = homes([...members, member('d', 1)]);
  t.ok(
    before.every((name, i) => more[i] === name || more[i] === 'd'),
    'only those of the new one have moved',
  );
  const moved = more.filter((name) => name === 'd').length / more.length;
  t.ok(Math.abs(moved - 0.2) < 0.03, `${moved}`);
  t.end();
});

t.test('a visitor’s number is drawn for the target that was chosen, and tells nothing of it', (t) => {
  const members = [member('10.1.2.3', 1), member('10.1.2.4', 1), member('spare', 0)];
  const b = balancer(members);
  const random = seeded(4);
  for (const one of members.slice(0, 2)) {
    for (let i = 0; i < 50; i++) {
      const visitor = b.visitorFor(one, random);
      t.ok(visitor);
      if (visitor === undefined) continue;
      const text = formatVisitor(visitor);
      t.match(text, /^[0-9a-f]{16}$/);
      t.same(parseVisitor(text), visitor);
      t.equal(nameOf(b.choose(0, random, visitor, undefined)), nameOf(one));
    }
  }
  const [, , spare] = members;
  t.equal(spare === undefined ? 0 : b.visitorFor(spare, random), undefined);
  t.same(new Set([drawVisitor(random), drawVisitor(random)].map(formatVisitor)).size, 2);
  for (const text of ['', 'x', '0'.repeat(15), '0'.repeat(17), 'A'.repeat(16), `${'0'.repeat(15)};`]) t.equal(parseVisitor(text), undefined, text);
  t.end();
});

t.test('the search for a number is bounded, however many targets there are', (t) => {
  const rare = member('rare', 1e-9);
  const b = balancer([rare, ...Array.from({ length: 2_000 }, (_, i) => member(`m${i}`))]);
  let draws = 0;
  const random = seeded(5);
  t.equal(
    b.visitorFor(rare, () => (draws++, random())),
    undefined,
  );
  t.ok(draws <= 6, `${draws / 2} draws of 2,001 comparisons`);
  t.end();
});

t.test('retries are a share of the traffic', (t) => {
  const budget = new RetryBudget();
  let spent = 0;
  while (budget.spend(0)) spent++;
  t.equal(spent, RETRY_BURST);
  for (let i = 0; i < 1_000; i++) budget.earn();
  spent = 0;
  while (budget.spend(0)) spent++;
  t.ok(Math.abs(spent - 1_000 * RETRY_SHARE) <= 1, `${spent}`);
  spent = 0;
  while (budget.spend(1_000)) spent++;
  t.ok(Math.abs(spent - RETRY_RATE) <= 1, `${spent}`);
  t.end();
});

t.test('a target that is new or well again begins with a small share and grows to its whole one', (t) => {
  const rules = { healthyAfter: 1, unhealthyAfter: 1 };
  for (const strategy of ['round_robin', 'random', 'least_requests'] as const) {
    const members = [member('a'), member('b')];
    const [, back] = members;
    const b = new Balancer(members, { balancing: { strategy, sticky: 'off' }, ejection: defaultWeb.ejection, slowStartMs: 10_000 }, () => true);
    const random = seeded(7);
    const share = (now: number): number => (tally(2_000, () => b.choose(now, random, undefined, undefined))['b'] ?? 0) / 2_000;
    t.ok(Math.abs(share(0) - 0.5) < 0.05, `${strategy}: all are as old as the service`);
    back?.health.checked('down', rules, 0);
    t.equal(share(1), 0);
    back?.health.checked(undefined, rules, 100);
    const shares = [100, 2_600, 5_100, 10_100].map(share);
    t.ok(
      shares.every((value, i) => i === 0 || value > (shares[i - 1] ?? 1)),
      `${strategy}: ${shares.join(', ')}`,
    );
    t.ok((shares[0] ?? 1) < 0.15 && (shares[0] ?? 0) > 0, strategy);
    t.ok(Math.abs((shares[3] ?? 0) - 0.5) < 0.05, strategy);
  }
  const ejected = new TargetHealth();
  ejected.failed(0, 'x', { failures: 1, ejectMs: 1_000 }, true);
  t.equal(ejected.share(1_000, 10_000), SLOW_START_SHARE, 'after an ejection, too');
  t.equal(ejected.share(11_000, 10_000), 1);
  t.equal(ejected.share(1_000, 0), 1);
  t.equal(new TargetHealth(500).share(500, 10_000), SLOW_START_SHARE);
  t.end();
});
