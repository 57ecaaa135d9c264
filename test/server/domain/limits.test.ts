import t from 'tap';
import { asId } from '#model/ids.ts';
import { countriesPerList, groupsPerList, headerAuthsPerService, nameLength } from '../../../src/server/domain/constants.ts';
import { noRestrictions } from '#model/service.ts';
import { addGatewayToken, addCluster, addOwner, addPeer, openDomain, ruleOf, serviceOf, system } from './support.ts';

t.test('an account holds a limited number of each thing', async (t) => {
  const { domain } = await openDomain({ limits: { groups: 2, policies: 1, setupKeys: 2, users: 2, proxyTokens: 2, services: 1 } });
  const owner = await addOwner(domain);
  await addCluster(domain);
  const peerId = (await domain.peers.self(await addPeer(domain, 'a'))).peer.id;
  const { id } = await domain.groups.create({ name: 'g', peers: [] }, system); // the group All is the first
  const key = { name: 'k', type: 'reusable', expiresInSeconds: 0, usageLimit: 0, ephemeral: false, autoGroups: [] } as const;
  const user = { email: '', name: 'u', role: 'user', autoGroups: [], service: true, password: undefined } as const;
  const policy = { name: 'p', description: '', enabled: true, rules: [ruleOf({ sources: [id], destinations: [id] })] };
  const connector = { connector: 'dex', subject: '1', email: '', name: 'x' };
  await domain.setupKeys.create(key, system);
  await domain.users.create(user, system);
  await domain.policies.create(policy, system);
  await addGatewayToken(domain, 'p');
  await domain.services.create(serviceOf(peerId), system);
  const full = { code: 'DOMAIN_LIMIT' };
  await t.rejects(domain.groups.create({ name: 'h', peers: [] }, system), full);
  await t.rejects(domain.setupKeys.create(key, system), full);
  await t.rejects(domain.users.create(user, system), full);
  await t.rejects(domain.users.fromConnector(connector), full);
  await t.rejects(domain.policies.create(policy, system), full);
  await t.rejects(addGatewayToken(domain, 'q'), full);
  await t.rejects(domain.services.create(serviceOf(peerId, { domain: 'b.proxy.test' }), system), full);
  t.ok(owner);
  await domain.close();
});

t.test('lists and texts in a request have limits', async (t) => {
  const { domain } = await openDomain();
  await addCluster(domain);
  const peerId = (await domain.peers.self(await addPeer(domain, 'a'))).peer.id;
  const refused = { code: 'DOMAIN_INVALID' };
  await t.rejects(domain.groups.create({ name: 'x'.repeat(nameLength + 1), peers: [] }, system), refused);
  await t.rejects(domain.groups.create({ name: 'a\u0000b', peers: [] }, system), refused);
  const groups = Array.from({ length: groupsPerList + 1 }, (_, index) => asId<never>(`g${index}`));
  const rules = [ruleOf({ sources: groups, destinations: groups })];
  await t.rejects(domain.policies.create({ name: 'p', description: '', enabled: true, rules }, system), refused);
  const allowedCountries = Array.from({ length: countriesPerList + 1 }, () => 'DE');
  await t.rejects(domain.services.create(serviceOf(peerId, { restrictions: { ...noRestrictions, allowedCountries } }), system), refused);
  const headers = Array.from({ length: headerAuthsPerService + 1 }, (_, index) => ({ enabled: true, header: `X-${index}`, value: 'v' }));
  await t.rejects(domain.services.create(serviceOf(peerId, { auth: { ...serviceOf(peerId).auth, headers } }), system), refused);
  await domain.close();
});

t.test('and of what is planned', async (t) => {
  const one = { networks: 1, resources: 1, routers: 1, routes: 1, nameserverGroups: 1, zones: 1, zoneRecords: 1, postureChecks: 1 };
  const { domain } = await openDomain({ limits: one });
  const { peer } = await domain.peers.self(await addPeer(domain, 'a'));
  const { id: group } = await domain.groups.create({ name: 'g', peers: [] }, system);
  const { id: network } = await domain.networks.create({ name: 'n', description: '' }, system);
  const makes: Readonly<Record<keyof typeof one, (index: number) => Promise<unknown>>> = {
    networks: () => domain.networks.create({ name: 'm', description: '' }, system),
    resources: (index) =>
      domain.resources.create(network, { name: 'r', description: '', address: `10.0.0.${index}`, enabled: true, groups: [] }, system),
    routers: () => domain.routers.create(network, { peer: peer.id, peerGroups: [], metric: 1, masquerade: true, enabled: true }, system),
    routes: (index) =>
      domain.routes.create(
        {
          netId: 'n',
          description: '',
          enabled: true,
          network: `10.${index}.0.0/16`,
          domains: [],
          peer: peer.id,
          peerGroups: [],
          metric: 1,
          masquerade: true,
          groups: [group],
          keepRoute: false,
          accessControlGroups: [],
          skipAutoApply: false,
        },
        system,
      ),
    nameserverGroups: (index) =>
      domain.nameservers.create(
        {
          name: `n${index}`,
          description: '',
          enabled: true,
          nameservers: [{ ip: '9.9.9.9', port: 53 }],
          groups: [group],
          primary: true,
          domains: [],
          searchDomainsEnabled: false,
        },
        system,
      ),
    zones: (index) =>
      domain.zones.create({ name: 'z', domain: `z${index}.test`, enabled: true, enableSearchDomain: false, distributionGroups: [group] }, system),
    zoneRecords: async (index) => {
      const zone = (await domain.zones.list())[0]?.id ?? asId<never>('');
      return await domain.zones.createRecord(zone, { name: 'z0.test', type: 'A', content: `10.0.0.${index}`, ttl: 1 }, system);
    },
    postureChecks: (index) => domain.posture.create({ name: `p${index}`, description: '', minVersion: '1' }, system),
  };
  for (const [name, make] of Object.entries(makes)) {
    if (name !== 'networks') await make(0);
    await t.rejects(make(1), { code: 'DOMAIN_LIMIT' }, name);
  }
  await domain.close();
});
