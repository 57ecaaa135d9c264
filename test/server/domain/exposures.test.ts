import t from 'tap';
import type { ExposeRequest } from '#model/exposure.ts';
import { asId, type GroupId, type PeerId, type PublicKey } from '#model/ids.ts';
import { exposureMaxMs, exposureTtlMs, maxExposeDomains, maxExposuresPerPeer } from '../../../src/server/domain/constants.ts';
import type { ExposeSettings } from '../../../src/server/domain/expose-contract.ts';
import { addCluster, addOwner, addPeer, openDomain, ruleOf, serviceOf, system, type Fixture } from './support.ts';

interface Ready extends Fixture {
  readonly key: PublicKey;
  readonly peerId: PeerId;
  readonly group: GroupId;
}

/** A peer in the one group whose peers may expose, and a gateway. */
async function ready(settings: Partial<ExposeSettings> = {}): Promise<Ready> {
  const fixture = await openDomain();
  const { domain } = fixture;
  await addCluster(domain);
  const key = await addPeer(domain, 'laptop');
  const peerId = (await domain.peers.self(key)).peer.id;
  const { id: group } = await domain.groups.create({ name: 'developers', peers: [peerId] }, system);
  await domain.settings.update({ expose: { enabled: true, groups: [group], ...settings } }, system);
  fixture.changes.length = 0;
  return { ...fixture, key, peerId, group };
}

function askFor(more: Partial<ExposeRequest> = {}): ExposeRequest {
  return {
    port: 8080,
    host: undefined,
    protocol: 'http',
    place: { kind: 'random', name: '' },
    listenPort: undefined,
    access: { kind: 'settings' },
    endsAfterMs: undefined,
    ...more,
  };
}

const signIn = { kind: 'proof', signIn: true, groups: [], password: undefined, pin: undefined } as const;

t.test('a peer takes no name at which somebody else has a service, on no port', async (t) => {
  const { domain, key, peerId, group } = await ready({ public: true, domains: ['proxy.test'] });
  const other = await addPeer(domain, 'other');
  const otherId = (await domain.peers.self(other)).peer.id;
  await domain.groups.update(group, { name: 'developers', peers: [peerId, otherId] }, system);
  await domain.services.create(serviceOf(peerId, { domain: 'wiki.proxy.test' }), system);
  await domain.exposures.create(other, askFor({ place: { kind: 'exact', domain: 'theirs.proxy.test' } }));
  const at = (name: string, more: Partial<ExposeRequest>): ExposeRequest =>
    askFor({ place: { kind: 'exact', domain: name }, access: { kind: 'public' }, ...more });
  for (const name of ['wiki.proxy.test', 'theirs.proxy.test']) {
    for (const more of [
      { protocol: 'tls' },
      { protocol: 'tls', listenPort: 8443 },
      { protocol: 'tcp', listenPort: 2222 },
      { protocol: 'udp' },
    ] as const)
      await t.rejects(domain.exposures.create(key, at(name, more)), { code: 'DOMAIN_SERVICE_DOMAIN_TAKEN' }, `${name} ${more.protocol}`);
  }
  await domain.close();
});

t.test('a peer publishes a port of its own under a random name; it ends with its peer’s word', async (t) => {
  const { domain, changes, key, peerId } = await ready();
  const { service, url, ttlMs, endsAt } = await domain.exposures.create(key, askFor());
  t.match(service.domain, /^[a-z2-7]{12}\.proxy\.test$/);
  t.equal(url, `https://${service.domain}`);
  t.equal(ttlMs, exposureTtlMs);
  t.equal(endsAt, undefined);
  t.match(service, { mode: 'http', cluster: 'proxy.test', enabled: true, exposure: { peerId, peerName: 'laptop' } });
  t.match(service.targets, [{ targetType: 'peer', targetId: peerId, port: 8080, protocol: 'http' }]);
  t.match(service.auth, { oidc: { enabled: true, groups: [] }, password: undefined }, 'nothing was said, so people sign in');
  t.match(changes, [{ kind: 'service-set', serviceId: service.id }, { kind: 'network' }]);
  t.match(await domain.services.list(), [{ id: service.id, exposure: { peerName: 'laptop' } }]);
  t.match(await domain.services.mapping(service.id, 'proxy.test'), { domain: service.domain, access: { proofs: [['oidc'], ['token']] } });

  changes.length = 0;
  await domain.exposures.stop(key, service.id);
  t.match(changes, [{ kind: 'revocation' }, { kind: 'service-removed' }, { kind: 'network' }]);
  t.same(await domain.services.list(), []);
  await domain.exposures.stop(key, service.id);
  await t.rejects(domain.exposures.renew(key, service.id), { code: 'DOMAIN_EXPOSE_LAPSED' });
  const codes = (await domain.events.audit()).map(({ activityCode }) => activityCode);
  // All of this came in one millisecond, which has no order.
  t.same(codes.filter((code) => code.startsWith('service.peer.')).toSorted(), ['service.peer.expose', 'service.peer.unexpose'], 'both in the log');
  await domain.close();
});

