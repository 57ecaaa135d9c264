// How the API speaks, whatever the endpoint: errors, authentication, bodies, limits, browsers.
import t from 'tap';
import { apiError } from '#server/api/errors.ts';
import { callerNetwork } from '#lib/ip.ts';
import { Limiter } from '#server/api/limiter.ts';
import * as limits from '#server/api/constants.ts';
import { countReachable } from '#server/api/reach.ts';
import { Router } from '#server/api/router.ts';
import { routes } from '#server/api/routes.ts';
import { withApi } from './client.ts';

t.test('errors are JSON with a lower-case message and the status', async (t) => {
  const api = await withApi(t.teardown);
  const missing = await api.call('GET', '/api/nothing/here');
  t.match(missing, { status: 404, body: { message: 'there is no such endpoint', code: 404 } });
  t.equal(missing.headers.get('content-type'), 'application/json; charset=UTF-8');
  t.equal(missing.headers.get('cache-control'), 'no-store');
  const wrong = await api.call('PATCH', '/api/groups', api.as.owner.token);
  t.match(wrong, { status: 405, body: { code: 405 } });
  t.equal(wrong.headers.get('allow'), 'GET, POST, OPTIONS');
  t.match(await api.call('GET', '/api/groups/%E0%A4%A', api.as.owner.token), { status: 400 });
  t.match(await api.call('GET', '/api/groups/a%20b', api.as.owner.token), { status: 400 });
  t.match(await api.call('GET', `/api/groups/${'x'.repeat(201)}`, api.as.owner.token), { status: 400 });
  t.match(await api.call('GET', `/api/groups?name=${'x'.repeat(limits.maxUrlLength)}`, api.as.owner.token), { status: 414 });
  t.match(await api.call('GET', '/api/groups/', api.as.owner.token), { status: 200 }, 'one slash at the end is as none');
  t.match(await api.call('GET', '/api/groups//', api.as.owner.token), { status: 404 });
  for (const path of ['/api', '/api/', '/api/__proto__', '/api/groups/x/__proto__', '/api/constructor'])
    t.equal((await api.call('GET', path)).status, 404, path);
});

t.test('a token or an access token in the header, and nothing else', async (t) => {
  const api = await withApi(t.teardown);
  const { token, user } = api.as.admin;
  t.equal((await api.call('GET', '/api/users/current', `jwt-${user.id}`)).status, 200);
  t.equal((await api.call('GET', '/api/users/current', undefined, undefined, { authorization: `bearer ${token}` })).status, 200);
  const none = await api.call('GET', '/api/users/current');
  t.match(none, { status: 401, body: { code: 401 } });
  t.match(none.headers.get('www-authenticate'), /^Bearer/);
  const wrong = [`Token`, `Token ${token}x`, 'Bearer jwt-nobody', `Basic ${token}`, `Token ${token} ${token}`, `Bearer ${'x'.repeat(9000)}`];
  for (const authorization of wrong)
    t.equal((await api.call('GET', '/api/users/current', undefined, undefined, { authorization })).status, 401, authorization.slice(0, 20));
  t.equal((await api.call('GET', '/api/users/current', undefined, undefined, { cookie: `token=${token}` })).status, 401);
  t.equal((await api.call('GET', `/api/users/current?access_token=${token}`)).status, 401);
  await api.domain.users.update(user.id, { blocked: true }, { kind: 'system' });
  t.equal((await api.call('GET', '/api/users/current', token)).status, 401, 'a blocked user’s token is unknown');
  t.match(await api.call('GET', '/api/users/current', `jwt-${user.id}`), { status: 403, body: { message: 'the user is blocked' } });
});

