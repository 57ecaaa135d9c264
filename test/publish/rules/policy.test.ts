// The rules of a service as a pure function: order, what cannot be told, who it is, readings of a path, and times (attack rows D-8, D-14).
import t from 'tap';
import { parseIp } from '#lib/ip.ts';
import { type AccessCondition, type AccessPolicy, type AccessRule, anything, plainAccess, signInProofs, type TimeWindow } from '#model/access.ts';
import { asId, type GroupId, type UserId } from '#model/ids.ts';
import type { Identity } from '#model/identity.ts';
import { type Caller, type Facts, type GeoLookup, noGeo } from '#publish/access/rules/facts.ts';
import { CompiledPolicy } from '#publish/access/rules/policy.ts';

const alice: Identity = {
  userId: asId<UserId>('U-Alice'),
  email: 'Alice@Example.test',
  name: 'Alice',
  groups: ['dev'],
  groupIds: [asId<GroupId>('g-dev')],
  claims: { dept: ['eng', 'ops'] },
  method: 'oidc',
};
const signedIn: Caller = { identity: alice, proofs: ['oidc'] };
const guest: Caller = { identity: { ...alice, userId: asId<UserId>('pin:x'), email: '', groupIds: [], claims: {}, method: 'pin' }, proofs: ['pin'] };

const rule = (name: string, action: AccessRule['action'], when: Partial<AccessCondition> = {}, more: Partial<AccessRule> = {}): AccessRule => ({
  name,
  action,
  observe: false,
  when: { ...anything, ...when },
  proofs: [],
  ...more,
});

const policy = (rules: readonly AccessRule[], more: Partial<AccessPolicy> = {}): CompiledPolicy =>
  new CompiledPolicy('http', { ...plainAccess, proofs: signInProofs, rules, ...more });

const at = (path: string, more: Partial<Facts> & { from?: string } = {}): Facts => {
  const { from = '192.0.2.1', ...rest } = more;
  return { path, method: 'GET', address: parseIp(from), now: 0, geo: noGeo, ...rest };
};

const outcome = (compiled: CompiledPolicy, facts: Facts, caller?: Caller): string => {
  const { kind, rule: name } = compiled.judge(facts, caller);
  return `${kind} ${name ?? '-'}`;
};

void t.test('the first rule whose condition holds decides; where none does, the rest of the policy', async (t) => {
  const rules = [
    rule('no-admin', 'deny', { paths: ['/admin'] }),
    rule('open', 'bypass', { paths: ['/public', '/health'] }),
    rule('never', 'deny', { paths: ['/public'] }),
    rule('writes', 'deny', { methods: ['PUT', 'DELETE'] }),
  ];
  const compiled = policy(rules);
  t.equal(outcome(compiled, at('/admin/x')), 'deny no-admin');
  t.equal(outcome(compiled, at('/admin'), signedIn), 'deny no-admin', 'whoever it is');
  t.equal(outcome(compiled, at('/administrator'), signedIn), 'allow -', 'a prefix ends at a segment');
  t.equal(outcome(compiled, at('/public/x')), 'allow open');
  t.equal(outcome(compiled, at('/x', { method: 'DELETE' }), signedIn), 'deny writes');
  t.equal(outcome(compiled, at('/x')), 'ask -');
  t.equal(outcome(compiled, at('/x'), guest), 'ask -', 'a pin is none of the proofs');
  t.equal(outcome(policy(rules, { otherwise: 'deny' }), at('/x'), signedIn), 'deny otherwise');
  t.equal(outcome(policy(rules, { proofs: [] }), at('/x')), 'allow -');
  t.match(compiled.judge(at('/public'), signedIn), { kind: 'allow', anonymous: true });
  t.match(compiled.judge(at('/x'), signedIn), { kind: 'allow', anonymous: false });
  const own = policy([rule('strict', 'allow', { paths: ['/vault'] }, { proofs: [['oidc', 'certificate']] })]);
  t.match(own.judge(at('/vault/1'), signedIn), { kind: 'ask', rule: 'strict', proofs: [['oidc', 'certificate']] });
  t.equal(outcome(own, at('/vault/1'), { ...signedIn, proofs: ['oidc', 'certificate'] }), 'allow strict');
});