t.test('what is not renewed in its time is gone; what is renewed stays, up to its end', async (t) => {
  const { domain, clock, key } = await ready();
  const { service } = await domain.exposures.create(key, askFor());
  const { service: bounded } = await domain.exposures.create(key, askFor({ endsAfterMs: 2 * exposureTtlMs }));
  for (let i = 0; i < 3; i++) {
    clock.advance(exposureTtlMs - 1);
    await domain.exposures.reapLapsed();
    await domain.exposures.renew(key, service.id);
    if (i < 2) await domain.exposures.renew(key, bounded.id);
    else await t.rejects(domain.exposures.renew(key, bounded.id), { code: 'DOMAIN_EXPOSE_LAPSED' });
  }
  t.same(
    (await domain.services.list()).map(({ id }) => id),
    [service.id],
    'the other has had its time',
  );
  clock.advance(exposureTtlMs);
  await t.rejects(domain.exposures.renew(key, service.id), { code: 'DOMAIN_EXPOSE_LAPSED' }, 'before anybody looked');
  await domain.exposures.reapLapsed();
  t.same(await domain.services.list(), []);
  t.match((await domain.events.audit())[0], { activityCode: 'service.peer.expose.expire', meta: { peer: 'laptop' } });
  await t.rejects(domain.exposures.create(key, askFor({ endsAfterMs: exposureMaxMs + 1 })), { code: 'DOMAIN_INVALID' });
  await domain.close();
});

t.test('nobody may by default, then only peers of the groups that are named', async (t) => {
  const { domain, key, group } = await ready();
  const stranger = await addPeer(domain, 'stranger');
  await t.rejects(domain.exposures.create(stranger, askFor()), { code: 'DOMAIN_EXPOSE_NOT_ALLOWED' });
  await domain.exposures.create(key, askFor());
  await domain.settings.update({ expose: { enabled: false } }, system);
  t.same(await domain.services.list(), [], 'switching it off ends what there is');
  await t.rejects(domain.exposures.create(key, askFor()), { code: 'DOMAIN_EXPOSE_OFF' });
  await domain.settings.update({ expose: { enabled: true } }, system);
  const { service } = await domain.exposures.create(key, askFor());
  await t.rejects(domain.exposures.renew(stranger, service.id), { code: 'DOMAIN_EXPOSE_LAPSED' }, 'it is not the stranger’s');
  await domain.exposures.stop(stranger, service.id);
  t.equal((await domain.services.list()).length, 1);
  await domain.groups.update(group, { name: 'developers', peers: [] }, system);
  await t.rejects(domain.exposures.renew(key, service.id), { code: 'DOMAIN_EXPOSE_NOT_ALLOWED' });
  t.same(await domain.services.list(), [], 'and its service is gone');
  await domain.settings.update({ expose: { groups: [] } }, system);
  await t.rejects(domain.exposures.create(key, askFor()), { code: 'DOMAIN_EXPOSE_NOT_ALLOWED' }, 'no group is nobody');
  await t.rejects(
    domain.groups.delete(group, system).then(() => domain.settings.update({ expose: { groups: [group] } }, system)),
    {
      code: 'DOMAIN_GROUP_UNKNOWN',
    },
  );
  await domain.close();
});

t.test('who has left the group loses what it exposes without asking', async (t) => {
  const { domain, key, group } = await ready();
  await domain.exposures.create(key, askFor());
  await domain.exposures.reapLapsed();
  t.equal((await domain.services.list()).length, 1);
  await domain.groups.update(group, { name: 'developers', peers: [] }, system);
  await domain.exposures.reapLapsed();
  t.same(await domain.services.list(), []);
  await t.rejects(domain.groups.delete(group, system), { code: 'DOMAIN_GROUP_IN_USE' }, 'the settings name it');
  await domain.close();
});