t.test('row D-6: bodies are JSON in UTF-8, or refused', async (t) => {
  const api = await withApi(t.teardown);
  const { token } = api.as.owner;
  const post = (body: string, type = 'application/json'): ReturnType<typeof api.call> =>
    api.call('POST', '/api/groups', token, body, { 'content-type': type });
  t.match(await post('{"name":'), { status: 400, body: { message: 'the body is not json', code: 400 } });
  t.match(await post('{"name":"x"}', 'text/plain'), { status: 415 });
  t.match(await post('{"name":"x"}', 'application/json; charset=latin1'), { status: 415 });
  t.match(await post('[]'), { status: 422, body: { message: 'the value must be an object' } });
  t.match(await post('null'), { status: 422 });
  t.match(await post(`${'['.repeat(100_000)}${']'.repeat(100_000)}`), { status: 422 });
  t.match(await post('{"name":"a","name":"b"}', 'application/json; charset=UTF-8'), { status: 200, body: { name: 'b' } });
  t.match(await post('{"name":"p","__proto__":{"peers":["x"]}}'), { status: 422, body: { message: '__proto__ is not known' } });
  t.match(await post('{"nmae":"p"}'), { status: 422, body: { message: 'nmae is not known; did you mean name?; name is missing' } });
  const bytes = await fetch(`http://127.0.0.1:${api.port}/api/groups`, {
    method: 'POST',
    headers: { authorization: `Token ${token}`, 'content-type': 'application/json' },
    body: Buffer.from('7b226e616d65223a22ff227d', 'hex'),
    signal: AbortSignal.timeout(5_000),
  });
  t.equal(bytes.status, 400, 'not UTF-8');
  t.equal(({} as { peers?: unknown }).peers, undefined);
});

t.test('bodies have a size limit, smaller for strangers', async (t) => {
  const api = await withApi(t.teardown);
  const { token } = api.as.owner;
  const head = (path: string, size: number, more: string): string =>
    `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${more}Content-Length: ${size}\r\n\r\n`;
  const declared = await api.raw(head('/api/groups', limits.maxBodyBytes + 1, `Authorization: Token ${token}\r\n`));
  t.match(declared, /^HTTP\/1\.1 413 [\s\S]*[Cc]onnection: close/);
  t.match(await api.raw(head('/api/setup', limits.maxOpenBodyBytes + 1, '')), /^HTTP\/1\.1 413 /);
  const chunk = 'x'.repeat(limits.maxOpenBodyBytes);
  const chunked = 'POST /api/setup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n';
  t.match(await api.raw(`${chunked}${chunk.length.toString(16)}\r\n${chunk}\r\n1\r\nx\r\n`), /^HTTP\/1\.1 413 /);
  const exact = `{"name":"${'n'.repeat(200)}","peers":[]${' '.repeat(limits.maxBodyBytes - 222)}}`;
  t.equal((await api.call('POST', '/api/groups', token, exact)).status, 200, `${exact.length} bytes`);
  t.match(await api.raw(head('/api/groups', 10, '')), /^HTTP\/1\.1 401 /, 'a stranger’s body is not waited for');
});

t.test('a body that does not come is given up', async (t) => {
  const api = await withApi(t.teardown);
  const answer = api.raw('POST /api/setup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{');
  while (api.clock.pending === 0) await new Promise((resolve) => void setImmediate(resolve));
  api.clock.advance(limits.bodyDeadlineMs);
  t.match(await answer, /^HTTP\/1\.1 408 /);
});

t.test('work that takes too long is answered 503', async (t) => {
  const api = await withApi(t.teardown);
  Object.assign(api.domain.groups, { list: () => new Promise(() => undefined) });
  const answer = api.call('GET', '/api/groups', api.as.owner.token);
  while (api.clock.pending !== 1) await new Promise((resolve) => void setImmediate(resolve));
  api.clock.advance(limits.handlerDeadlineMs);
  t.match(await answer, { status: 503 });
});

t.test('a failure inside says nothing about the inside', async (t) => {
  const api = await withApi(t.teardown);
  Object.assign(api.domain.groups, { list: () => Promise.reject(new TypeError('select * from secrets')) });
  const reply = await api.call('GET', '/api/groups', api.as.owner.token);
  t.match(reply, { status: 500, body: { code: 500 } });
  t.notMatch(JSON.stringify(reply.body), /select/);
});

t.test('a connection serves more than one request', async (t) => {
  const api = await withApi(t.teardown);
  const get = 'GET /api/instance HTTP/1.1\r\nHost: x\r\n';
  const answer = await api.raw(`${get}\r\n${get}Connection: close\r\n\r\n`);
  t.equal(answer.match(/HTTP\/1\.1 200 /g)?.length, 2);
});

t.test('strangers are limited per address, and told when to come back', async (t) => {
  const api = await withApi(t.teardown);
  for (let i = 0; i < limits.openBurst; i++) t.equal((await api.call('GET', '/api/instance')).status, 200);
  const limited = await api.call('GET', '/api/instance');
  t.match(limited, { status: 429, body: { code: 429 } });
  t.equal(limited.headers.get('retry-after'), '2');
  t.equal((await api.call('GET', '/api/groups', api.as.owner.token)).status, 200, 'who is signed in is not');
  api.clock.advance(limits.openIntervalMs);
  t.equal((await api.call('GET', '/api/instance')).status, 200);
});