void t.test('all kinds that are named have to hold, of each kind one entry', async (t) => {
  const compiled = policy([rule('both', 'deny', { paths: ['/a', '/b'], methods: ['POST'], addresses: ['192.0.2.0/24', '2001:db8::/32'] })]);
  t.equal(outcome(compiled, at('/b', { method: 'POST' }), signedIn), 'deny both');
  t.equal(outcome(compiled, at('/b', { method: 'POST', from: '2001:db8::1' }), signedIn), 'deny both');
  for (const [path, method, from] of [
    ['/c', 'POST', '192.0.2.1'],
    ['/a', 'GET', '192.0.2.1'],
    ['/a', 'post', '192.0.2.1'],
    ['/a', 'POST', '198.51.100.1'],
  ] as const) {
    t.equal(outcome(compiled, at(path, { method, from }), signedIn), 'allow -');
  }
});

void t.test('M-7: what cannot be told holds for deny, and for nothing else', async (t) => {
  const geo: GeoLookup = { ...noGeo, country: () => 'DE', network: () => 64_500 };
  const conditions: readonly [string, Partial<AccessCondition>, Partial<Facts>][] = [
    ['no data base of countries', { countries: ['FR'] }, {}],
    ['no data base of networks', { networks: [1] }, {}],
    ['no address', { addresses: ['10.0.0.0/8'] }, { address: undefined }],
    ['a time zone that is not known here', { times: [{ days: [], from: 0, to: 1_440, timeZone: 'Nowhere/At_All' }] }, {}],
    ['an address that is none', { addresses: ['nonsense'] }, {}],
  ];
  for (const [name, when, facts] of conditions) {
    t.equal(outcome(policy([rule('r', 'deny', when)]), at('/', facts), signedIn), 'deny r', name);
    t.equal(outcome(policy([rule('r', 'bypass', when)]), at('/', facts)), 'ask -', name);
    t.equal(outcome(policy([rule('r', 'allow', when)], { otherwise: 'deny' }), at('/', facts), signedIn), 'deny otherwise', name);
    t.equal(
      outcome(policy([rule('r', 'deny', { ...when, methods: ['PUT'] })]), at('/', facts), signedIn),
      'allow -',
      `${name}: another kind does not hold`,
    );
  }
  t.equal(outcome(policy([rule('r', 'deny', { countries: ['FR'] })]), at('/', { geo }), signedIn), 'allow -');
  t.equal(outcome(policy([rule('r', 'deny', { countries: ['DE'], networks: [64_500] })]), at('/', { geo }), signedIn), 'deny r');
  for (const when of [{ users: ['alice@example.test'] }, { groups: [asId<GroupId>('g-dev')] }, { claims: [{ name: 'dept', value: 'eng' }] }]) {
    const open = { proofs: [['oidc'], ['pin']] } as const;
    t.equal(outcome(policy([rule('r', 'deny', when)], open), at('/'), guest), 'deny r', 'who has no account may be anybody');
    t.equal(outcome(policy([rule('r', 'allow', when)], { ...open, otherwise: 'deny' }), at('/'), guest), 'deny otherwise');
    t.equal(outcome(policy([rule('r', 'deny', when)], { proofs: [] }), at('/')), 'deny r', 'nobody can say who it is');
    t.equal(outcome(policy([rule('r', 'allow', when)], { proofs: [], otherwise: 'deny' }), at('/')), 'deny otherwise');
  }
});

void t.test('a rule about callers asks who it is where the rest of it holds', async (t) => {
  const compiled = policy([
    rule('mallory', 'deny', { users: ['u-mallory'], paths: ['/a'] }),
    rule('devs', 'allow', { groups: [asId<GroupId>('g-dev')], paths: ['/a'] }, { proofs: [['oidc', 'pin']] }),
    rule('open', 'bypass', { paths: ['/a'] }),
  ]);
  t.match(compiled.judge(at('/a'), undefined), { kind: 'ask', rule: 'mallory', proofs: signInProofs });
  t.match(compiled.judge(at('/a'), signedIn), { kind: 'ask', rule: 'devs', proofs: [['oidc', 'pin']] });
  t.equal(outcome(compiled, at('/a'), { ...signedIn, proofs: ['oidc', 'pin'] }), 'allow devs');
  t.equal(outcome(compiled, at('/a'), { ...signedIn, identity: { ...alice, userId: asId<UserId>('u-mallory') } }), 'deny mallory');
  t.equal(outcome(compiled, at('/a'), { ...signedIn, identity: { ...alice, groupIds: [] } }), 'allow open');
  t.equal(outcome(compiled, at('/b')), 'ask -');
  const claim = (name: string, value: string): CompiledPolicy => policy([rule('c', 'deny', { claims: [{ name, value }] })]);
  t.equal(outcome(claim('dept', 'ops'), at('/'), signedIn), 'deny c');
  t.equal(outcome(claim('dept', 'op'), at('/'), signedIn), 'allow -');
  t.equal(outcome(claim('__proto__', 'ops'), at('/'), signedIn), 'allow -');
  t.equal(outcome(claim('toString', ''), at('/'), signedIn), 'allow -');
});

