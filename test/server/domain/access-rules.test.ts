// What an access policy must look like to be kept: bounds, names, and what a gateway could not decide by.
import t from 'tap';
import { parse } from '#lib/schema.ts';
import { type AccessPolicy, type AccessRule, anything, plainAccess } from '#model/access.ts';
import { asId, type GroupId } from '#model/ids.ts';
import { accessRequest } from '#server/api/access-request.ts';
import { checkAccess } from '#server/domain/access-rules.ts';
import { entriesPerCondition, rateLimitsPerService, rulesPerService } from '#server/domain/constants.ts';

const rule = (i: number, change: Partial<AccessRule> = {}): AccessRule => ({
  name: `r${i}`,
  action: 'deny',
  observe: false,
  when: anything,
  proofs: [],
  ...change,
});
const many = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_none, i) => make(i));
const save = (change: Partial<AccessPolicy>, mode: 'http' | 'tcp' = 'http'): AccessPolicy => checkAccess(mode, { ...plainAccess, ...change });

void t.test('row D-14: a policy that would cost too much to ask is not kept', async (t) => {
  t.equal(save({ rules: many(rulesPerService, rule) }).rules.length, rulesPerService);
  t.throws(() => save({ rules: many(rulesPerService + 1, rule) }), /at most 100 access rules/);
  t.throws(() => save({ rules: many(10_000, rule) }), /at most 100 access rules/);
  const paths = many(entriesPerCondition + 1, (i) => `/p${i}`);
  t.throws(() => save({ rules: [rule(1, { when: { ...anything, paths } })] }), /more than 200/);
  t.throws(
    () => save({ rateLimits: many(rateLimitsPerService + 1, () => ({ key: 'address', count: 1, perMs: 1_000, burst: 1 })) }),
    /at most 8 rate limits/,
  );
  const body = { rules: many(10_000, (i) => ({ name: `r${i}`, action: 'deny', when: {} })) };
  t.equal(parse(accessRequest, body).ok, false, 'and the API does not even read it');
});

void t.test('what a gateway could not decide by is refused', async (t) => {
  for (const [change, problem] of [
    [{ rules: [rule(1), rule(1)] }, /same name/],
    [{ rules: [rule(1, { name: 'über' })] }, /printable/],
    [{ rules: [rule(1, { proofs: [['oidc']] })] }, /only allow can/],
    [{ rules: [rule(1, { action: 'bypass', when: { ...anything, groups: [asId<GroupId>('g')] } })] }, /use allow/],
    [{ rules: [rule(1, { when: { ...anything, addresses: ['here'] } })] }, /not a network/],
    [{ rules: [rule(1, { when: { ...anything, paths: ['/a/../b'] } })] }, /no \. or \.\./],
    [{ rules: [rule(1, { when: { ...anything, times: [{ days: [8], from: 0, to: 1, timeZone: 'UTC' }] } })] }, /1 \(Monday\)/],
    [{ rules: [rule(1, { when: { ...anything, times: [{ days: [], from: 0, to: 1, timeZone: 'Nowhere/At_All' }] } })] }, /not a time zone/],
  ] as const) {
    t.throws(() => save(change), problem);
  }
  t.throws(() => save({ rules: [rule(1, { when: { ...anything, methods: ['GET'] } })] }, 'tcp'), /does not have/);
  t.match(save({ rules: [rule(1, { when: { ...anything, addresses: ['192.0.2.7/24'], users: ['A@B.test'], paths: ['/a/'] } })] }).rules[0], {
    when: { addresses: ['192.0.2.0/24'], users: ['a@b.test'], paths: ['/a'] },
  });
});
