import t from 'tap';
import { asId, type PeerId, type ServiceId, type UserId } from '#model/ids.ts';
import { sessionMaxAgeMs } from '../../../src/server/domain/constants.ts';
import type { ControlDomainOptions } from '../../../src/server/domain/index.ts';
import { addCluster, addOwner, addPeer, openDomain, serviceOf, system, type Fixture } from './support.ts';

interface Ready extends Fixture {
  readonly peerId: PeerId;
  readonly serviceId: ServiceId;
  readonly userId: UserId;
}

async function ready(options: Partial<ControlDomainOptions> = {}): Promise<Ready> {
  const fixture = await openDomain(options);
  const { domain } = fixture;
  await addCluster(domain);
  await addOwner(domain);
  const request = { email: 'u@example.com', name: 'U', role: 'user', autoGroups: [], service: false, password: 'long enough' } as const;
  const userId = (await domain.users.create(request, system)).user.id;
  const peerId = (await domain.peers.self(await addPeer(domain, 'web'))).peer.id;
  const serviceId = (await domain.services.create(serviceOf(peerId), system)).id;
  fixture.changes.length = 0;
  return { ...fixture, peerId, serviceId, userId };
}

t.test('a session lives for a day, at its service, until it is ended', async (t) => {
  const { domain, clock, changes, serviceId, userId } = await ready();
  const session = await domain.sessions.create(serviceId, userId);
  t.equal(Buffer.from(session.id, 'base64url').length, 32);
  t.match(session, {
    serviceId,
    identity: { userId, email: 'u@example.com', method: 'oidc', groups: [] },
    expiresAt: clock.wall() + sessionMaxAgeMs,
  });
  t.same(await domain.sessions.find(session.id, serviceId), { session });
  t.same(await domain.sessions.find(session.id, asId('other')), { missing: 'unknown' });
  t.same(await domain.sessions.find(asId('guess'), serviceId), { missing: 'unknown' });
  await domain.sessions.end(session.id);
  t.same(changes, [{ kind: 'revocation', revocation: { kind: 'session', sessionId: session.id } }]);
  t.same(await domain.sessions.find(session.id, serviceId), { missing: 'revoked' });
  await domain.sessions.end(session.id);
  t.equal(changes.length, 1);

  const second = await domain.sessions.create(serviceId, userId);
  clock.advance(sessionMaxAgeMs - 1);
  t.match(await domain.sessions.find(second.id, serviceId), { session: {} });
  clock.advance(1);
  t.same(await domain.sessions.find(second.id, serviceId), { missing: 'expired' });
  await domain.peers.reapAbandoned();
  t.same(await domain.sessions.find(second.id, serviceId), { missing: 'unknown' }, 'what has expired is removed');
  await domain.close();
});

t.test('groups are as of now, and decide', async (t) => {
  const { domain, peerId, serviceId, userId } = await ready();
  const group = await domain.groups.create({ name: 'staff', peers: [] }, system);
  const base = serviceOf(peerId);
  await domain.services.update(serviceId, { ...base, auth: { ...base.auth, oidc: { enabled: true, groups: [group.id] } } }, system);
  await t.rejects(domain.sessions.create(serviceId, userId), { code: 'DOMAIN_GROUP_NOT_ALLOWED' });
  await domain.users.update(userId, { autoGroups: [group.id] }, system);
  const session = await domain.sessions.create(serviceId, userId);
  t.same(session.identity.groups, ['staff']);
  await domain.groups.update(group.id, { name: 'people', peers: [] }, system);
  t.match(await domain.sessions.find(session.id, serviceId), { session: { identity: { groups: ['people'] } } });
  await domain.users.update(userId, { autoGroups: [] }, system);
  t.same(await domain.sessions.find(session.id, serviceId), { missing: 'revoked' });
  await domain.close();
});

