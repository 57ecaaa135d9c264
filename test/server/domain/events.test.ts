import t from 'tap';
import type { AccessLogEntry } from '#model/access-log.ts';
import { asId } from '#model/ids.ts';
import { accessBatch, accessLogRetentionMs } from '../../../src/server/domain/constants.ts';
import { addOwner, openDomain, ruleOf, system } from './support.ts';

function entry(index: number, more: Partial<AccessLogEntry> = {}): AccessLogEntry {
  return {
    id: `e${index}`,
    serviceId: asId('s'),
    timestamp: index,
    protocol: 'http',
    method: 'GET',
    host: 'app.test',
    path: '/',
    durationMs: 1,
    status: 200,
    sourceIp: '192.0.2.1',
    userId: '',
    authMethod: '',
    authSuccess: true,
    bytesUp: 0,
    bytesDown: 0,
    reason: '',
    ...more,
  };
}

t.test('every write is in the audit log with who did it, newest first', async (t) => {
  const { domain, clock } = await openDomain();
  const owner = await addOwner(domain);
  clock.advance(1_000);
  const group = await domain.groups.create({ name: 'g', peers: [] }, { kind: 'user', id: owner });
  // Of one millisecond either may come first.
  clock.advance(1);
  await domain.events.record('custom.thing', system, 'x', { a: 'b' });
  t.match(await domain.events.audit(), [
    { activityCode: 'custom.thing', initiatorId: 'sys', targetId: 'x', meta: { a: 'b' } },
    { activityCode: 'group.add', activity: 'Group created', initiatorName: 'Owner', initiatorEmail: 'owner@example.com', targetId: group.id },
    { activityCode: 'account.setup' },
  ]);
  await domain.close();
});

t.test('what fails is not in the audit log', async (t) => {
  const { domain } = await openDomain();
  await domain.groups.create({ name: 'g', peers: [] }, system);
  await t.rejects(domain.groups.create({ name: 'g', peers: [] }, system));
  t.equal((await domain.events.audit()).length, 1);
  await domain.close();
});

t.test('the access log is filtered and paged', async (t) => {
  const { domain } = await openDomain();
  const owner = await addOwner(domain);
  await domain.events.addAccess(
    [
      entry(1, { userId: owner, status: 200, path: '/report' }),
      entry(2, { status: 404, method: 'POST', host: 'other.test' }),
      entry(3, { status: 502, sourceIp: '2001:db8::1', serviceId: undefined, reason: 'upstream' }),
    ],
    'proxy.test',
  );
  const ids = async (query: object): Promise<readonly string[]> =>
    (await domain.events.accessLog({ page: 1, pageSize: 10, ...query })).entries.map((found) => found.id);
  t.same(await ids({}), ['e3', 'e2', 'e1']);
  t.same(await ids({ outcome: 'success' }), ['e1']);
  t.same(await ids({ outcome: 'failed' }), ['e3', 'e2']);
  t.same(await ids({ statusCode: 404 }), ['e2']);
  t.same(await ids({ method: 'POST' }), ['e2']);
  t.same(await ids({ host: 'OTHER' }), ['e2']);
  t.same(await ids({ path: 'repo' }), ['e1']);
  t.same(await ids({ sourceIp: '2001:db8::1' }), ['e3']);
  t.same(await ids({ search: 'upstream' }), ['e3']);
  t.same(await ids({ serviceId: 's' }), ['e2', 'e1']);
  t.same(await ids({ userEmail: 'Owner@example.com' }), ['e1']);
  t.same(await ids({ userEmail: 'nobody@example.com' }), [], 'an address without a user matches nothing');
  t.same(await ids({ from: 2, to: 2 }), ['e2']);
  t.match(await domain.events.accessLog({ page: 2, pageSize: 2 }), { total: 3, entries: { length: 1 } });
  for (const query of [{ page: 0 }, { pageSize: 0 }, { pageSize: 1_000 }]) await t.rejects(ids(query), { code: 'DOMAIN_INVALID' });
  await t.rejects(
    domain.events.addAccess(
      Array.from({ length: accessBatch + 1 }, (_, index) => entry(index)),
      'proxy.test',
    ),
    { code: 'DOMAIN_INVALID' },
  );
  await domain.close();
});

t.test('the access log is trimmed by age and by rows', async (t) => {
  const { domain, clock } = await openDomain({ limits: { accessLogRows: 5 } });
  const now = clock.wall();
  await domain.events.addAccess(
    [entry(0, { timestamp: now - accessLogRetentionMs - 1 }), entry(1, { timestamp: now - accessLogRetentionMs })],
    'proxy.test',
  );
  await domain.peers.reapAbandoned();
  t.equal((await domain.events.accessLog({ page: 1, pageSize: 10 })).total, 1);
  await domain.events.addAccess(
    Array.from({ length: 9 }, (_, index) => entry(10 + index, { timestamp: now + index })),
    'proxy.test',
  );
  await domain.peers.reapAbandoned();
  t.equal((await domain.events.accessLog({ page: 1, pageSize: 10 })).total, 5);
  await domain.close();
});

t.test('policies are checked', async (t) => {
  const { domain } = await openDomain();
  const { id } = await domain.groups.create({ name: 'g', peers: [] }, system);
  const ends = { sources: [id], destinations: [id] };
  const refused = [
    [],
    [ruleOf({})],
    [ruleOf({ ...ends, protocol: 'icmp', ports: [{ start: 1, end: 1 }] })],
    [ruleOf({ ...ends, ports: [{ start: 1, end: 1 }] })],
    ...[
      [0, 1],
      [2, 1],
      [1, 65_536],
      [1.5, 2],
    ].map(([start = 0, end = 0]) => [ruleOf({ ...ends, protocol: 'tcp', ports: [{ start, end }] })]),
    Array.from({ length: 101 }, () => ruleOf(ends)),
    [ruleOf({ ...ends, protocol: 'tcp', ports: Array.from({ length: 101 }, () => ({ start: 1, end: 1 })) })],
    [ruleOf({ ...ends, description: 'x'.repeat(1_001) })],
  ];
  for (const rules of refused) {
    await t.rejects(domain.policies.create({ name: 'p', description: '', enabled: true, rules }, system), { code: 'DOMAIN_INVALID' });
  }
  const policy = await domain.policies.create({ name: 'p', description: '', enabled: true, rules: [ruleOf(ends)] }, system);
  t.same(await domain.policies.get(policy.id), policy);
  await t.rejects(domain.groups.delete(id, system), { code: 'DOMAIN_GROUP_IN_USE', message: /policy "p"/ });
  await domain.policies.delete(policy.id, system);
  await t.rejects(domain.policies.get(policy.id), { code: 'DOMAIN_NOT_FOUND' });
  await domain.close();
});
