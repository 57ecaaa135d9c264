// Which role may call what: the table is walked whole, then the rules between two users.
import t from 'tap';
import { roleAllows } from '#server/api/access.ts';
import { routes } from '#server/api/routes.ts';
import type { Role } from '#model/identity.ts';
import { withApi } from './client.ts';

const roles: readonly Role[] = ['owner', 'admin', 'network_admin', 'auditor', 'user'];

t.test('every endpoint refuses whoever is not signed in, and every role that is not allowed', async (t) => {
  const api = await withApi(t.teardown);
  const openPaths = routes.filter((route) => route.access === 'anyone').map((route) => `${route.method} ${route.path}`);
  t.same(openPaths, ['GET /instance', 'POST /setup'], 'nothing else is open');
  for (const route of routes) {
    if (route.access === 'anyone') continue;
    const path = `/api${route.path.replaceAll(/:\w+/g, 'none')}`;
    for (const role of roles) {
      const { status } = await api.call(route.method, path, api.as[role].token, route.method === 'GET' || route.method === 'DELETE' ? undefined : {});
      const refused = status === 403;
      if (refused === roleAllows(role, route.access)) t.fail(`${role} ${route.method} ${route.path}: ${status}`);
    }
    if (route.method === 'GET') {
      const reply = await api.call('GET', path);
      if (reply.status !== 401) t.fail(`nobody ${route.path}: ${reply.status}`);
      api.clock.advance(10_000);
    }
  }
});

t.test('the roles are what the house says', async (t) => {
  const matrix = Object.fromEntries(
    roles.map((role) => [
      role,
      (['network:read', 'network:write', 'services:read', 'services:write', 'users:write'] as const).filter((access) => roleAllows(role, access)),
    ]),
  );
  t.same(matrix, {
    owner: ['network:read', 'network:write', 'services:read', 'services:write', 'users:write'],
    admin: ['network:read', 'network:write', 'services:read', 'services:write', 'users:write'],
    network_admin: ['network:read', 'network:write'],
    auditor: ['network:read', 'services:read'],
    user: [],
  });
});

t.test('row M-2: a user sees only the own part', async (t) => {
  const api = await withApi(t.teardown);
  const { token, user } = api.as.user;
  t.match((await api.call('GET', '/api/users', token)).body, [{ id: user.id }]);
  t.equal(((await api.call('GET', '/api/users', token)).body as unknown[]).length, 1);
  const own = api.addPeer('laptop', { userId: user.id });
  const other = api.addPeer('server');
  const peers = (await api.call('GET', '/api/peers', token)).body as { id: string }[];
  t.same(
    peers.map((peer) => peer.id),
    [own.id],
  );
  t.equal((await api.call('GET', `/api/peers/${other.id}`, token)).status, 404);
  t.equal((await api.call('DELETE', `/api/peers/${other.id}`, token)).status, 404);
  t.equal((await api.call('DELETE', `/api/peers/${own.id}`, token)).status, 200);
  t.equal((await api.call('GET', `/api/users/${api.as.admin.user.id}/tokens`, token)).status, 404);
  t.equal((await api.call('POST', `/api/users/${user.id}/logout`, token)).status, 200, 'ends the own sessions');
  t.equal((await api.call('POST', `/api/users/${api.as.admin.user.id}/logout`, token)).status, 403);
});

t.test('nobody rises above the own role', async (t) => {
  const api = await withApi(t.teardown);
  const { owner, admin } = api.as;
  t.equal((await api.call('POST', '/api/users', admin.token, { email: 'x@x.test', role: 'owner' })).status, 403);
  t.equal((await api.call('PUT', `/api/users/${api.as.user.user.id}`, admin.token, { role: 'owner', auto_groups: [] })).status, 403);
  t.equal((await api.call('PUT', `/api/users/${owner.user.id}`, admin.token, { role: 'user', auto_groups: [] })).status, 403);
  t.equal((await api.call('DELETE', `/api/users/${owner.user.id}`, admin.token)).status, 403);
  t.equal((await api.call('PUT', `/api/users/${owner.user.id}/password`, admin.token, { new_password: 'taken over' })).status, 403);
  t.equal((await api.call('POST', `/api/users/${owner.user.id}/tokens`, admin.token, { name: 'x', expires_in: 1 })).status, 403);
  const robot = api.addUser('robot', 'owner', { service: true });
  t.equal((await api.call('POST', `/api/users/${robot.user.id}/tokens`, admin.token, { name: 'x', expires_in: 1 })).status, 403);
  t.equal((await api.call('POST', `/api/users/${robot.user.id}/tokens`, owner.token, { name: 'x', expires_in: 1 })).status, 200);
});

t.test('a token acts as its user, so others cannot make one for a person', async (t) => {
  const api = await withApi(t.teardown);
  const { user, admin, network_admin: network } = api.as;
  t.equal((await api.call('POST', `/api/users/${user.user.id}/tokens`, admin.token, { name: 'x', expires_in: 1 })).status, 403);
  t.equal(
    (await api.call('POST', `/api/users/${user.user.id}/tokens`, user.token, { name: 'x', expires_in: 1 })).status,
    403,
    'the role user has none',
  );
  t.equal((await api.call('POST', `/api/users/${network.user.id}/tokens`, network.token, { name: 'x', expires_in: 1 })).status, 200);
  t.equal((await api.call('GET', `/api/users/${user.user.id}/tokens`, api.as.auditor.token)).status, 403);
});

t.test('nobody locks oneself out', async (t) => {
  const api = await withApi(t.teardown);
  const { owner } = api.as;
  const path = `/api/users/${owner.user.id}`;
  t.equal((await api.call('PUT', path, owner.token, { role: 'user', auto_groups: [] })).status, 412);
  t.equal((await api.call('PUT', path, owner.token, { role: 'owner', auto_groups: [], is_blocked: true })).status, 412);
  t.equal((await api.call('DELETE', path, owner.token)).status, 412);
  t.equal((await api.call('PUT', path, owner.token, { role: 'owner', auto_groups: ['g1'] })).status, 200);
});
