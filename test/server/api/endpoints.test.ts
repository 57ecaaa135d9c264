// Every endpoint's happy path, its JSON shape, and who is recorded as having done it.
import t from 'tap';
import { withApi } from './client.ts';

t.test('instance, version and account', async (t) => {
  const api = await withApi(t.teardown);
  t.match(await api.call('GET', '/api/instance'), { status: 200, body: { setup_required: true } });
  t.match(await api.call('GET', '/api/instance/version', api.as.user.token), {
    status: 200,
    body: { management_current_version: '1.2.3', management_update_available: false },
  });
  t.match(await api.call('GET', '/api/accounts', api.as.auditor.token), { status: 200, body: [{ id: 'account1', domain: 'mesh.test' }] });
});

t.test('the settings of the account: what can be said, and what is always so', async (t) => {
  const api = await withApi(t.teardown);
  const { token, user } = api.as.admin;
  const settings = { peer_login_expiration_enabled: true, peer_login_expiration: 7200, lazy_connection_enabled: true };
  t.match(await api.call('PUT', '/api/accounts/account1', token, { settings: { ...settings, regular_users_view_blocked: true } }), {
    status: 200,
    body: { id: 'account1', settings: { ...settings, routing_peer_dns_resolution_enabled: true } },
  });
  t.match(api.calls.at(-1), { actor: { kind: 'user', id: user.id }, detail: { loginExpirationMs: 7_200_000, lazyConnections: true } });
  const [account] = (await api.call('GET', '/api/accounts', token)).body as readonly { readonly settings: object }[];
  t.match(await api.call('PUT', '/api/accounts/account1', token, { settings: account?.settings }), { status: 200 }, 'as it was told');
  for (const other of [{ jwt_groups_enabled: true }, { embedded_idp_enabled: false }, { network_range: '10.0.0.0/8' }, { dns_domain: 'x.test' }]) {
    const { status } = await api.call('PUT', '/api/accounts/account1', token, { settings: other });
    t.ok([412, 422].includes(status), JSON.stringify(other));
  }
  t.match(await api.call('PUT', '/api/accounts/other', token, { settings }), { status: 404 });
  t.match(await api.call('PUT', '/api/accounts/account1', api.as.network_admin.token, { settings }), { status: 403 });
  const peer = api.addPeer('laptop', { userId: user.id });
  const change = { name: 'laptop', ssh_enabled: false, login_expiration_enabled: true, inactivity_expiration_enabled: false };
  t.match(await api.call('PUT', `/api/peers/${peer.id}`, token, change), { status: 200, body: { login_expiration_enabled: true } });
});

t.test('the first set-up needs its code and can make a token', async (t) => {
  const api = await withApi(t.teardown);
  const request = { email: 'first@x.test', password: 'long enough', name: 'First', create_pat: true, pat_expire_in: 7 };
  t.match(await api.call('POST', '/api/setup', undefined, request), { status: 422, body: { message: 'code is missing', code: 422 } });
  t.match(await api.call('POST', '/api/setup', undefined, { ...request, code: 'guess' }), { status: 403, body: { code: 403 } });
  const made = await api.call('POST', '/api/setup', undefined, { ...request, code: 'code-1' });
  t.match(made, { status: 200, body: { email: 'first@x.test', user_id: String, personal_access_token: /^nbp_/ } });
  const token = (made.body as { personal_access_token: string }).personal_access_token;
  t.match(await api.call('GET', '/api/users/current', token), { status: 200, body: { role: 'owner', is_current: true } });
  t.match(await api.call('GET', '/api/instance'), { body: { setup_required: false } });
});

t.test('users are made, changed, blocked and deleted', async (t) => {
  const api = await withApi(t.teardown);
  const { token, user } = api.as.admin;
  const made = await api.call('POST', '/api/users', token, { email: 'new@x.test', name: 'New', role: 'user', auto_groups: [] });
  t.match(made, {
    status: 200,
    body: { email: 'new@x.test', role: 'user', status: 'active', password: 'generated-password', is_service_user: false },
  });
  const { id } = made.body as { id: string };
  t.same(api.calls.at(-1)?.actor, { kind: 'user', id: user.id });
  const chosen = await api.call('POST', '/api/users', token, { email: 'own@x.test', role: 'user', password: 'chosen by me' });
  t.equal('password' in (chosen.body as object), false, 'a chosen password is not sent back');
  const robot = await api.call('POST', '/api/users', token, { name: 'robot', role: 'auditor', is_service_user: true });
  t.match(robot, { status: 200, body: { is_service_user: true } });
  t.match(await api.call('GET', '/api/users?service_user=true', token), { body: [{ name: 'robot' }] });
  t.match(await api.call('PUT', `/api/users/${id}`, token, { role: 'auditor', auto_groups: ['g1'], is_blocked: true }), {
    body: { role: 'auditor', status: 'blocked', is_blocked: true, auto_groups: ['g1'] },
  });
  t.same((await api.call('POST', `/api/users/${id}/logout`, token)).body, {});
  t.match(api.calls.at(-1), { name: 'sessions.endAllOf', detail: id });
  t.match(await api.call('DELETE', `/api/users/${id}`, token), { status: 200, body: {} });
  t.match(await api.call('DELETE', `/api/users/${id}`, token), { status: 404, body: { message: 'not found', code: 404 } });
});