void t.test('what is only observed is told and decides nothing', async (t) => {
  const compiled = policy([
    rule('would', 'deny', { paths: ['/a'] }, { observe: true }),
    rule('who', 'deny', { users: ['x'] }, { observe: true }),
    rule('open', 'bypass', { paths: ['/a'] }),
  ]);
  t.match(compiled.judge(at('/a'), undefined), { kind: 'allow', rule: 'open', observed: ['would', 'who (if it is one of its callers)'] });
  t.match(compiled.judge(at('/b'), signedIn), { kind: 'allow', observed: undefined });
});

void t.test('of several readings of a path the strictest outcome holds', async (t) => {
  const compiled = policy([rule('no-admin', 'deny', { paths: ['/admin'] }), rule('open', 'bypass', { paths: ['/public', '/Docs'] })]);
  for (const path of [
    '/public/../admin',
    '/public/%2e%2e/admin',
    '/%61dmin',
    '/%2561dmin',
    '/ADMIN',
    '/public/..\\admin',
    '/admin;x',
    '//admin',
    '/./admin',
    '/admin.',
    '/admin::$DATA/x',
    '/Admin%20/x',
  ]) {
    t.equal(outcome(compiled, at(path), signedIn), 'deny no-admin', path);
  }
  for (const path of ['/public/%2e%2e/x', '/PUBLIC/x', '/docs', '/public/..;/x']) t.equal(outcome(compiled, at(path)), 'ask -', path);
  for (const path of ['/public', '/public/a%20b', '/public/x/../y', '/Docs/X', '/public/UPPER'])
    t.equal(outcome(compiled, at(path)), 'allow open', path);
  t.match(compiled.judge(at('/../x'), signedIn), { kind: 'deny', rule: undefined, detail: /climbs/ });
  const both = policy([rule('a', 'allow', { paths: ['/a'] }, { proofs: [['pin']] }), rule('b', 'allow', { paths: ['/b'] }, { proofs: [['oidc']] })]);
  t.equal(outcome(both, at('/a/..;/../b'), signedIn), 'deny -', 'some reading of it climbs');
  t.equal(outcome(both, at('/a/%2e%2e/b'), signedIn), 'ask a', 'each reading’s proofs are needed');
  t.equal(outcome(both, at('/a/%2e%2e/b'), { ...signedIn, proofs: ['oidc', 'pin'] }).slice(0, 5), 'allow');
  t.equal(outcome(policy([]), at('/../x'), signedIn), 'allow -', 'without rules about paths none has to be read');
});

void t.test('rules about paths and methods are none for streams', async (t) => {
  const rules = [rule('p', 'deny', { paths: ['/'] }), rule('m', 'deny', { methods: ['GET'] }), rule('a', 'deny', { addresses: ['192.0.2.1'] })];
  const compiled = new CompiledPolicy('tcp', { ...plainAccess, rules });
  const facts = { ...at('/'), path: undefined, method: undefined };
  t.equal(outcome(compiled, { ...facts, address: parseIp('192.0.2.2') }), 'allow -');
  t.equal(outcome(compiled, facts), 'deny a');
});

const when = (text: string): Facts => at('/', { now: Date.parse(text) });

void t.test('times of the week, in their zone', async (t) => {
  const within = (window: Partial<TimeWindow>, text: string): boolean =>
    outcome(policy([rule('r', 'deny', { times: [{ days: [], from: 480, to: 1_080, timeZone: 'UTC', ...window }] })]), when(text), signedIn) ===
    'deny r';
  t.ok(within({}, '2026-11-28T08:00:00Z'));
  t.notOk(within({}, '2026-11-28T07:59:59Z'));
  t.notOk(within({}, '2026-11-28T18:00:00Z'), 'the end is outside');
  t.ok(within({ days: [6] }, '2026-11-28T17:59:59Z'), 'a Saturday');
  t.notOk(within({ days: [5, 7] }, '2026-11-28T12:00:00Z'));
  t.ok(within({ days: [7], from: 1_320, to: 360 }, '2026-11-30T05:59:00Z'), 'Sunday’s goes on into Monday');
  t.notOk(within({ days: [7], from: 1_320, to: 360 }, '2026-11-29T05:59:00Z'));
  t.ok(within({ timeZone: 'Asia/Kathmandu' }, '2026-11-28T02:15:00Z'), 'UTC+5:45');
  t.notOk(within({ timeZone: 'Asia/Kathmandu' }, '2026-11-28T02:14:00Z'));
  t.ok(within({ timeZone: 'Europe/Berlin' }, '2026-10-24T06:00:00Z'), 'summer: UTC+2');
  t.notOk(within({ timeZone: 'Europe/Berlin' }, '2026-10-26T06:00:00Z'), 'winter: UTC+1');
  t.ok(within({ timeZone: 'Europe/Berlin' }, '2026-10-26T07:00:00Z'));
  t.ok(within({ from: 0, to: 1_440 }, '2026-11-28T23:59:59Z'));
  t.equal(outcome(policy([rule('r', 'bypass', { times: [{ days: [], from: 5, to: 5, timeZone: 'UTC' }] })]), when('2026-11-28T12:00:00Z')), 'ask -');
});

