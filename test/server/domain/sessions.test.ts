import { join } from 'node:path';
import t from 'tap';
import { tokenDigest } from '#crypto/tokens.ts';
import { plainIssuerRules, type Issuer } from '#model/issuer.ts';
import { plainAccess } from '#model/access.ts';
import { asId, type PeerId, type ServiceId, type UserId } from '#model/ids.ts';
import { defaultSessionMaxAgeMs, minSessionIdleMs, sessionUseLagMs } from '../../../src/server/domain/constants.ts';
import type { ControlDomainOptions } from '../../../src/server/domain/index.ts';
import { addCluster, addOwner, addPeer, openDomain, serviceOf, system, type Fixture } from './support.ts';

interface Ready extends Fixture {
  readonly peerId: PeerId;
  readonly serviceId: ServiceId;
  readonly userId: UserId;
}

const corp: Issuer = {
  ...plainIssuerRules,
  id: 'corp',
  type: 'oidc',
  name: 'Corp',
  issuer: 'https://corp.test',
  clientId: 'a',
  clientAuth: 'basic',
  ca: undefined,
  configured: true,
};

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

// Attack row C-5.
t.test('a session lives for a day, at its service, until it is ended', async (t) => {
  const { domain, clock, changes, serviceId, userId } = await ready();
  const session = await domain.sessions.create(serviceId, userId, 'proxy.test');
  t.equal(Buffer.from(session.id, 'base64url').length, 32);
  t.match(session, {
    serviceId,
    identity: { userId, email: 'u@example.com', method: 'oidc', groups: [] },
    expiresAt: clock.wall() + defaultSessionMaxAgeMs,
  });
  t.same(await domain.sessions.find(session.id, serviceId, 'proxy.test'), { session });
  t.same(await domain.sessions.find(session.id, asId('other'), 'proxy.test'), { missing: 'unknown' });
  t.same(await domain.sessions.find(asId('guess'), serviceId, 'proxy.test'), { missing: 'unknown' });
  await domain.sessions.end(session.id, 'proxy.test');
  t.same(changes, [{ kind: 'revocation', revocation: { kind: 'session', digest: tokenDigest(session.id) }, cluster: 'proxy.test' }]);
  t.same(await domain.sessions.find(session.id, serviceId, 'proxy.test'), { missing: 'revoked' });
  await domain.sessions.end(session.id, 'proxy.test');
  t.equal(changes.length, 1);

  const second = await domain.sessions.create(serviceId, userId, 'proxy.test');
  clock.advance(defaultSessionMaxAgeMs - 1);
  t.match(await domain.sessions.find(second.id, serviceId, 'proxy.test'), { session: {} });
  clock.advance(1);
  t.same(await domain.sessions.find(second.id, serviceId, 'proxy.test'), { missing: 'expired' });
  await domain.peers.reapAbandoned();
  t.same(await domain.sessions.find(second.id, serviceId, 'proxy.test'), { missing: 'unknown' }, 'what has expired is removed');
  await domain.close();
});

t.test('groups are as of now, and decide', async (t) => {
  const { domain, peerId, serviceId, userId } = await ready();
  const group = await domain.groups.create({ name: 'staff', peers: [] }, system);
  const base = serviceOf(peerId);
  await domain.services.update(serviceId, { ...base, auth: { ...base.auth, oidc: { enabled: true, groups: [group.id] } } }, system);
  await t.rejects(domain.sessions.create(serviceId, userId, 'proxy.test'), { code: 'DOMAIN_GROUP_NOT_ALLOWED' });
  await domain.users.update(userId, { autoGroups: [group.id] }, system);
  const session = await domain.sessions.create(serviceId, userId, 'proxy.test');
  t.same(session.identity.groups, ['staff']);
  await domain.groups.update(group.id, { name: 'people', peers: [] }, system);
  t.match(await domain.sessions.find(session.id, serviceId, 'proxy.test'), { session: { identity: { groups: ['people'] } } });
  await domain.users.update(userId, { autoGroups: [] }, system);
  t.same(await domain.sessions.find(session.id, serviceId, 'proxy.test'), { missing: 'revoked' });
  await domain.close();
});

// Attack row A-9.
t.test('what ends trust ends sessions', async (t) => {
  const { domain, peerId, serviceId, userId } = await ready();
  const gone = async (work: () => Promise<unknown>, missing: string): Promise<void> => {
    const { id } = await domain.sessions.create(serviceId, userId, 'proxy.test');
    await work();
    t.same(await domain.sessions.find(id, serviceId, 'proxy.test'), { missing });
  };
  await gone(() => domain.users.setPassword(userId, 'something else', system), 'revoked');
  await gone(() => domain.sessions.endAllOf(userId, system), 'revoked');
  await gone(() => domain.services.update(serviceId, serviceOf(peerId, { domain: 'b.proxy.test' }), system), 'revoked');
  await gone(() => domain.users.update(userId, { blocked: true }, system), 'revoked');
  await t.rejects(domain.sessions.create(serviceId, userId, 'proxy.test'), { code: 'DOMAIN_USER_BLOCKED' });
  await domain.users.update(userId, { blocked: false }, system);
  await gone(() => domain.services.update(serviceId, serviceOf(peerId, { domain: 'b.proxy.test', enabled: false }), system), 'unknown');
  await t.rejects(domain.sessions.create(serviceId, userId, 'proxy.test'), { code: 'DOMAIN_SERVICE_UNKNOWN' });
  await domain.services.update(serviceId, serviceOf(peerId), system);
  await gone(() => domain.services.delete(serviceId, system), 'unknown');
  await domain.close();
});