t.test('public only where the settings permit that', async (t) => {
  const { domain, key } = await ready();
  await t.rejects(domain.exposures.create(key, askFor({ access: { kind: 'public' } })), { code: 'DOMAIN_EXPOSE_PUBLIC' });
  await domain.settings.update({ expose: { public: true } }, system);
  const { service } = await domain.exposures.create(key, askFor({ access: { kind: 'public' } }));
  t.match(service.auth, { oidc: { enabled: false } });
  const { service: signedIn } = await domain.exposures.create(key, askFor({ access: signIn }));
  await domain.settings.update({ expose: { public: false } }, system);
  t.same(
    (await domain.services.list()).map(({ id }) => id),
    [signedIn.id],
    'what is public ends when it is no longer wanted',
  );
  await domain.close();
});

t.test('proofs: groups by name, a password, a PIN; a group that is none opens nothing', async (t) => {
  const { domain, key, group } = await ready();
  const { service, groups } = await domain.exposures.create(key, askFor({ access: { ...signIn, groups: ['developers'] } }));
  t.same(service.auth.oidc, { enabled: true, groups: [group] });
  t.same(groups, ['developers']);
  await t.rejects(domain.exposures.create(key, askFor({ access: { ...signIn, groups: ['nobody'] } })), { code: 'DOMAIN_GROUP_UNKNOWN' });
  const secret = await domain.exposures.create(
    key,
    askFor({ access: { kind: 'proof', signIn: false, groups: [], password: 'long enough', pin: '123456' } }),
  );
  t.match(secret.service.auth, { oidc: { enabled: false }, password: { enabled: true }, pin: { enabled: true } });
  t.notMatch(JSON.stringify(secret), /long enough|123456/);
  const nothing = { kind: 'proof', signIn: false, groups: [], password: undefined, pin: undefined } as const;
  await t.rejects(domain.exposures.create(key, askFor({ access: nothing })), { code: 'DOMAIN_INVALID' });
  await t.rejects(domain.exposures.create(key, askFor({ protocol: 'tcp', access: { ...nothing, pin: '123456' } })), { code: 'DOMAIN_INVALID' });
  await domain.close();
});

t.test('names: random behind what was chosen, whole ones only where the settings say', async (t) => {
  const { domain, key } = await ready({ domains: ['Dev.Proxy.test'] });
  const { service } = await domain.exposures.create(key, askFor({ place: { kind: 'random', name: 'demo' } }));
  t.match(service.domain, /^demo-[a-z2-7]{4}\.proxy\.test$/);
  const below = await domain.exposures.create(key, askFor({ place: { kind: 'random', name: 'demo', below: 'eu.proxy.test' } }));
  t.match(below.service.domain, /^demo-[a-z2-7]{4}\.eu\.proxy\.test$/);
  for (const name of ['-x', 'X', 'a.b', 'a'.repeat(41)]) {
    await t.rejects(domain.exposures.create(key, askFor({ place: { kind: 'random', name } })), { code: 'DOMAIN_INVALID' }, name);
  }
  const exact = (name: string): ExposeRequest => askFor({ place: { kind: 'exact', domain: name } });
  for (const name of ['login.proxy.test', 'dev.proxy.test', 'xdev.proxy.test', 'a.dev.proxy.test.evil.example'])
    await t.rejects(domain.exposures.create(key, exact(name)), { code: 'DOMAIN_EXPOSE_NAME' }, name);
  for (const name of ['*.dev.proxy.test', 'no name']) await t.rejects(domain.exposures.create(key, exact(name)), { code: 'DOMAIN_INVALID' });
  const first = await domain.exposures.create(key, exact('app.dev.proxy.test'));
  const again = await domain.exposures.create(key, exact('app.dev.proxy.test'));
  t.not(again.service.id, first.service.id, 'a peer that was started anew takes over what it had there');
  t.equal((await domain.services.list()).filter((each) => each.domain === 'app.dev.proxy.test').length, 1);
  await domain.close();
});

t.test('what others hold stays theirs', async (t) => {
  const { domain, key, peerId, group } = await ready({ domains: ['proxy.test'] });
  await domain.services.create(serviceOf(peerId), system);
  await t.rejects(domain.exposures.create(key, askFor({ place: { kind: 'exact', domain: 'app.proxy.test' } })), {
    code: 'DOMAIN_SERVICE_DOMAIN_TAKEN',
  });
  const other = await addPeer(domain, 'other');
  const otherId = (await domain.peers.self(other)).peer.id;
  await domain.groups.update(group, { name: 'developers', peers: [peerId, otherId] }, system);
  await domain.exposures.create(key, askFor({ place: { kind: 'exact', domain: 'mine.proxy.test' } }));
  await t.rejects(domain.exposures.create(other, askFor({ place: { kind: 'exact', domain: 'mine.proxy.test' } })), {
    code: 'DOMAIN_SERVICE_DOMAIN_TAKEN',
  });
  await domain.close();
});