t.test('a password needs the old one, or somebody who manages the user', async (t) => {
  const api = await withApi(t.teardown);
  const { token, user } = api.as.user;
  const path = `/api/users/${user.id}/password`;
  t.match(await api.call('PUT', path, token, { old_password: 'wrong', new_password: 'brand new one' }), { status: 412 });
  t.match(await api.call('PUT', path, token, { old_password: 'user-password', new_password: 'short' }), { status: 422 });
  t.match(await api.call('PUT', path, token, { old_password: 'user-password', new_password: 'brand new one' }), { status: 200, body: {} });
  t.match(await api.call('PUT', path, api.as.admin.token, { new_password: 'by the admin' }), { status: 200 });
  t.match(await api.call('PUT', path, api.as.network_admin.token, { new_password: 'by nobody' }), { status: 403 });
  const robot = api.addUser('robot', 'user', { service: true });
  t.match(await api.call('PUT', `/api/users/${robot.user.id}/password`, api.as.owner.token, { new_password: 'a password' }), { status: 412 });
  for (let i = 0; i < 4; i++) await api.call('PUT', path, token, { old_password: 'wrong', new_password: 'brand new one' });
  t.match(
    await api.call('PUT', path, token, { old_password: 'by the admin', new_password: 'brand new one' }),
    { status: 429 },
    'guessing is limited',
  );
});

t.test('tokens show their text once', async (t) => {
  const api = await withApi(t.teardown);
  const { token, user } = api.as.network_admin;
  const path = `/api/users/${user.id}/tokens`;
  const made = await api.call('POST', path, token, { name: 'ci', expires_in: 30 });
  t.match(made, { status: 200, body: { plain_token: /^nbp_/, personal_access_token: { name: 'ci', created_by: user.id } } });
  const { plain_token: plain, personal_access_token: stored } = made.body as { plain_token: string; personal_access_token: { id: string } };
  const list = await api.call('GET', path, plain);
  t.equal((list.body as unknown[]).length, 2);
  t.notMatch(JSON.stringify(list.body), /nbp_/);
  t.match(await api.call('GET', `${path}/${stored.id}`, token), { body: { id: stored.id, expiration_date: '2026-02-01T03:04:05.000Z' } });
  t.same((await api.call('DELETE', `${path}/${stored.id}`, token)).body, {});
  t.equal((await api.call('GET', path, plain)).status, 401, 'a deleted token is nobody');
});

t.test('peers are listed with filters, renamed and deleted', async (t) => {
  const api = await withApi(t.teardown);
  const { token } = api.as.network_admin;
  const web = api.addPeer('web');
  const db = api.addPeer('db');
  api.addPeer('gateway', { proxyCluster: 'proxy.test' });
  const group = await api.domain.groups.create({ name: 'servers', peers: [web.id, db.id] }, { kind: 'system' });
  const rule = { name: 'r', description: '', enabled: true, action: 'accept', bidirectional: true, protocol: 'all', ports: [] } as const;
  await api.domain.policies.create(
    { name: 'p', description: '', enabled: true, rules: [{ ...rule, sources: [group.id], destinations: [group.id] }] },
    { kind: 'system' },
  );
  const list = await api.call('GET', '/api/peers', token);
  t.match(list.body, [
    { id: web.id, name: 'web', ip: web.ipv4, groups: [{ id: group.id, name: 'servers', peers_count: 2 }], accessible_peers_count: 1 },
    { id: db.id },
  ]);
  t.equal((list.body as unknown[]).length, 2, 'peers of gateways are not listed');
  t.match((await api.call('GET', '/api/peers?name=DB', token)).body, [{ id: db.id }]);
  t.match((await api.call('GET', `/api/peers?ip=${web.ipv4}`, token)).body, [{ id: web.id }]);
  t.same((await api.call('GET', '/api/peers?ip=203.0.113.1', token)).body, []);
  t.match(await api.call('GET', `/api/peers/${web.id}`, token), { status: 200, body: { hostname: 'web', os: 'linux 13', dns_label: 'web' } });
  const request = { name: 'www', ssh_enabled: false, login_expiration_enabled: false, inactivity_expiration_enabled: false };
  t.match(await api.call('PUT', `/api/peers/${web.id}`, token, request), { status: 200, body: { name: 'www' } });
  t.match(await api.call('PUT', `/api/peers/${web.id}`, token, { ...request, ssh_enabled: true }), {
    status: 422,
    body: { message: 'ssh_enabled is not supported by this server' },
  });
  t.match(await api.call('DELETE', `/api/peers/${web.id}`, token), { status: 200, body: {} });
});

