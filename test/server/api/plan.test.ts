// Networks, routes and names by calls alone, over the real domain; what peers get of them is read from their maps.
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { asId, type PublicKey } from '#model/ids.ts';
import type { Route } from '#model/routes.ts';
import { openApi, type Json } from './real-api.ts';

/** An owner who is signed in, and two peers in groups of their own. */
async function openPlan(t: Test) {
  const { domain, call, signIn } = await openApi(t);
  const setup = { email: 'me@x.test', password: 'correct horse battery', name: 'Me', create_pat: true, code: await domain.users.setupCode() };
  signIn((await call('POST', '/setup', setup)).body['personal_access_token']);
  const ok = async (method: string, path: string, body?: unknown): Promise<Json> => {
    const answer = await call(method, path, body);
    if (answer.status !== 200) throw new TypeError(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  };
  const join = async (name: string): Promise<{ readonly key: PublicKey; readonly id: string; readonly group: string }> => {
    const key = asId<PublicKey>(randomBytes(32).toString('base64'));
    const { key: setupKey } = await ok('POST', '/setup-keys', { name, type: 'one-off', expires_in: 86_400, auto_groups: [] });
    const meta = { hostname: name, os: 'linux', osVersion: '13', kernel: '6', platform: 'x64', version: '0.70.0', uiVersion: '', ipv6: false };
    const { peer } = await domain.peers.login({ publicKey: key, meta, setupKey: String(setupKey), userId: undefined });
    const group = await ok('POST', '/groups', { name: `g-${name}`, peers: [peer.id] });
    return { key, id: peer.id, group: String(group['id']) };
  };
  const routes = async (key: PublicKey): Promise<readonly Route[]> => (await domain.maps.build(key)).routing?.routes ?? [];
  return { domain, call, ok, routes, client: await join('client'), router: await join('router') };
}

const rule = (more: Json): Json => ({ name: 'r', enabled: true, action: 'accept', bidirectional: false, protocol: 'tcp', ports: ['443'], ...more });
const policy = (more: Json): Json => ({ name: 'p', enabled: true, rules: [rule(more)] });

t.test('a network: resources by policy, routers by peer and by group, and all of it gone again', async (t) => {
  const { call, ok, routes, client, router } = await openPlan(t);
  const network = await ok('POST', '/networks', { name: 'office', description: 'ground floor' });
  const path = `/networks/${String(network['id'])}`;
  t.match(network, { name: 'office', description: 'ground floor', routers: [], resources: [], policies: [], routing_peers_count: 0 });
  const things = await ok('POST', '/groups', { name: 'things' });
  const printer = await ok('POST', `${path}/resources`, { name: 'printer', address: '10.1.0.9', enabled: true, groups: [things['id']] });
  t.match(printer, { type: 'host', address: '10.1.0.9/32', groups: [{ name: 'things', resources_count: 1 }] });
  const subnet = await ok('POST', `${path}/resources`, { name: 'lan', address: '10.1.0.77/24', enabled: true, groups: [] });
  t.match(subnet, { type: 'subnet', address: '10.1.0.0/24', groups: [] });
  const wild = await ok('POST', `${path}/resources`, { name: 'wild', address: '*.Example.COM.', enabled: true, groups: [things['id']] });
  t.match(wild, { type: 'domain', address: '*.example.com' });
  for (const address of ['10.1.0.0/33', 'not a name', '0.0.0.0/0', '', '1.2.3']) {
    t.match(await call('POST', `${path}/resources`, { name: 'bad', address, enabled: true, groups: [] }), { status: 422 }, address);
  }
  t.equal(((await ok('GET', `/groups/${String(things['id'])}`))['resources'] as readonly Json[]).length, 2);

  const led = await ok('POST', `${path}/routers`, { peer: router.id, metric: 100, masquerade: true, enabled: true });
  t.match(led, { peer: router.id, metric: 100, masquerade: true, enabled: true });
  t.notOk('peer_groups' in led);
  t.same(await routes(client.key), [], 'nothing without a policy');
  const granted = await ok('POST', '/policies', policy({ sources: [client.group], destinations: [things['id']] }));
  t.match(
    (await routes(client.key)).map(({ netId, peer, metric }) => ({ netId, peer, metric })).toSorted((a, b) => a.netId.localeCompare(b.netId)),
    [
      { netId: 'printer', peer: router.key, metric: 100 },
      { netId: 'wild', peer: router.key, metric: 100 },
    ],
  );
  t.match(await ok('GET', path), { routing_peers_count: 1, policies: [granted['id']], routers: [led['id']] });

  const direct = policy({ sourceResource: { type: 'peer', id: client.id }, destinationResource: { type: 'subnet', id: subnet['id'] } });
  const second = await ok('POST', '/policies', direct);
  t.match(second, { rules: [{ sourceResource: { type: 'peer', id: client.id }, destinationResource: { type: 'subnet', id: subnet['id'] } }] });
  t.equal((await routes(client.key)).length, 3);
  t.match(await call('DELETE', `${path}/resources/${String(subnet['id'])}`), { status: 409, body: { message: /policy "p"/ } });
  t.match(await call('DELETE', path), { status: 409 });
  t.match(await call('DELETE', `/groups/${client.group}`), { status: 409 });
  await ok('DELETE', `/policies/${String(second['id'])}`);
  await ok('DELETE', `${path}/resources/${String(subnet['id'])}`);

  const byGroup = { peer: '', peer_groups: [router.group], metric: 9, masquerade: false, enabled: true };
  await ok('PUT', `${path}/routers/${String(led['id'])}`, byGroup);
  t.match((await routes(client.key))[0], { metric: 9, masquerade: false, peer: router.key });
  t.match(await call('DELETE', `/groups/${router.group}`), { status: 409, body: { message: /network "office"/ } });
  await ok('PUT', `${path}/resources/${String(printer['id'])}`, { ...printer, groups: [things['id']], enabled: false, type: undefined });
  t.match(
    (await routes(client.key)).map(({ netId }) => netId),
    ['wild'],
  );
  t.match(await ok('GET', '/networks/resources'), [{}, {}]);
  t.match(await ok('GET', '/networks/routers'), [{ peer_groups: [router.group] }]);
  await ok('DELETE', path);
  t.same(await routes(client.key), []);
  t.same(await ok('GET', '/networks/resources'), []);
  t.match(await call('GET', `${path}/resources`), { status: 404 });
});

t.test('what a network refuses', async (t) => {
  const { call, ok, client, router } = await openPlan(t);
  const path = `/networks/${String((await ok('POST', '/networks', { name: 'n' }))['id'])}`;
  const other = `/networks/${String((await ok('POST', '/networks', { name: 'm' }))['id'])}`;
  const plain = { metric: 1, masquerade: true, enabled: true };
  for (const body of [
    plain,
    { ...plain, peer: router.id, peer_groups: [router.group] },
    { ...plain, peer: 'nobody' },
    { ...plain, peer_groups: ['nothing'] },
    { ...plain, peer: router.id, metric: 0 },
    { ...plain, peer: router.id, metric: 10_000 },
  ]) {
    t.match(await call('POST', `${path}/routers`, body), { status: 422 }, JSON.stringify(body));
  }
  const resource = await ok('POST', `${path}/resources`, { name: 'a', address: '10.0.0.1', enabled: true, groups: [] });
  t.match(await call('GET', `${other}/resources/${String(resource['id'])}`), { status: 404 }, 'it is in the other network');
  t.match(await call('POST', '/networks/none/resources', { name: 'a', address: '10.0.0.1', enabled: true, groups: [] }), { status: 404 });
  for (const bad of [
    { sources: [client.group], sourceResource: { type: 'peer', id: client.id }, destinations: [router.group] },
    { sources: [client.group], destinations: [] },
    { sources: [client.group], destinationResource: { type: 'subnet', id: resource['id'] } },
    { sources: [client.group], destinationResource: { type: 'host', id: 'none' } },
    { sourceResource: { type: 'host', id: resource['id'] }, destinations: [router.group] },
    { sourceResource: { type: 'peer', id: 'none' }, destinations: [router.group] },
  ]) {
    t.match(await call('POST', '/policies', policy(bad)), { status: 422 }, JSON.stringify(bad));
  }
});

t.test('routes of the older kind', async (t) => {
  const { call, ok, routes, client, router } = await openPlan(t);
  const body = {
    network_id: 'lab',
    description: '',
    enabled: true,
    peer: router.id,
    network: '10.9.8.7/16',
    metric: 9999,
    masquerade: true,
    groups: [client.group],
    keep_route: false,
  };
  const made = await ok('POST', '/routes', body);
  t.match(made, { network_type: 'IPv4', network: '10.9.0.0/16', peer: router.id, skip_auto_apply: false });
  t.match(await call('POST', '/routes', body), { status: 409 }, 'the same way twice');
  t.same(await routes(client.key), [], 'only through peers that a policy connects with');
  await ok('POST', '/policies', policy({ sources: [client.group], destinations: [router.group] }));
  t.match(await routes(client.key), [{ netId: 'lab', peer: router.key }]);
  t.match(await routes(router.key), [{ netId: 'lab', peer: router.key }], 'the router carries it');
  const { peer: _peer, ...unrouted } = body;
  const domains = await ok('POST', '/routes', {
    ...unrouted,
    network_id: 'web',
    network: '',
    domains: ['Example.com', '*.example.org'],
    peer_groups: [router.group],
  });
  t.match(domains, { network_type: 'Domain', domains: ['example.com', '*.example.org'], peer_groups: [router.group] });
  for (const bad of [
    { network: undefined },
    { domains: ['x.test'] },
    { peer: undefined },
    { groups: [] },
    { network_id: 'x'.repeat(41) },
    { network: '10.0.0.0/40' },
    { metric: 0 },
  ]) {
    t.match(await call('POST', '/routes', { ...body, network_id: 'bad', ...bad }), { status: 422 }, JSON.stringify(bad));
  }
  t.match(await call('DELETE', `/groups/${client.group}`), { status: 409, body: { message: /route "lab"/ } });
  await ok('PUT', `/routes/${String(made['id'])}`, { ...body, enabled: false });
  t.match(
    (await routes(client.key)).map(({ netId }) => netId),
    ['web'],
  );
  await ok('DELETE', `/routes/${String(domains['id'])}`);
  t.same(await routes(client.key), []);
  t.match(await ok('GET', '/routes'), [{ enabled: false }]);
  t.match(await call('GET', `/routes/${String(domains['id'])}`), { status: 404 });
});

t.test('name servers, zones, and groups that keep their own', async (t) => {
  const { domain, call, ok, client, router } = await openPlan(t);
  const servers = {
    name: 'quad',
    description: '',
    nameservers: [{ ip: '9.9.9.9', ns_type: 'udp', port: 53 }],
    enabled: true,
    groups: [client.group],
    primary: true,
    domains: [],
    search_domains_enabled: false,
  };
  const made = await ok('POST', '/dns/nameservers', servers);
  t.match(await ok('GET', `/dns/nameservers/${String(made['id'])}`), { ...servers, id: made['id'] });
  for (const bad of [
    { name: 'quad' },
    { name: 'a', primary: false },
    { name: 'b', domains: ['x.test'] },
    { name: 'c', nameservers: [] },
    { name: 'd', nameservers: [{ ip: '9.9.9', ns_type: 'udp', port: 53 }] },
    { name: 'e', groups: [] },
    { name: 'f', search_domains_enabled: true },
    { name: 'g', nameservers: Array.from({ length: 4 }, () => servers.nameservers[0]) },
  ]) {
    const { status } = await call('POST', '/dns/nameservers', { ...servers, ...bad });
    t.ok(status === 422 || (status === 409 && bad.name === 'quad'), JSON.stringify(bad));
  }
  const dns = async (key: PublicKey) => (await domain.maps.build(key)).dns;
  t.match((await dns(client.key))?.nameServerGroups, [{ primary: true, servers: [{ port: 53 }] }]);
  t.same((await dns(router.key))?.nameServerGroups, []);

  const zone = await ok('POST', '/dns/zones', { name: 'lab', domain: 'Lab.Test.', enable_search_domain: true, distribution_groups: [client.group] });
  t.match(zone, { domain: 'lab.test', enabled: true, enable_search_domain: true, records: [] });
  const path = `/dns/zones/${String(zone['id'])}`;
  t.match(await call('POST', '/dns/zones', { name: 'again', domain: 'lab.test', distribution_groups: [client.group] }), { status: 409 });
  t.match(
    await call('POST', '/dns/zones', { name: 'ours', domain: 'mesh.test', distribution_groups: [client.group] }),
    { status: 409 },
    "the peers' own",
  );
  t.match(await call('PUT', path, { ...zone, records: undefined, domain: 'other.test' }), { status: 422 }, 'the domain stays');
  const record = await ok('POST', `${path}/records`, { name: 'www.lab.test', type: 'A', content: '10.0.0.1', ttl: 60 });
  for (const bad of [
    { name: 'www.lab.test', type: 'CNAME', content: 'x.test', ttl: 60 },
    { name: 'www.other.test', type: 'A', content: '10.0.0.1', ttl: 60 },
    { name: 'a.lab.test', type: 'A', content: 'fd00::1', ttl: 60 },
    { name: 'a.lab.test', type: 'AAAA', content: '10.0.0.1', ttl: 60 },
    { name: 'a.lab.test', type: 'A', content: '10.0.0.1', ttl: 700_000 },
    { name: 'a.lab.test', type: 'MX', content: '10.0.0.1', ttl: 60 },
  ]) {
    t.match(await call('POST', `${path}/records`, bad), { status: 422 }, JSON.stringify(bad));
  }
  t.match(await call('POST', `${path}/records`, { name: 'www.lab.test', type: 'A', content: '10.0.0.1', ttl: 1 }), { status: 409 });
  t.match((await dns(client.key))?.zones, [{ domain: 'mesh.test' }, { domain: 'lab.test', authoritative: false, records: [{ data: '10.0.0.1' }] }]);
  t.equal((await dns(router.key))?.zones.length, 1);
  await ok('PUT', `${path}/records/${String(record['id'])}`, { name: 'www.lab.test', type: 'CNAME', content: 'Web.Test.', ttl: 60 });
  t.match(await ok('GET', path), { records: [{ type: 'CNAME', content: 'web.test' }] });
  await ok('DELETE', `${path}/records/${String(record['id'])}`);
  t.equal((await dns(client.key))?.zones.length, 1, 'a zone without records says nothing');

  t.same(await ok('GET', '/dns/settings'), { disabled_management_groups: [] });
  await ok('PUT', '/dns/settings', { disabled_management_groups: [client.group] });
  t.equal(await dns(client.key), undefined);
  t.match(await call('DELETE', `/groups/${client.group}`), {
    status: 409,
    body: { message: /name servers "quad", DNS zone "lab", the DNS settings/ },
  });
  t.match(await call('PUT', '/dns/settings', { disabled_management_groups: ['none'] }), { status: 422 });
  await ok('PUT', '/dns/settings', { disabled_management_groups: [] });
  await ok('DELETE', path);
  await ok('DELETE', `/dns/nameservers/${String(made['id'])}`);
  t.match(await dns(client.key), { zones: [{ domain: 'mesh.test' }], nameServerGroups: [] });
});

t.test('posture checks', async (t) => {
  const { call, ok, client, router } = await openPlan(t);
  const checks = {
    nb_version_check: { min_version: '0.70.0' },
    os_version_check: { linux: { min_kernel_version: '6.1' }, darwin: { min_version: '14.2' } },
    peer_network_range_check: { ranges: ['10.0.0.0/8'], action: 'deny' },
    process_check: { processes: [{ linux_path: '/usr/bin/guard' }] },
  };
  const made = await ok('POST', '/posture-checks', { name: 'strict', description: 'd', checks });
  t.same(made, { id: made['id'], name: 'strict', description: 'd', checks });
  t.same(await ok('GET', '/posture-checks'), [made]);
  t.match(await call('POST', '/posture-checks', { name: 'strict', checks }), { status: 409 });
  for (const bad of [
    {},
    { nb_version_check: { min_version: 'new' } },
    { os_version_check: {} },
    { peer_network_range_check: { ranges: ['10.0.0.0/40'], action: 'deny' } },
    { peer_network_range_check: { ranges: [], action: 'deny' } },
    { process_check: { processes: [{}] } },
    { geo_location_check: { locations: [{ country_code: 'DE' }], action: 'allow' } },
  ]) {
    t.match(await call('POST', '/posture-checks', { name: 'bad', checks: bad }), { status: 422 }, JSON.stringify(bad));
  }
  const body = { ...policy({ sources: [client.group], destinations: [router.group] }), source_posture_checks: [made['id']] };
  const used = await ok('POST', '/policies', body);
  t.same(used['source_posture_checks'], [made['id']]);
  t.match(await call('POST', '/policies', { ...body, source_posture_checks: ['none'] }), { status: 422 });
  t.match(await call('DELETE', `/posture-checks/${String(made['id'])}`), { status: 409 });
  await ok('PUT', `/policies/${String(used['id'])}`, { ...body, source_posture_checks: [] });
  await ok('PUT', `/posture-checks/${String(made['id'])}`, { name: 'mild', checks: { nb_version_check: { min_version: '0.1' } } });
  await ok('DELETE', `/posture-checks/${String(made['id'])}`);
  t.same(await ok('GET', '/posture-checks'), []);
});