t.test('what ends trust ends sessions', async (t) => {
  const { domain, peerId, serviceId, userId } = await ready();
  const gone = async (work: () => Promise<unknown>, missing: string): Promise<void> => {
    const { id } = await domain.sessions.create(serviceId, userId);
    await work();
    t.same(await domain.sessions.find(id, serviceId), { missing });
  };
  await gone(() => domain.users.setPassword(userId, 'something else', system), 'revoked');
  await gone(() => domain.sessions.endAllOf(userId, system), 'revoked');
  await gone(() => domain.services.update(serviceId, serviceOf(peerId, { domain: 'b.proxy.test' }), system), 'revoked');
  await gone(() => domain.users.update(userId, { blocked: true }, system), 'revoked');
  await t.rejects(domain.sessions.create(serviceId, userId), { code: 'DOMAIN_USER_BLOCKED' });
  await domain.users.update(userId, { blocked: false }, system);
  await gone(() => domain.services.update(serviceId, serviceOf(peerId, { domain: 'b.proxy.test', enabled: false }), system), 'unknown');
  await t.rejects(domain.sessions.create(serviceId, userId), { code: 'DOMAIN_SERVICE_UNKNOWN' });
  await domain.services.update(serviceId, serviceOf(peerId), system);
  await gone(() => domain.services.delete(serviceId, system), 'unknown');
  await domain.close();
});

t.test('nobody signs in where nobody is asked to', async (t) => {
  const { domain, peerId, serviceId, userId } = await ready();
  const open = { ...serviceOf(peerId).auth, oidc: { enabled: false, groups: [] } };
  await domain.services.update(serviceId, serviceOf(peerId, { auth: open }), system);
  await t.rejects(domain.sessions.create(serviceId, userId), { code: 'DOMAIN_SERVICE_NO_SIGN_IN' });
  await domain.close();
});

t.test('one user has a limited number of sessions: the oldest ends', async (t) => {
  const { domain, clock, serviceId, userId } = await ready({ limits: { sessionsPerUser: 2 } });
  const ids = [];
  for (let i = 0; i < 3; i++) {
    ids.push((await domain.sessions.create(serviceId, userId)).id);
    clock.advance(1);
  }
  const found = await Promise.all(ids.map((id) => domain.sessions.find(id, serviceId)));
  t.same(
    found.map((entry) => ('missing' in entry ? entry.missing : 'live')),
    ['revoked', 'live', 'live'],
  );
  await domain.close();
});

t.test('tokens of service users stand in for a session; those of people do not', async (t) => {
  const { domain, clock, changes, peerId, serviceId, userId } = await ready();
  const request = { email: '', name: 'robot', role: 'user', autoGroups: [], service: true, password: undefined } as const;
  const robot = (await domain.users.create(request, system)).user;
  const { plain, token } = await domain.tokens.create(robot.id, 'ci', 1, system);
  t.match(await domain.sessions.verifyServiceToken(plain, serviceId), { identity: { userId: robot.id, method: 'token', name: 'robot' } });
  const personal = await domain.tokens.create(userId, 'mine', 1, system);
  const invalid = { denied: 'token_invalid' };
  t.same(await domain.sessions.verifyServiceToken(personal.plain, serviceId), invalid);
  t.same(await domain.sessions.verifyServiceToken(plain, asId('other')), invalid);
  t.same(await domain.sessions.verifyServiceToken('nbp_x', serviceId), invalid);
  const group = await domain.groups.create({ name: 'staff', peers: [] }, system);
  const base = serviceOf(peerId);
  await domain.services.update(serviceId, { ...base, auth: { ...base.auth, oidc: { enabled: true, groups: [group.id] } } }, system);
  t.same(await domain.sessions.verifyServiceToken(plain, serviceId), { denied: 'group_not_allowed' });
  await domain.users.update(robot.id, { autoGroups: [group.id] }, system);
  t.match(await domain.sessions.verifyServiceToken(plain, serviceId), { identity: { groups: ['staff'] } });
  changes.length = 0;
  await domain.tokens.delete(robot.id, token.id, system);
  t.match(changes, [{ kind: 'revocation', revocation: { kind: 'token' } }]);
  t.same(await domain.sessions.verifyServiceToken(plain, serviceId), invalid);
  const brief = await domain.tokens.create(robot.id, 'brief', 1, system);
  clock.advance(86_400_000);
  t.same(await domain.sessions.verifyServiceToken(brief.plain, serviceId), invalid);
  await domain.close();
});