t.test('a setup key shows itself once and tells its state', async (t) => {
  const api = await withApi(t.teardown);
  const { token } = api.as.network_admin;
  const request = { name: 'k', type: 'one-off', expires_in: 86_400, auto_groups: [], usage_limit: 0 };
  const made = await api.call('POST', '/api/setup-keys', token, request);
  t.match(made, { status: 200, body: { key: /^[0-9A-F-]{36}$/, state: 'valid', valid: true, usage_limit: 1, last_used: '0001-01-01T00:00:00Z' } });
  const { id } = made.body as { id: string };
  t.match(await api.call('GET', `/api/setup-keys/${id}`, token), { body: { key: 'ABCD****', expires: '2026-01-03T03:04:05.000Z' } });
  t.match(await api.call('PUT', `/api/setup-keys/${id}`, token, { revoked: true, auto_groups: [] }), { body: { state: 'revoked', valid: false } });
  t.match((await api.call('GET', '/api/setup-keys', token)).body, [{ id, key: 'ABCD****' }]);
  api.clock.advance(1);
  t.same((await api.call('DELETE', `/api/setup-keys/${id}`, token)).body, {});
  const old = await api.call('POST', '/api/setup-keys', token, { ...request, type: 'reusable' });
  api.clock.advance(86_400_000);
  t.match(await api.call('GET', `/api/setup-keys/${(old.body as { id: string }).id}`, token), { body: { state: 'expired' } });
});

t.test('groups: all of them, one by name, and 404 for a name that is none', async (t) => {
  const api = await withApi(t.teardown);
  const { token } = api.as.network_admin;
  const peer = api.addPeer('web');
  const made = await api.call('POST', '/api/groups', token, { name: 'ops', peers: [peer.id] });
  t.match(made, { status: 200, body: { name: 'ops', peers_count: 1, resources_count: 0, peers: [{ id: peer.id, name: 'web' }], resources: [] } });
  const { id } = made.body as { id: string };
  t.match(await api.call('POST', '/api/groups', token, { name: 'ops' }), { status: 409, body: { message: 'the name is taken', code: 409 } });
  t.match((await api.call('GET', '/api/groups', token)).body, [{ id }]);
  t.match((await api.call('GET', '/api/groups?name=ops', token)).body, [{ id }]);
  t.match(await api.call('GET', '/api/groups?name=nope', token), { status: 404 });
  t.match(await api.call('PUT', `/api/groups/${id}`, token, { name: 'ops2', peers: null }), { body: { name: 'ops2', peers_count: 0 } });
  t.match(await api.call('GET', `/api/groups/${id}`, token), { body: { name: 'ops2' } });
  t.same((await api.call('DELETE', `/api/groups/${id}`, token)).body, {});
});