t.test('limits: services of one peer, domains of the settings', async (t) => {
  const { domain, key } = await ready({ perPeer: 2 });
  await domain.exposures.create(key, askFor());
  const { service } = await domain.exposures.create(key, askFor());
  await t.rejects(domain.exposures.create(key, askFor()), { code: 'DOMAIN_EXPOSE_LIMIT' });
  await domain.exposures.stop(key, service.id);
  await domain.exposures.create(key, askFor());
  const many = Array.from({ length: maxExposeDomains + 1 }, (_, i) => `d${i}.proxy.test`);
  for (const expose of [{ perPeer: 0 }, { perPeer: maxExposuresPerPeer + 1 }, { domains: many }, { domains: ['no name'] }])
    await t.rejects(domain.settings.update({ expose }, system), { code: 'DOMAIN_INVALID' });
  await domain.close();
});

t.test('tcp, udp and tls: a port that is chosen or assigned', async (t) => {
  const { domain, key } = await ready();
  const tcp = await domain.exposures.create(key, askFor({ protocol: 'tcp', listenPort: 15_432 }));
  t.equal(tcp.url, `tcp://${tcp.service.domain}:15432`);
  const udp = await domain.exposures.create(key, askFor({ protocol: 'udp' }));
  t.ok(udp.service.portAutoAssigned);
  t.equal(udp.url, `udp://${udp.service.domain}:${udp.service.listenPort}`);
  t.match((await domain.exposures.create(key, askFor({ protocol: 'tls' }))).service, { mode: 'tls', listenPort: 443 });
  t.match((await domain.exposures.create(key, askFor({ protocol: 'https' }))).service.targets, [
    { protocol: 'https', options: { skipTlsVerify: true } },
  ]);
  await t.rejects(domain.exposures.create(key, askFor({ protocol: 'tcp', listenPort: 15_432 })), { code: 'DOMAIN_SERVICE_PORT_TAKEN' });
  await t.rejects(domain.exposures.create(key, askFor({ port: 0 })), { code: 'DOMAIN_INVALID' });
  await domain.close();
});

t.test('another host only where policies let this peer reach it', async (t) => {
  const { domain, key, group } = await ready();
  const router = await addPeer(domain, 'router');
  const routerId = (await domain.peers.self(router)).peer.id;
  const network = await domain.networks.create({ name: 'lan', description: '' }, system);
  const { id: lan } = await domain.groups.create({ name: 'lan', peers: [] }, system);
  const resource = await domain.resources.create(
    network.id,
    { name: 'lan', description: '', address: '10.1.0.0/24', enabled: true, groups: [lan] },
    system,
  );
  await domain.routers.create(network.id, { peer: routerId, peerGroups: [], metric: 1, masquerade: true, enabled: true }, system);
  const remote = askFor({ host: '10.1.0.7', port: 3000 });
  await t.rejects(domain.exposures.create(key, remote), { code: 'DOMAIN_EXPOSE_HOST' }, 'no policy');
  const rule = ruleOf({ protocol: 'tcp', ports: [{ start: 3000, end: 3000 }], sources: [group], destinations: [lan] });
  const policy = await domain.policies.create({ name: 'lan', description: '', enabled: true, rules: [rule] }, system);
  const { service } = await domain.exposures.create(key, remote);
  t.match(service.targets, [{ targetType: 'subnet', targetId: resource.id, host: '10.1.0.7', port: 3000 }]);
  await t.rejects(domain.exposures.create(key, askFor({ host: '10.1.0.7', port: 3001 })), { code: 'DOMAIN_EXPOSE_HOST' }, 'another port');
  await t.rejects(domain.exposures.create(key, askFor({ host: '10.2.0.7', port: 3000 })), { code: 'DOMAIN_EXPOSE_HOST' }, 'another host');
  await t.rejects(domain.exposures.create(key, askFor({ host: '10.1.0.7', port: 3000, protocol: 'udp' })), { code: 'DOMAIN_EXPOSE_HOST' });
  await domain.exposures.renew(key, service.id);
  const drop = ruleOf({ action: 'drop', protocol: 'tcp', sources: [group], destinations: [lan] });
  await domain.policies.create({ name: 'not the lan', description: '', enabled: true, rules: [drop] }, system);
  await t.rejects(domain.exposures.create(key, remote), { code: 'DOMAIN_EXPOSE_HOST' }, 'what forbids wins');
  await domain.policies.delete(policy.id, system);
  await t.rejects(domain.exposures.renew(key, service.id), { code: 'DOMAIN_EXPOSE_HOST' });
  t.same(await domain.services.list(), [], 'what no policy grants any more is gone');
  await domain.close();
});

