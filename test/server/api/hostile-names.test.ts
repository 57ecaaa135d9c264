// What strangers to a configuration file put into names, paths and ids of the API: it is kept as it is, or refused, and never another thing.
import t from 'tap';
import { routes } from '#server/api/routes.ts';
import { Seeded } from '../../support/hostile.ts';
import { withApi } from './client.ts';
import { openApi } from './real-api.ts';

const metacharacters = [
  '`id`',
  '$(id)',
  '${HOME}',
  "a'b",
  'a"b',
  'a: b',
  '- a',
  'a\\nb',
  '{{x}}',
  '%s',
  '#x',
  '; x',
  '[a]',
  '<b>',
  '--flag',
  '../x',
  '*',
  '~',
  '|x',
  '&&x',
];

t.test('row M-4: names with metacharacters are kept to the letter or refused; hosts and headers with any are refused', async (t) => {
  const { domain, call, signIn } = await openApi(t);
  const setup = { email: 'me@x.test', password: 'correct horse battery', name: 'Me', create_pat: true, code: await domain.users.setupCode() };
  signIn((await call('POST', '/setup', setup)).body['personal_access_token']);
  const random = new Seeded(20_261_122);
  let kept = 0;
  for (let i = 0; i < 60; i++) {
    const piece = (): string => metacharacters[random.below(metacharacters.length)] ?? '';
    const name = `n${i} ${piece()}${piece()}${random.below(4) === 0 ? ['\n', '\r\n', '\0', '\u2028', '\x1b[31m'][random.below(5)] : ''}${piece()}`;
    const made = await call('POST', '/groups', { name });
    if (made.status !== 200) {
      t.ok([400, 422].includes(made.status), `${JSON.stringify(name)}: ${made.status}`);
      continue;
    }
    kept++;
    t.notMatch(name, /[\0\r\n]/, 'lines and NUL are no part of a name');
    t.match((await call('GET', `/groups/${String(made.body['id'])}`)).body, { name }, 'as it was sent');
  }
  t.ok(kept > 10, `${kept} were kept`);
  for (const piece of metacharacters) {
    const target = { target_id: 'x', target_type: 'peer', protocol: 'http', port: 80, enabled: true };
    const made = await call('POST', '/reverse-proxies/services', {
      name: 'x',
      domain: `a${piece}.apps.test`,
      targets: [target],
      enabled: true,
      auth: {},
    });
    t.ok([400, 404, 409, 412, 422].includes(made.status), `${piece}: ${made.status}`);
  }
  t.same((await call('GET', '/reverse-proxies/services')).body, []);
});

t.test('row M-1: the id of the URL decides, whatever id the body has', async (t) => {
  const { domain, call, signIn } = await openApi(t);
  const setup = { email: 'me@x.test', password: 'correct horse battery', name: 'Me', create_pat: true, code: await domain.users.setupCode() };
  signIn((await call('POST', '/setup', setup)).body['personal_access_token']);
  const all = String((await call('POST', '/groups', { name: 'all of them' })).body['id']);
  const rule = {
    name: 'r',
    enabled: true,
    action: 'accept',
    bidirectional: true,
    protocol: 'tcp',
    ports: ['443'],
    sources: [all],
    destinations: [all],
  };
  const things: readonly (readonly [path: string, body: (name: string) => object])[] = [
    ['/groups', (name) => ({ name })],
    ['/networks', (name) => ({ name, description: '' })],
    ['/policies', (name) => ({ name, enabled: false, rules: [rule] })],
  ];
  for (const [path, body] of things) {
    const made = [await call('POST', path, body('mine')), await call('POST', path, body('theirs'))];
    if (made.some(({ status }) => status !== 200)) {
      t.fail(`${path}: ${JSON.stringify(made)}`);
      continue;
    }
    const [mine, theirs] = made.map((reply) => String(reply.body['id']));
    const changed = await call('PUT', `${path}/${mine}?id=${theirs}`, { ...body('changed'), id: theirs });
    t.ok([200, 400, 422].includes(changed.status), `${path}: ${changed.status}`);
    t.match((await call('GET', `${path}/${theirs}`)).body, { id: theirs, name: 'theirs' }, `${path}: the other one is as it was`);
    if (changed.status === 200) t.match((await call('GET', `${path}/${mine}`)).body, { id: mine, name: 'changed' });
  }
});

t.test('row M-5: no spelling of a path reaches an endpoint that its caller may not call', async (t) => {
  const api = await withApi(t.teardown);
  const { token } = api.as.user;
  const random = new Seeded(20_261_122);
  const forbidden = ['groups', 'setup-keys', 'policies', 'reverse-proxies/services', 'events/audit'];
  const ask = async (target: string): Promise<string> =>
    await api.raw(`GET ${target} HTTP/1.1\r\nHost: api.test\r\nAuthorization: Token ${token}\r\nConnection: close\r\n\r\n`);
  t.match(await ask('/api/users/current'), /^HTTP\/1\.1 200 /, 'the caller is known');
  for (let i = 0; i < 120; i++) {
    const name = forbidden[random.below(forbidden.length)] ?? '';
    const spelled = Array.from(name, (char) => {
      const way = random.below(8);
      return way === 0 ? `%${char.charCodeAt(0).toString(16)}` : way === 1 ? char.toUpperCase() : char;
    }).join('');
    const before = [
      '/api/',
      '/api//',
      '/api/./',
      '/api/users/../',
      '/api/users/%2e%2e/',
      '/api/users/current/..%2f../',
      '/API/',
      '//api/',
      '/api/users/..;/',
      '/x/../api/',
    ];
    const after = ['', '/', '//', '/.', '?', ';x=1', '%00', '%20', '/00', '.json', '#', '/../users/current'];
    const target = `${before[random.below(before.length)]}${spelled}${after[random.below(after.length)]}`;
    const answer = await ask(target);
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1] ?? 0);
    if (![400, 403, 404, 405, 414].includes(status)) t.fail(`${target}: ${answer.slice(0, 100)}`);
  }
});

t.test('row L-10: nobody can delete or change what was recorded through the API', (t) => {
  const writers = routes.filter(({ method, path }) => method !== 'GET' && path.startsWith('/events'));
  t.same(writers, []);
  t.ok(routes.some(({ path }) => path.startsWith('/events')));
  t.end();
});
