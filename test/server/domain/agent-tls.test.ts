// Services whose TLS ends at an agent: the public gateway is told of them what it needs to pass bytes on, and can open, see and end nothing there.
import t from 'tap';
import { plainAccess } from '#model/access.ts';
import { asId, type PeerId, type ProxyId, type ServiceId, type UserId } from '#model/ids.ts';
import { noRestrictions } from '#model/service.ts';
import { defaultWeb } from '#model/web.ts';
import { agentTokenMs } from '../../../src/server/domain/constants.ts';
import { addCluster, addOwner, addPeer, keyOf, openDomain, serviceOf, system, targetOf, type Fixture } from './support.ts';

const front = 'proxy.test';

interface Ready extends Fixture {
  readonly peerId: PeerId;
  readonly serviceId: ServiceId;
  readonly userId: UserId;
  /** The cluster of the agent. */
  readonly own: string;
}

async function ready(): Promise<Ready> {
  const fixture = await openDomain();
  const { domain } = fixture;
  await addCluster(domain);
  await addOwner(domain);
  const request = { email: 'u@example.com', name: 'U', role: 'user', autoGroups: [], service: false, password: 'long enough' } as const;
  const userId = (await domain.users.create(request, system)).user.id;
  const peerId = (await domain.peers.self(await addPeer(domain, 'office'))).peer.id;
  const restrictions = { ...noRestrictions, blockedCidrs: ['192.0.2.0/24'], allowedCountries: ['DE'], crowdsecMode: 'enforce' } as const;
  const password = { enabled: true, password: 'a secret' };
  const auth = { ...serviceOf(peerId).auth, password };
  const serviceId = (await domain.services.create(serviceOf(peerId, { tlsAt: 'agent', restrictions, auth }), system)).id;
  return { ...fixture, peerId, serviceId, userId, own: `${peerId}.agent.invalid` };
}

t.test('the gateway gets the name, the way and who may not connect; the agent gets the rest', async (t) => {
  const { domain, peerId, serviceId, own } = await ready();
  const [passed] = await domain.services.mappings(front);
  const [served] = await domain.services.mappings(own);
  const { peer } = await domain.peers.self(keyOf('office'));
  t.match(passed, {
    id: serviceId,
    mode: 'tls',
    listenPort: undefined,
    access: { proofs: [], rules: [], rateLimits: [] },
    web: defaultWeb,
    restrictions: { blockedCidrs: ['192.0.2.0/24'], allowedCountries: ['DE'], crowdsecMode: 'enforce' },
    paths: [{ targets: [{ protocol: 'tcp', host: peer.ipv4, port: 44_443 }], options: { proxyProtocol: true, proxyProtocolVersion: 2 } }],
  });
  t.match(served, {
    id: serviceId,
    mode: 'http',
    access: { proofs: [['oidc'], ['token'], ['password']] },
    restrictions: { blockedCidrs: ['192.0.2.0/24'], allowedCountries: [], crowdsecMode: 'off' },
    paths: [{ targets: [{ protocol: 'http', port: 8080 }] }],
  });
  t.same(await domain.services.mapping(serviceId, 'elsewhere.agent.invalid'), undefined);
  t.same(await domain.services.mappings('elsewhere.agent.invalid'), []);
  t.same(
    (await domain.clusters.clusters()).map(({ address }) => address),
    [front],
  );
  t.match(await domain.services.get(serviceId), { status: { state: 'pending', reason: /tlsHere\.enabled/ } });
  const report = { serviceId, status: { state: 'active', reason: '' }, certificateIssued: true } as const;
  await domain.services.reportStatus({ ...report, cluster: front, proxyId: asId('front') });
  t.match(
    await domain.services.get(serviceId),
    { status: { state: 'pending' }, certificateIssuedAt: undefined },
    'what passes bytes on cannot say so',
  );
  await domain.services.reportStatus({ ...report, cluster: own, proxyId: asId(`agent-${peerId}`) });
  t.match(await domain.services.get(serviceId), { status: { state: 'active' }, certificateIssuedAt: Number });
});

t.test('sessions, proofs and diagnoses are between the agent and the control plane', async (t) => {
  const { domain, changes, serviceId, userId, own } = await ready();
  await t.rejects(domain.sessions.create(serviceId, userId, front), { code: 'DOMAIN_SERVICE_UNKNOWN' });
  const session = await domain.sessions.create(serviceId, userId, own);
  t.match(await domain.sessions.find(session.id, serviceId, own), { session });
  t.same(await domain.sessions.find(session.id, serviceId, front), { missing: 'unknown' });
  const secret = {
    kind: 'password',
    serviceId,
    secret: 'a secret',
    address: '192.0.2.7',
    userAgent: '',
    sessionId: undefined,
    knownBrowser: undefined,
  } as const;
  t.match(await domain.proofs.prove(secret, front), { kind: 'refused' });
  t.match(await domain.proofs.prove(secret, own), { kind: 'granted' });
  const { token } = await domain.diagnoses.issue(serviceId, system);
  t.equal(await domain.diagnoses.redeem(token, serviceId, front), false);
  t.equal(await domain.diagnoses.redeem(token, serviceId, own), true);
  await domain.sessions.end(session.id, front);
  t.match(await domain.sessions.find(session.id, serviceId, own), { session }, 'nor does it end one');
  changes.length = 0;
  await domain.sessions.end(session.id, own);
  t.match(changes, [{ kind: 'revocation', revocation: { kind: 'session' }, cluster: own }]);
});