void t.test('D-14: a policy at its limits is judged in bounded time', async (t) => {
  const many = <T>(make: (i: number) => T): T[] => Array.from({ length: 200 }, (_none, i) => make(i));
  const rules = Array.from({ length: 100 }, (_none, i) =>
    rule(`r${i}`, 'deny', {
      paths: many((n) => `/a/b/c/d/${i}/${n}`),
      addresses: many((n) => `10.${i}.${n}.0/24`),
      users: many((n) => `u-${i}-${n}`),
      claims: many((n) => ({ name: `c${n}`, value: 'x' })).slice(0, 50),
    }),
  );
  const compiled = policy([...rules, rule('users', 'deny', { users: many((n) => `v-${n}`) })]);
  const worst = (path: string): number => {
    const begun = performance.now();
    for (let i = 0; i < 20; i++) compiled.judge(at(path, { from: '10.99.199.1' }), signedIn);
    return (performance.now() - begun) / 20;
  };
  worst('/');
  const plain = worst('/a/b/c/d/99/199/x');
  const odd = worst(`/a/%62/c/d/99/199/${'%2541\\;x/'.repeat(900)}`);
  t.comment(
    `figure: 100 rules of 200 entries: ${(plain * 1_000).toFixed(1)} µs for a plain path, ${odd.toFixed(2)} ms for an 8 KB path of many readings`,
  );
  t.ok(odd < 50, 'even under load');
});

void t.test('D-8: what looks like a pattern is a path', async (t) => {
  const compiled = policy([rule('r', 'deny', { paths: ['/(a+)+$', '/*'] })]);
  t.equal(outcome(compiled, at(`/${'a'.repeat(5_000)}!`), signedIn), 'allow -');
  t.equal(outcome(compiled, at('/(a+)+$/x'), signedIn), 'deny r');
});

void t.test('ten rules cost a signed-in caller microseconds', async (t) => {
  const geo: GeoLookup = { ...noGeo, country: () => 'DE', network: () => 64_500 };
  const times = [{ days: [1, 2, 3, 4, 5, 6, 7], from: 0, to: 1, timeZone: 'Europe/Berlin' }];
  const compiled = policy([
    rule('1', 'deny', { paths: ['/admin', '/internal'] }),
    rule('2', 'deny', { addresses: ['10.0.0.0/8', '192.168.0.0/16', '2001:db8::/32'] }),
    rule('3', 'deny', { countries: ['FR', 'US'] }),
    rule('4', 'deny', { networks: [1, 2, 3] }),
    rule('5', 'deny', { times }),
    rule('6', 'deny', { methods: ['DELETE'] }),
    rule('7', 'bypass', { paths: ['/healthz'] }),
    rule('8', 'deny', { users: ['mallory'] }),
    rule('9', 'allow', { paths: ['/vault'] }, { proofs: [['oidc', 'certificate']] }),
    rule('10', 'allow', { groups: [asId<GroupId>('g-dev')] }),
  ]);
  const facts = at('/some/app/page', { geo });
  t.equal(outcome(compiled, facts, signedIn), 'allow 10');
  const rounds = 20_000;
  // As at the door: once before it is known who it is, and once afterwards.
  const each = (): number => {
    const begun = performance.now();
    for (let i = 0; i < rounds; i++) {
      compiled.judge(facts, undefined);
      compiled.judge(facts, signedIn);
    }
    return ((performance.now() - begun) * 1_000) / rounds;
  };
  each();
  const µs = Math.min(each(), each(), each());
  t.comment(`figure: ten rules: ${µs.toFixed(2)} µs a request`);
  t.ok(µs < 50);
});