t.test('guessing tokens is limited per address', async (t) => {
  const api = await withApi(t.teardown);
  for (let i = 0; i < limits.failureBurst; i++) t.equal((await api.call('GET', '/api/groups', `nbp_guess${i}`)).status, 401);
  t.equal((await api.call('GET', '/api/groups', 'nbp_guess')).status, 429);
  api.clock.advance(limits.failureIntervalMs);
  t.equal((await api.call('GET', '/api/groups', api.as.owner.token)).status, 200);
});

t.test('a limiter remembers so many keys and no more', async (t) => {
  const limiter = new Limiter({ burst: 1, intervalMs: 1000, maxKeys: 3 });
  t.same(
    ['a', 'a', 'b', 'c'].map((key) => limiter.take(key, 0)),
    [true, false, true, true],
  );
  t.equal(limiter.take('d', 0), true);
  t.equal(limiter.size, 3);
  t.equal(limiter.take('a', 0), true, 'the one used longest ago was forgotten');
  t.equal(limiter.allows('d', 999), false);
  t.equal(limiter.allows('d', 1000), true);
});

t.test('an address counts as one caller', async (t) => {
  t.equal(callerNetwork('192.0.2.1'), '192.0.2.1/32');
  t.equal(callerNetwork('::ffff:192.0.2.1'), '192.0.2.1/32');
  t.equal(callerNetwork('2001:db8::1:2:3:4'), callerNetwork('2001:db8::ffff'));
  t.equal(callerNetwork('fe80::1%eth0'), 'fe80::/64');
  t.equal(callerNetwork(undefined), 'unknown');
});

t.test('foreign origins get no permission unless configured', async (t) => {
  const closed = await withApi(t.teardown);
  const preflight = { origin: 'https://evil.test', 'access-control-request-method': 'POST' };
  const none = await closed.call('OPTIONS', '/api/groups', undefined, undefined, preflight);
  t.equal(none.status, 204);
  t.equal(none.headers.get('access-control-allow-origin'), null);
  const open = await withApi(t.teardown, { corsOrigins: ['https://admin.test'] });
  const allowed = await open.call('OPTIONS', '/api/groups', undefined, undefined, { ...preflight, origin: 'https://admin.test' });
  t.equal(allowed.headers.get('access-control-allow-origin'), 'https://admin.test');
  t.match(allowed.headers.get('access-control-allow-headers'), /Authorization/);
  t.equal(allowed.headers.get('access-control-allow-credentials'), null);
  const other = await open.call('GET', '/api/instance', undefined, undefined, { origin: 'https://admin.test.evil' });
  t.equal(other.headers.get('access-control-allow-origin'), null);
  t.equal(other.headers.get('vary'), 'Origin');
});

t.test('the router prefers literal parts and refuses double routes', async (t) => {
  const router = new Router(routes);
  t.match(router.find('GET', '/users/current'), { route: { path: '/users/current' } });
  t.match(router.find('PUT', '/users/current'), { kind: 'other-methods' });
  t.match(router.find('PUT', '/users/u1'), { params: { id: 'u1' } });
  t.match(router.find('HEAD', '/users'), { kind: 'route', route: { method: 'GET' } });
  t.throws(() => new Router([...routes, ...routes]));
  t.match(apiError('API_FORBIDDEN'), { row: { status: 403 } });
});

t.test('peers reach what their groups’ rules say, themselves not counted', async (t) => {
  const group = (id: string, ...peers: string[]): never => ({ id, name: id, peers, resources: [], system: false }) as never;
  const rule = { enabled: true, action: 'accept', sources: ['a'], destinations: ['b', 'c'] };
  const policy = (enabled: boolean, ...rules: object[]): never => ({ enabled, rules }) as never;
  const groups = [group('a', '1', '2'), group('b', '2', '3'), group('c', '3')];
  t.same(Object.fromEntries(countReachable(groups, [policy(true, rule)])), { '1': 2, '2': 2, '3': 2 });
  t.same(Object.fromEntries(countReachable(groups, [policy(false, rule), policy(true, { ...rule, action: 'drop' })])), { '1': 0, '2': 0, '3': 0 });
});