t.test('where TLS ends can be changed: sessions end, and each cluster hears of what it has lost', async (t) => {
  const { domain, changes, peerId, serviceId, userId, own } = await ready();
  const session = await domain.sessions.create(serviceId, userId, own);
  changes.length = 0;
  await domain.services.update(serviceId, serviceOf(peerId), system);
  const told = changes.flatMap((change) => ('cluster' in change ? [`${change.kind} ${String(change.cluster)}`] : []));
  t.same(told.toSorted(), [`revocation ${own}`, `service-removed ${own}`, `service-set ${front}`].toSorted());
  t.match(await domain.services.mapping(serviceId, front), { mode: 'http' });
  t.same(await domain.sessions.find(session.id, serviceId, front), { missing: 'revoked' });
});

t.test('an agent gets a token for its own cluster, which lives while it asks and ends with its peer', async (t) => {
  const { domain, clock, changes, peerId, own } = await ready();
  await addPeer(domain, 'idle');
  await t.rejects(domain.agentDoors.grant(keyOf('idle'), ''), { code: 'DOMAIN_AGENT_NO_SERVICE' }, 'nobody has made a service for it');
  await t.rejects(domain.agentDoors.grant(keyOf('nobody'), ''), { code: 'DOMAIN_PEER_UNKNOWN' });
  const first = await domain.agentDoors.grant(keyOf('office'), '');
  t.match(first, { cluster: own, proxyId: `agent-${peerId}`, gateways: [], expiresAt: clock.wall() + agentTokenMs });
  t.match(await domain.tokens.verifyProxy(first.token), { cluster: own });
  clock.advance(agentTokenMs - 1);
  t.equal((await domain.agentDoors.grant(keyOf('office'), first.token)).token, first.token, 'it is prolonged');
  clock.advance(agentTokenMs - 1);
  t.ok(await domain.tokens.verifyProxy(first.token));
  changes.length = 0;
  const second = await domain.agentDoors.grant(keyOf('office'), 'another one');
  t.not(second.token, first.token);
  t.equal(await domain.tokens.verifyProxy(first.token), undefined, 'there is one at a time');
  t.match(changes, [{ kind: 'proxy-token-revoked' }]);
  clock.advance(agentTokenMs);
  t.equal(await domain.tokens.verifyProxy(second.token), undefined, 'not asked for again, it is over');
  const third = await domain.agentDoors.grant(keyOf('office'), second.token);
  t.not(third.token, second.token);
  await domain.peers.delete(peerId, system);
  t.equal(await domain.tokens.verifyProxy(third.token), undefined);
});

t.test('no other token is good for an agent’s cluster', async (t) => {
  const { domain, own } = await ready();
  await t.rejects(domain.tokens.createProxy({ name: 'x', expiresInSeconds: 0, cluster: own }, system), { code: 'DOMAIN_INVALID' });
  const { token } = await domain.tokens.createProxy({ name: 'x', expiresInSeconds: 0, cluster: undefined }, system);
  const connection = { proxyId: asId<ProxyId>('x'), tokenId: token.id, cluster: own, version: '1', publicPort: 443 };
  await t.rejects(domain.clusters.proxyConnected(connection), { code: 'DOMAIN_PROXY_TOKEN_ELSEWHERE' });
});

t.test('what an agent could not do is refused', async (t) => {
  const { domain, peerId } = await ready();
  const refused = async (more: Parameters<typeof serviceOf>[1]): Promise<void> => {
    const service = serviceOf(peerId, { name: 'b', domain: 'b.proxy.test', tlsAt: 'agent', ...more });
    await t.rejects(domain.services.create(service, system), { code: 'DOMAIN_INVALID' });
  };
  await refused({ mode: 'tcp', listenPort: 5_000, targets: [targetOf(peerId, { protocol: 'tcp' })] });
  await refused({ domain: '*.b.proxy.test' });
  await refused({ targets: [targetOf(peerId, { path: '/a' })] });
  await refused({ targets: [targetOf(peerId), targetOf(peerId, { path: '/b' })] });
  await refused({ targets: [{ ...targetOf(peerId), options: { ...targetOf(peerId).options, directUpstream: true } }] });
  await refused({ targets: [targetOf('proxy.test', { targetType: 'cluster', host: '127.0.0.1' })] });
  const when = { users: [], groups: [], claims: [], cidrs: [], countries: ['DE'], networks: [], times: [], methods: [], paths: [] };
  await refused({ access: { ...plainAccess, rules: [{ name: 'r', action: 'deny', proofs: [], observe: false, when } as never] } });
});