t.test('nobody signs in where nobody is asked to', async (t) => {
  const { domain, peerId, serviceId, userId } = await ready();
  const open = { ...serviceOf(peerId).auth, oidc: { enabled: false, groups: [] } };
  await domain.services.update(serviceId, serviceOf(peerId, { auth: open }), system);
  await t.rejects(domain.sessions.create(serviceId, userId, 'proxy.test'), { code: 'DOMAIN_SERVICE_NO_SIGN_IN' });
  await domain.close();
});

t.test('one user has a limited number of sessions: the oldest ends', async (t) => {
  const { domain, clock, serviceId, userId } = await ready({ limits: { sessionsPerUser: 2 } });
  const ids = [];
  for (let i = 0; i < 3; i++) {
    ids.push((await domain.sessions.create(serviceId, userId, 'proxy.test')).id);
    clock.advance(1);
  }
  const found = await Promise.all(ids.map((id) => domain.sessions.find(id, serviceId, 'proxy.test')));
  t.same(
    found.map((entry) => ('missing' in entry ? entry.missing : 'live')),
    ['revoked', 'live', 'live'],
  );
  await domain.close();
});

// Attack row A-17.
t.test('tokens of service users stand in for a session; those of people do not', async (t) => {
  const { domain, clock, changes, peerId, serviceId, userId } = await ready();
  const request = { email: '', name: 'robot', role: 'user', autoGroups: [], service: true, password: undefined } as const;
  const robot = (await domain.users.create(request, system)).user;
  const { plain, token } = await domain.tokens.create(robot.id, 'ci', 1, system);
  t.match(await domain.sessions.verifyServiceToken(plain, serviceId, 'proxy.test'), {
    identity: { userId: robot.id, method: 'token', name: 'robot' },
  });
  const personal = await domain.tokens.create(userId, 'mine', 1, system);
  const invalid = { denied: 'token_invalid' };
  t.same(await domain.sessions.verifyServiceToken(personal.plain, serviceId, 'proxy.test'), invalid);
  t.same(await domain.sessions.verifyServiceToken(plain, asId('other'), 'proxy.test'), invalid);
  t.same(await domain.sessions.verifyServiceToken('nbp_x', serviceId, 'proxy.test'), invalid);
  const group = await domain.groups.create({ name: 'staff', peers: [] }, system);
  const base = serviceOf(peerId);
  await domain.services.update(serviceId, { ...base, auth: { ...base.auth, oidc: { enabled: true, groups: [group.id] } } }, system);
  t.same(await domain.sessions.verifyServiceToken(plain, serviceId, 'proxy.test'), { denied: 'group_not_allowed' });
  await domain.users.update(robot.id, { autoGroups: [group.id] }, system);
  t.match(await domain.sessions.verifyServiceToken(plain, serviceId, 'proxy.test'), { identity: { groups: ['staff'] } });
  changes.length = 0;
  await domain.tokens.delete(robot.id, token.id, system);
  t.match(changes, [{ kind: 'revocation', revocation: { kind: 'token' } }]);
  t.same(await domain.sessions.verifyServiceToken(plain, serviceId, 'proxy.test'), invalid);
  const brief = await domain.tokens.create(robot.id, 'brief', 1, system);
  clock.advance(86_400_000);
  t.same(await domain.sessions.verifyServiceToken(brief.plain, serviceId, 'proxy.test'), invalid);
  await domain.close();
});