t.test('policies take group ids and answer with groups', async (t) => {
  const api = await withApi(t.teardown);
  const { token } = api.as.network_admin;
  const group = await api.domain.groups.create({ name: 'ops', peers: [] }, { kind: 'system' });
  const rule = { name: 'r', enabled: true, action: 'accept', bidirectional: false, protocol: 'tcp', sources: [group.id], destinations: [group.id] };
  const policy = { name: 'p', enabled: true, rules: [{ ...rule, ports: ['80', '443'] }] };
  const made = await api.call('POST', '/api/policies', token, policy);
  t.match(made, {
    status: 200,
    body: { name: 'p', description: '', source_posture_checks: [], rules: [{ ports: ['80', '443'], sources: [{ id: group.id, name: 'ops' }] }] },
  });
  const { id } = made.body as { id: string };
  const ranges = { ...policy, rules: [{ ...rule, port_ranges: [{ start: 1, end: 9 }] }] };
  t.match(await api.call('PUT', `/api/policies/${id}`, token, ranges), { body: { rules: [{ port_ranges: [{ start: 1, end: 9 }] }] } });
  t.match(await api.call('GET', `/api/policies/${id}`, token), { status: 200, body: { id } });
  t.match((await api.call('GET', '/api/policies', token)).body, [{ id }]);
  t.same((await api.call('DELETE', `/api/policies/${id}`, token)).body, {});
  const refused = async (change: object): Promise<unknown> =>
    (await api.call('POST', '/api/policies', token, { ...policy, rules: [{ ...rule, ...change }] })).body;
  t.match(await refused({ ports: ['0'] }), { message: /^rules\[0\]\.ports\[0\] must be a port/ });
  t.match(await refused({ ports: ['1'], port_ranges: [{ start: 1, end: 2 }] }), { message: 'rules[0] takes either ports or port_ranges' });
  t.match(await refused({ port_ranges: [{ start: 9, end: 2 }] }), { message: 'rules[0].port_ranges[0].end must not be below start' });
  t.match(await refused({ protocol: 'icmp', ports: ['1'] }), { message: 'rules[0] has no ports with protocol icmp' });
  t.match(await refused({ protocol: 'netbird-ssh' }), { message: /^rules\[0\]\.protocol must be one of/ });
  t.match(await refused({ sources: [] }), { message: 'rules[0].sources must not be empty' });
  t.match(await api.call('POST', '/api/policies', token, { ...policy, rules: [] }), { status: 422 });
});

t.test('services keep their secrets', async (t) => {
  const api = await withApi(t.teardown);
  const { token } = api.as.admin;
  const target = { target_id: 'peer1', target_type: 'peer', protocol: 'http', port: 8080, enabled: true };
  const request = {
    name: 'app',
    domain: 'App.Proxy.Test.',
    targets: [{ ...target, options: { request_timeout: '1m30s', custom_headers: { 'X-A': 'b' } } }],
    enabled: true,
    auth: {
      bearer_auth: { enabled: true, distribution_groups: ['g1'] },
      password_auth: { enabled: true, password: 'hunter22' },
      pin_auth: { enabled: false, pin: '123456' },
      link_auth: { enabled: false },
      header_auths: [{ enabled: true, header: 'X-Key', value: 's3cret' }],
    },
    access_restrictions: { allowed_cidrs: ['10.0.0.0/8'], allowed_countries: ['de'] },
  };
  const made = await api.call('POST', '/api/reverse-proxies/services', token, request);
  t.match(made, {
    status: 200,
    body: {
      domain: 'app.proxy.test',
      mode: 'http',
      proxy_cluster: 'proxy.test:8443',
      targets: [{ path: '/', options: { request_timeout: '90s', custom_headers: { 'X-A': 'b' } } }],
      auth: { password_auth: { enabled: true, password: '' }, header_auths: [{ header: 'X-Key', value: '' }] },
      access_restrictions: { allowed_countries: ['DE'], crowdsec_mode: 'off' },
      meta: { status: 'pending', status_reason: 'no gateway yet', created_at: '2026-01-02T03:04:05.000Z' },
    },
  });
  t.notMatch(JSON.stringify(made.body), /HASH|hunter22|s3cret|123456/);
  t.match(api.calls.at(-1)?.detail, { auth: { password: { password: 'hunter22' }, pin: { pin: '123456' }, headers: [{ value: 's3cret' }] } });
  const { id } = made.body as { id: string };
  const edit = { ...request, auth: { password_auth: { enabled: true, password: '' } } };
  t.equal((await api.call('PUT', `/api/reverse-proxies/services/${id}`, token, edit)).status, 200);
  t.match(api.calls.at(-1)?.detail, { auth: { password: { enabled: true, password: undefined }, pin: undefined, oidc: { enabled: false } } });
  t.match(await api.call('GET', `/api/reverse-proxies/services/${id}`, token), { body: { id } });
  t.match((await api.call('GET', '/api/reverse-proxies/services', token)).body, [{ id }]);
  t.same((await api.call('DELETE', `/api/reverse-proxies/services/${id}`, token)).body, {});
  const more = { link_auth: { enabled: true }, basic_auth: { enabled: true, users: [{ name: 'ann', password: 'secret one' }] } };
  await api.call('POST', '/api/reverse-proxies/services', token, { ...request, auth: more });
  t.match(api.calls.at(-1)?.detail, { auth: { link: { enabled: true }, basic: { users: [{ name: 'ann', password: 'secret one' }] } } });
});

