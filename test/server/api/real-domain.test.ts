// The API over the real domain in an SQLite database in memory: a network is set up from nothing, by calls alone.
import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { TokenId } from '#model/ids.ts';
import { asId } from '#model/ids.ts';
import { openApi, type Json } from './real-api.ts';

t.test('from an empty database to a published service', async (t) => {
  const { domain, call, signIn } = await openApi(t);
  t.match(await call('GET', '/instance'), { body: { setup_required: true } });
  const setup = { email: 'me@x.test', password: 'correct horse battery', name: 'Me', create_pat: true };
  t.match(await call('POST', '/setup', { ...setup, code: 'guess' }), { status: 403, body: { message: 'the set-up code is wrong.' } });
  const owner = await call('POST', '/setup', { ...setup, code: await domain.users.setupCode() });
  t.match(owner, { status: 200, body: { personal_access_token: /^nbp_/ } });
  signIn(owner.body['personal_access_token']);
  t.match(await call('POST', '/setup', { ...setup, code: 'again' }), { status: 412 });

  const key = await call('POST', '/setup-keys', { name: 'servers', type: 'one-off', expires_in: 86_400, auto_groups: [] });
  t.match(key, { status: 200, body: { state: 'valid', key: /^[0-9A-F-]{36}$/ } });
  const meta = { hostname: 'web', os: 'linux', osVersion: '13', kernel: '6', platform: 'x64', version: '1', uiVersion: '', ipv6: true };
  const publicKey = asId<Parameters<typeof domain.peers.self>[0]>(randomBytes(32).toString('base64'));
  await domain.peers.login({ publicKey, meta, setupKey: String(key.body['key']), userId: undefined });
  t.match(await call('GET', `/setup-keys/${String(key.body['id'])}`), { body: { state: 'overused', valid: false, used_times: 1 } });
  const peers = (await call('GET', '/peers')).body as unknown as readonly Json[];
  t.match(peers, [{ name: 'web', groups: [{ name: 'All' }], accessible_peers_count: 0 }]);
  const peerId = String(peers[0]?.['id']);

  const group = await call('POST', '/groups', { name: 'people', peers: [peerId] });
  t.match(group, { status: 200, body: { peers_count: 1 } });
  t.match(await call('POST', '/groups', { name: 'people' }), { status: 409 });
  const groupId = String(group.body['id']);
  const rule = {
    name: 'r',
    enabled: true,
    action: 'accept',
    bidirectional: true,
    protocol: 'tcp',
    ports: ['443'],
    sources: [groupId],
    destinations: [groupId],
  };
  const policy = await call('POST', '/policies', { name: 'p', enabled: true, rules: [rule] });
  t.match(policy, { status: 200, body: { rules: [{ ports: ['443'], sources: [{ name: 'people' }] }] } });
  t.match(await call('DELETE', `/groups/${groupId}`), { status: 409, body: { message: /in use/ } });

  const gateway = await call('POST', '/reverse-proxies/proxy-tokens', { name: 'edge' });
  t.match(gateway, { status: 200, body: { plain_token: /^nbx_/ } });
  const tokenId = asId<TokenId>(String(gateway.body['id']));
  await domain.clusters.proxyConnected({ proxyId: asId('proxy-1'), tokenId, cluster: 'apps.test', version: '1.0.0' });
  t.match((await call('GET', '/reverse-proxies/clusters')).body, [{ address: 'apps.test', online: true, connected_proxies: 1 }]);
  const service = await call('POST', '/reverse-proxies/services', {
    name: 'app',
    domain: 'app.apps.test',
    targets: [{ target_id: peerId, target_type: 'peer', protocol: 'http', port: 3000, enabled: true }],
    enabled: true,
    auth: { bearer_auth: { enabled: true, distribution_groups: [groupId] } },
  });
  t.match(service, { status: 200, body: { domain: 'app.apps.test', proxy_cluster: 'apps.test', auth: { bearer_auth: { enabled: true } } } });
  const path = `/reverse-proxies/services/${String(service.body['id'])}`;
  t.match(await call('GET', path), { status: 200, body: { targets: [{ target_id: peerId, port: 3000 }] } });

  const custom = await call('POST', '/reverse-proxies/domains', { domain: 'own.example', target_cluster: 'apps.test' });
  t.match(custom, { status: 200, body: { validated: false } });
  t.equal((await call('GET', `/reverse-proxies/domains/${String(custom.body['id'])}/validate`)).status, 202);
  t.match((await call('GET', '/events/audit')).body, [{ activity_code: String, initiator_email: String }]);
  t.match(await call('GET', '/events/proxy'), { status: 200, body: { data: [], page: 1, total_records: 0 } });
  t.equal((await call('DELETE', path)).status, 200);
  t.equal((await call('GET', path)).status, 404);
});