// Attack row C-8.
t.test('account and service limit how long a session lives and rests, by a clock that never goes back', async (t) => {
  const { domain, clock, peerId, serviceId, userId } = await ready();
  const minute = 60_000;
  for (const change of [{ sessionMaxAgeMs: minute }, { sessionIdleMs: 1_000 }, { sessionMaxAgeMs: 91 * 86_400_000 }]) {
    await t.rejects(domain.settings.update(change, system), { code: 'DOMAIN_INVALID' });
  }
  await domain.settings.update({ sessionMaxAgeMs: 60 * minute, sessionIdleMs: minSessionIdleMs }, system);
  const session = await domain.sessions.create(serviceId, userId, 'proxy.test');
  t.match(session, { expiresAt: clock.wall() + 60 * minute, idleMs: minSessionIdleMs });
  for (let i = 0; i < 5; i++) {
    clock.advance(4 * minute);
    t.match(await domain.sessions.find(session.id, serviceId, 'proxy.test'), { session: {} }, 'in use');
  }
  clock.advance(minSessionIdleMs + sessionUseLagMs + 1);
  t.same(await domain.sessions.find(session.id, serviceId, 'proxy.test'), { missing: 'expired' });

  const terms = (maxAgeMs: number, idleMs?: number) => ({ access: { ...plainAccess, session: { maxAgeMs, idleMs } } });
  await domain.services.update(serviceId, serviceOf(peerId, terms(10 * minute, 20 * minute)), system);
  const second = await domain.sessions.create(serviceId, userId, 'proxy.test');
  t.match(second, { expiresAt: clock.wall() + 10 * minute, idleMs: 20 * minute }, 'the service says otherwise');
  await domain.services.update(serviceId, serviceOf(peerId, terms(5 * minute)), system);
  t.match(
    await domain.sessions.find(second.id, serviceId, 'proxy.test'),
    { session: { expiresAt: second.expiresAt - 5 * minute } },
    'a shorter limit holds at once',
  );
  t.match(await domain.services.mapping(serviceId, 'proxy.test'), { access: { session: { maxAgeMs: 5 * minute, idleMs: minSessionIdleMs } } });
  clock.setWall(clock.wall() - 60 * minute);
  clock.advance(5 * minute);
  t.same(await domain.sessions.find(second.id, serviceId, 'proxy.test'), { missing: 'expired' }, 'the clock was set back');
  await domain.close();
});

// Attack row C-8.
t.test('a session that a wrong clock dated into the future is over', async (t) => {
  const storeUrl = `sqlite:${join(t.testdir(), 'state.db')}`;
  const { domain, clock, serviceId, userId } = await ready({ storeUrl });
  clock.setWall(clock.wall() + 365 * 86_400_000);
  const { id } = await domain.sessions.create(serviceId, userId, 'proxy.test');
  t.match(await domain.sessions.find(id, serviceId, 'proxy.test'), { session: {} });
  await domain.close();
  const again = await openDomain({ storeUrl });
  t.same(await again.domain.sessions.find(id, serviceId, 'proxy.test'), { missing: 'expired' });
  await again.domain.close();
});

t.test('sessions are listed with where they came from, and ended by a name that opens nothing', async (t) => {
  const { domain, changes, clock, serviceId, userId } = await ready();
  const origin = { signIn: 'one', methods: ['pwd', 'otp'], address: '192.0.2.1', userAgent: 'Firefox' };
  const session = await domain.sessions.create(serviceId, userId, 'proxy.test', origin);
  clock.advance(1);
  const other = await domain.sessions.create(serviceId, userId, 'proxy.test', { ...origin, signIn: 'two' });
  const [newest, oldest, ...rest] = await domain.sessions.list(userId);
  t.same(rest, []);
  t.match(oldest, { ...origin, email: 'u@example.com', serviceName: 'app', domain: 'app.proxy.test', createdAt: session.createdAt });
  t.not(oldest?.id, session.id);
  t.same(await domain.sessions.find(asId(oldest?.id ?? ''), serviceId, 'proxy.test'), { missing: 'unknown' });
  t.same(await domain.sessions.list(asId('nobody')), []);
  t.equal((await domain.sessions.list(undefined)).length, 2);
  await t.rejects(domain.sessions.revoke(oldest?.id ?? '', asId('nobody'), system), { code: 'DOMAIN_NOT_FOUND' });
  changes.length = 0;
  await domain.sessions.revoke(oldest?.id ?? '', userId, system);
  t.same(changes, [{ kind: 'revocation', revocation: { kind: 'session', digest: tokenDigest(session.id) }, cluster: 'proxy.test' }]);
  t.same(await domain.sessions.find(session.id, serviceId, 'proxy.test'), { missing: 'revoked' });
  t.same(await domain.sessions.list(userId), [newest]);
  changes.length = 0;
  await domain.sessions.endOfSignIn('two', system);
  t.same(changes, [{ kind: 'revocation', revocation: { kind: 'session', digest: tokenDigest(other.id) }, cluster: 'proxy.test' }]);
  t.same(await domain.sessions.list(undefined), []);
  await domain.close();
});

t.test('a service takes the users of the issuers that it names', async (t) => {
  const { domain, peerId, serviceId, userId } = await ready({ issuers: [corp] });
  const { user: external } = await domain.users.fromConnector({ connector: 'corp', subject: '1', email: 'u@example.com', name: 'U' });
  await domain.services.update(serviceId, serviceOf(peerId, { issuers: ['corp'] }), system);
  await t.rejects(domain.sessions.create(serviceId, userId, 'proxy.test'), { code: 'DOMAIN_ISSUER_NOT_ALLOWED' }, 'the same address does not help');
  const session = await domain.sessions.create(serviceId, external.id, 'proxy.test');
  await domain.services.update(serviceId, serviceOf(peerId, { issuers: ['local'] }), system);
  t.same(await domain.sessions.find(session.id, serviceId, 'proxy.test'), { missing: 'revoked' });
  t.match(await domain.sessions.create(serviceId, userId, 'proxy.test'), { serviceId });
  await domain.close();
});