t.test('domains, clusters and gateway tokens', async (t) => {
  const api = await withApi(t.teardown);
  const { token } = api.as.admin;
  t.match((await api.call('GET', '/api/reverse-proxies/clusters', token)).body, [{ address: 'proxy.test:8443', online: true, connected_proxies: 2 }]);
  t.equal((await api.call('DELETE', '/api/reverse-proxies/clusters/proxy.test%3A8443', token)).status, 200);
  t.match(api.calls.at(-1), { name: 'clusters.deleteCluster', detail: 'proxy.test:8443' });
  const certificates = await api.call('GET', '/api/reverse-proxies/certificates', token);
  t.match(certificates.body, [
    { names: ['app.edge.test'], cluster: 'edge.test', state: 'failed', reason: 'no such host', next_action: 'order', proxy_id: 'gw-1' },
  ]);
  const made = await api.call('POST', '/api/reverse-proxies/domains', token, { domain: 'Apps.Test', target_cluster: 'proxy.test:8443' });
  t.match(made, { status: 200, body: { domain: 'apps.test', validated: false, type: 'custom', target_cluster: 'proxy.test:8443' } });
  const { id } = made.body as { id: string };
  t.equal((await api.call('GET', `/api/reverse-proxies/domains/${id}/validate`, token)).status, 202);
  t.match((await api.call('GET', '/api/reverse-proxies/domains', token)).body, [{ id, validated: true }]);
  t.match(await api.call('DELETE', `/api/reverse-proxies/domains/${id}`, token), { status: 204, body: undefined });
  const issued = await api.call('POST', '/api/reverse-proxies/proxy-tokens', token, { name: 'edge', expires_in: 0 });
  t.match(issued, { status: 200, body: { plain_token: 'nbx_edge', revoked: false } });
  t.notOk('expires_at' in (issued.body as object));
  t.notOk('cluster' in (issued.body as object), 'until it is used');
  const bound = { name: 'bound', expires_in: 0, cluster: 'proxy.test' };
  t.match(await api.call('POST', '/api/reverse-proxies/proxy-tokens', token, bound), { status: 200, body: { cluster: 'proxy.test' } });
  t.same((await api.call('DELETE', `/api/reverse-proxies/proxy-tokens/${(issued.body as { id: string }).id}`, token)).body, {});
  const list = await api.call('GET', '/api/reverse-proxies/proxy-tokens', token);
  t.match(list.body, [
    { name: 'edge', revoked: true },
    { name: 'bound', revoked: false, cluster: 'proxy.test' },
  ]);
  t.notMatch(JSON.stringify(list.body), /nbx_/);
});

t.test('events: audit under both names, the access log in pages', async (t) => {
  const api = await withApi(t.teardown);
  const { token } = api.as.auditor;
  for (const path of ['/api/events', '/api/events/audit'])
    t.match((await api.call('GET', path, token)).body, [
      { activity_code: 'user.create', initiator_name: 'Ann', timestamp: '2026-01-02T03:04:05.000Z' },
    ]);
  for (let i = 0; i < 7; i++) api.addAccess({ method: i === 0 ? 'POST' : 'GET' });
  const page = await api.call('GET', '/api/events/proxy?page=2&page_size=3', token);
  t.match(page.body, { page: 2, page_size: 3, total_records: 7, total_pages: 3, data: [{ duration_ms: 1, status_code: 200, bytes_download: 2 }] });
  t.match((await api.call('GET', '/api/events/proxy?method=post', token)).body, { total_records: 1, total_pages: 1 });
  const filters = 'search=x&source_ip=192.0.2.7&host=h&path=/p&user_id=u&user_email=e&service_id=s1&status=failed&status_code=403';
  await api.call('GET', `/api/events/proxy?${filters}&start_date=2026-01-01&end_date=2026-01-02T00:00:00Z&sort_order=desc`, token);
  t.same(api.calls.at(-1)?.detail, {
    page: 1,
    pageSize: 50,
    search: 'x',
    sourceIp: '192.0.2.7',
    host: 'h',
    path: '/p',
    userId: 'u',
    userEmail: 'e',
    serviceId: 's1',
    outcome: 'failed',
    statusCode: 403,
    from: Date.parse('2026-01-01'),
    to: Date.parse('2026-01-02'),
  });
  t.match(await api.call('GET', '/api/events/proxy?page_size=101&start_date=soon&methd=GET&sort_by=host', token), {
    status: 422,
    body: { message: /methd is not known; did you mean method\?.*page_size must be.*sort_by must be.*start_date must be/ },
  });
});