t.test('an administrator takes it away for good and does not edit it; a peer that goes takes it along', async (t) => {
  const { domain, clock, key, peerId } = await ready();
  const { service } = await domain.exposures.create(key, askFor());
  await t.rejects(domain.services.update(service.id, serviceOf(peerId, { domain: service.domain }), system), { code: 'DOMAIN_SERVICE_EXPOSED' });
  await domain.services.delete(service.id, system);
  t.same(await domain.services.list(), []);
  await t.rejects(domain.exposures.renew(key, service.id), { code: 'DOMAIN_EXPOSE_WITHDRAWN' });
  t.equal(await domain.exposures.idOf(key, service.domain), service.id, 'a stock client is told the same');
  clock.advance(2 * 3_600_000);
  await domain.peers.reapAbandoned();
  await t.rejects(domain.exposures.renew(key, service.id), { code: 'DOMAIN_EXPOSE_LAPSED' }, 'forgotten after an hour');
  await addCluster(domain);
  await domain.exposures.create(key, askFor());
  await domain.peers.delete(peerId, system);
  t.same(await domain.services.list(), []);
  await domain.close();
});

t.test('peers of blocked users may not', async (t) => {
  const { domain, group } = await ready();
  const userId = await addOwner(domain);
  const { user } = await domain.users.create(
    { email: 'bob@example.com', name: 'Bob', role: 'user', autoGroups: [group], service: false, password: 'correct horse' },
    system,
  );
  t.not(user.id, userId);
  const key = asId<PublicKey>(Buffer.alloc(32, 3).toString('base64'));
  const meta = { hostname: 'bobs', os: 'linux', osVersion: '', kernel: '', platform: '', version: '', uiVersion: '', ipv6: false };
  await domain.peers.login({ publicKey: key, meta, setupKey: '', userId: user.id });
  const { service } = await domain.exposures.create(key, askFor());
  await domain.users.update(user.id, { blocked: true }, system);
  await t.rejects(domain.exposures.renew(key, service.id), { code: 'DOMAIN_USER_BLOCKED' });
  t.same(await domain.services.list(), []);
  await t.rejects(domain.exposures.create(key, askFor()), { code: 'DOMAIN_USER_BLOCKED' });
  await domain.close();
});

t.test('a server that was away lets what it had go on for the whole of its time', async (t) => {
  const folder = t.testdir({});
  const storeUrl = `sqlite:${folder}/server.db`;
  const { domain, clock } = await openDomain({ storeUrl });
  await addCluster(domain);
  const key = await addPeer(domain, 'laptop');
  const { peer } = await domain.peers.self(key);
  const { id: group } = await domain.groups.create({ name: 'developers', peers: [peer.id] }, system);
  await domain.settings.update({ expose: { enabled: true, groups: [group] } }, system);
  const { service } = await domain.exposures.create(key, askFor());
  await domain.close();
  clock.advance(10 * exposureTtlMs);
  const { domain: later } = await openDomain({ storeUrl, clock });
  await later.exposures.reapLapsed();
  t.match(await later.services.list(), [{ id: service.id, exposure: { peerName: 'laptop', leaseUntil: clock.wall() + exposureTtlMs } }]);
  await later.exposures.renew(key, service.id);
  clock.advance(exposureTtlMs);
  await later.exposures.reapLapsed();
  t.same(await later.services.list(), []);
  await later.close();
});

t.test('the address has the port at which gateways say that they are reached', async (t) => {
  const { domain, key } = await ready();
  const gateway = await domain.tokens.createProxy({ name: 'odd', expiresInSeconds: 0, cluster: undefined }, system);
  await domain.clusters.proxyConnected({
    proxyId: asId('gateway-2'),
    tokenId: gateway.token.id,
    cluster: 'proxy.test',
    version: '1',
    publicPort: 8443,
  });
  await domain.clusters.proxyDisconnected(asId('gateway-1'));
  const { service, url } = await domain.exposures.create(key, askFor());
  t.equal(url, `https://${service.domain}:8443`);
  await domain.close();
});

t.test('no gateway, no name', async (t) => {
  const { domain, clock, key } = await ready();
  clock.advance(3_600_000);
  await t.rejects(domain.exposures.create(key, askFor()), { code: 'DOMAIN_EXPOSE_NO_CLUSTER' });
  await domain.close();
});
