// Services whose target is a group of peers: gateways hear of every change of who is in it.
import t from 'tap';
import { asId, type GroupId, type ServiceId } from '#model/ids.ts';
import { addGatewayToken, addCluster, addOwner, addPeer, keyOf, metaOf, openDomain, serviceOf, system, targetOf, type Fixture } from './support.ts';

interface Ready extends Fixture {
  readonly group: GroupId;
  readonly service: ServiceId;
  /** Hosts that a gateway would get now. */
  hosts(): Promise<readonly string[]>;
  /** Services announced since it was asked last. */
  announced(): readonly string[];
  idOf(name: string): ReturnType<typeof idOf>;
}

const idOf = async ({ domain }: Fixture, name: string) => (await domain.peers.self(keyOf(name))).peer.id;

async function ready(): Promise<Ready> {
  const fixture = await openDomain();
  const { domain, changes } = fixture;
  await addCluster(domain);
  await addPeer(domain, 'one');
  const { id: group } = await domain.groups.create({ name: 'web', peers: [await idOf(fixture, 'one')] }, system);
  const target = targetOf(group, { targetType: 'group' });
  const { id: service } = await domain.services.create(serviceOf('', { targets: [target] }), system);
  // Another service, which no change of the group concerns.
  await domain.services.create(serviceOf(await idOf(fixture, 'one'), { name: 'other', domain: 'other.proxy.test' }), system);
  changes.length = 0;
  return {
    ...fixture,
    group,
    service,
    hosts: async () => (await domain.services.mapping(service, 'proxy.test'))?.paths.flatMap(({ targets }) => targets.map(({ host }) => host)) ?? [],
    announced: () => changes.splice(0).flatMap((change) => (change.kind === 'service-set' ? [change.serviceId] : [])),
    idOf: (name) => idOf(fixture, name),
  };
}

const addressOf = async ({ domain }: Fixture, name: string): Promise<string> => (await domain.peers.self(keyOf(name))).peer.ipv4;

t.test('a new list of members is announced; a new name alone is not', async (t) => {
  const all = await ready();
  const { domain, group, service, hosts, announced } = all;
  const [one, two] = [await all.idOf('one'), (await addPeer(domain, 'two'), await all.idOf('two'))];
  t.same(announced(), [], 'a peer outside the group concerns nobody');
  await domain.groups.update(group, { name: 'web', peers: [one, two] }, system);
  t.same(announced(), [service]);
  t.same(new Set(await hosts()), new Set([await addressOf(all, 'one'), await addressOf(all, 'two')]));
  await domain.groups.update(group, { name: 'web servers', peers: [two, one] }, system);
  t.same(announced(), []);
  await domain.groups.update(group, { name: 'web servers', peers: [two] }, system);
  t.same(announced(), [service]);
  t.same(await hosts(), [await addressOf(all, 'two')]);
  await domain.groups.update(group, { name: 'web servers', peers: [] }, system);
  t.same(announced(), [service]);
  t.equal(await domain.services.mapping(service, 'proxy.test'), undefined, 'a group without peers leaves nothing to publish');
  await domain.close();
});

t.test('a peer that registers into the group is a target at once, and none any more when it goes', async (t) => {
  const all = await ready();
  const { domain, group, service, hosts, announced } = all;
  const { plain } = await domain.setupKeys.create(
    { name: 'k', type: 'reusable', expiresInSeconds: 0, usageLimit: 0, ephemeral: true, autoGroups: [group] },
    system,
  );
  await domain.peers.login({ publicKey: keyOf('new'), meta: metaOf('new'), setupKey: plain, userId: undefined });
  t.same(announced(), [service]);
  t.equal((await hosts()).length, 2);
  await domain.peers.rename(await all.idOf('new'), 'renamed', system);
  t.same(announced(), [], 'targets are addresses, which a name does not change');
  await domain.peers.logout(keyOf('new'));
  t.same(announced(), [service]);
  t.same(await hosts(), [await addressOf(all, 'one')]);
  const one = await all.idOf('one');
  await domain.peers.delete(one, system);
  t.equal(announced().length, 2, 'its own service and its group’s');
  await domain.close();
});

t.test('everybody is a group too, whose members are not stored', async (t) => {
  const all = await ready();
  const { domain, announced } = all;
  const everybody = (await domain.groups.list()).find(({ system: whole }) => whole)?.id ?? '';
  const { id } = await domain.services.create(
    serviceOf('', { name: 'all', domain: 'all.proxy.test', targets: [targetOf(everybody, { targetType: 'group' })] }),
    system,
  );
  announced();
  await addPeer(domain, 'two');
  t.same(announced(), [id]);
  t.equal((await domain.services.mapping(id, 'proxy.test'))?.paths[0]?.targets.length, 2);
  await domain.close();
});

t.test('peers that follow their user’s groups are announced', async (t) => {
  const all = await ready();
  const { domain, group, service, hosts, announced } = all;
  const owner = await addOwner(domain);
  await domain.peers.login({ publicKey: keyOf('laptop'), meta: metaOf('laptop'), setupKey: '', userId: owner });
  announced();
  const user = await domain.users.get(owner);
  await domain.users.update(owner, { role: user.role, autoGroups: [group], blocked: false }, { kind: 'user', id: owner });
  t.same(announced(), [service]);
  t.equal((await hosts()).length, 2);
  await domain.close();
});

t.test('a group that is a target is not deleted, and the refusal names the service', async (t) => {
  const { domain, group, service } = await ready();
  await t.rejects(domain.groups.delete(group, system), { code: 'DOMAIN_GROUP_IN_USE', message: /service "app"/ });
  await domain.services.delete(service, system);
  await domain.groups.delete(group, system);
  await t.rejects(domain.services.create(serviceOf('', { targets: [targetOf(group, { targetType: 'group' })] }), system), {
    code: 'DOMAIN_SERVICE_TARGET_UNKNOWN',
  });
  await domain.close();
});

t.test('of several gateways the reason says which one is not well', async (t) => {
  const { domain, service } = await ready();
  const tokens = [await addGatewayToken(domain, 'gw1'), await addGatewayToken(domain, 'gw2')];
  const say = async (at: number, state: 'active' | 'error', reason: string, token = at): Promise<void> => {
    await domain.clusters.proxyConnected({
      proxyId: asId(`proxy-id-${at}`),
      tokenId: tokens[token]?.token.id ?? asId(''),
      cluster: 'proxy.test',
      version: '1',
    });
    await domain.services.reportStatus({
      serviceId: service,
      cluster: 'proxy.test',
      proxyId: asId(`proxy-id-${at}`),
      status: { state, reason },
      certificateIssued: false,
    });
  };
  await say(0, 'error', 'no luck');
  t.same((await domain.services.get(service)).status, { state: 'error', reason: 'no luck' }, 'one alone needs no name');
  await say(1, 'active', '');
  t.same((await domain.services.get(service)).status, { state: 'error', reason: 'At 1 of 2 gateways, such as gw1: no luck' });
  await say(0, 'active', '1 of 2 targets healthy');
  t.same((await domain.services.get(service)).status, { state: 'active', reason: 'At 1 of 2 gateways, such as gw1: 1 of 2 targets healthy' });
  await say(2, 'error', 'no luck', 1);
  t.match((await domain.services.get(service)).status.reason, /^At 1 of 3 gateways, such as gw2 \(proxy-id\): no luck$/);
  await domain.clusters.proxyDisconnected(asId('proxy-id-2'));
  t.match((await domain.services.get(service)).status, { state: 'active' });
  await domain.close();
});