t.test('a blocked user’s token stops at once, the last owner stays', async (t) => {
  const { domain, call, signIn } = await openApi(t);
  const owner = await call('POST', '/setup', {
    code: await domain.users.setupCode(),
    email: 'me@x.test',
    password: 'correct horse battery',
    name: 'Me',
    create_pat: true,
  });
  signIn(owner.body['personal_access_token']);
  const robot = await call('POST', '/users', { name: 'robot', role: 'admin', is_service_user: true });
  t.match(robot, { status: 200, body: { is_service_user: true } });
  const robotPath = `/users/${String(robot.body['id'])}`;
  const made = await call('POST', `${robotPath}/tokens`, { name: 'ci', expires_in: 1 });
  t.match(made, { status: 200, body: { plain_token: /^nbp_/ } });
  t.equal((await call('PUT', robotPath, { role: 'admin', auto_groups: [], is_blocked: true })).status, 200);
  signIn(made.body['plain_token']);
  t.equal((await call('GET', '/users/current')).status, 401);
});

t.test('who may expose services is a setting; what a peer exposes is a service like others, with who and how long', async (t) => {
  const { domain, call, signIn } = await openApi(t);
  const setup = { email: 'me@x.test', password: 'correct horse battery', name: 'Me', create_pat: true };
  signIn((await call('POST', '/setup', { ...setup, code: await domain.users.setupCode() })).body['personal_access_token']);
  const [account] = (await call('GET', '/accounts')).body as unknown as readonly { readonly id: string; readonly settings: Json }[];
  t.match(account?.settings, { peer_expose_enabled: false, peer_expose_groups: [], peer_expose_public: false, peer_expose_limit: 10 });
  const key = await call('POST', '/setup-keys', { name: 'k', type: 'one-off', expires_in: 86_400, auto_groups: [] });
  const meta = { hostname: 'web', os: 'linux', osVersion: '13', kernel: '6', platform: 'x64', version: '1', uiVersion: '', ipv6: true };
  const publicKey = asId<Parameters<typeof domain.peers.self>[0]>(randomBytes(32).toString('base64'));
  const { peer } = await domain.peers.login({ publicKey, meta, setupKey: String(key.body['key']), userId: undefined });
  const group = String((await call('POST', '/groups', { name: 'developers', peers: [peer.id] })).body['id']);
  const gateway = await domain.tokens.createProxy({ name: 'edge', expiresInSeconds: 0, cluster: undefined }, { kind: 'system' });
  await domain.clusters.proxyConnected({ proxyId: asId('proxy-1'), tokenId: gateway.token.id, cluster: 'apps.test', version: '1.0.0' });
  const path = `/accounts/${String(account?.id)}`;
  const settings = { peer_expose_enabled: true, peer_expose_groups: [group], peer_expose_domains: ['Apps.test'] };
  t.match(await call('PUT', path, { settings }), { status: 200, body: { settings: { ...settings, peer_expose_domains: ['apps.test'] } } });
  t.match(await call('PUT', path, { settings: { peer_expose_limit: 3 } }), {
    body: { settings: { peer_expose_enabled: true, peer_expose_groups: [group], peer_expose_limit: 3 } },
  });
  t.match(await call('PUT', path, { settings: { peer_expose_groups: ['nobody'] } }), { status: 422 });
  const access = { kind: 'settings' } as const;
  const { service } = await domain.exposures.create(publicKey, {
    port: 3000,
    host: undefined,
    protocol: 'http',
    place: { kind: 'exact', domain: 'web.apps.test' },
    listenPort: undefined,
    access,
    endsAfterMs: 3_600_000,
  });
  const one = `/reverse-proxies/services/${service.id}`;
  t.match(await call('GET', one), {
    body: { domain: 'web.apps.test', exposure: { peer: peer.id, peer_name: 'web', expires_at: /T/, renew_before: /T/ } },
  });
  t.match(await call('PUT', one, (await call('GET', one)).body), { status: 409 });
  t.match(await call('DELETE', one), { status: 200 });
  t.match(await call('GET', one), { status: 404 });
});
