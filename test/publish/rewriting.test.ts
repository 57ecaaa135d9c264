// Paths and header fields on their way through the gateway: what the upstream saw and what the client got, over both versions of HTTP.
import t, { type Test } from 'tap';
import type { MappingPath, ServiceMapping } from '#model/service.ts';
import { defaultWeb, type PathRewrite, type WebOptions } from '#model/web.ts';
import { pathRewriteProblem } from '#model/path-rewrite.ts';
import { headerEditsProblem } from '#model/web-rules.ts';
import { buildRouteTable } from '#publish/index.ts';
import { seeded } from '../support/seeded.ts';
import { ask, versions } from './ask.ts';
import { mapping, path, session, startEcho, startFixture, withLogin, type Echo, type Fixture } from './harness.ts';

async function withEcho(t: Test, make: (port: number) => ServiceMapping[]): Promise<{ fixture: Fixture; echo: Echo }> {
  const echo = await startEcho();
  const fixture = await startFixture(make(echo.port));
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  return { fixture, echo };
}

const targetOf = (received: string | undefined): string => received?.split(' ')[1] ?? '';

void t.test('a path is stripped, kept, replaced or rewritten, and all else stays byte for byte', async (t) => {
  const at = (port: number, prefix: string, pathRewrite: PathRewrite, changes: { basePath?: string } = {}): MappingPath =>
    path(port, { path: prefix, pathRewrite, ...changes });
  const { fixture, echo } = await withEcho(t, (port) => [
    mapping('a.test', [
      at(port, '/strip', 'strip'),
      at(port, '/based', 'strip', { basePath: '/base' }),
      at(port, '/keep', 'preserve'),
      at(port, '/replace', { kind: 'replace', prefix: '/new/place' }),
      at(port, '/root', { kind: 'replace', prefix: '/' }),
      at(port, '/regex', { kind: 'regex', pattern: '/users/([^/]+)/(.*)', replacement: '/u/$1/${2}$$' }),
      at(port, '/named', { kind: 'regex', pattern: '/(?P<what>[a-z]+)', replacement: '/x/${what}' }, { basePath: '/b' }),
      at(port, '/', 'strip'),
    ]),
  ]);
  const cases = [
    ['/strip', '/'],
    ['/strip/a%2Fb//c;d?e=/strip', '/a%2Fb//c;d?e=/strip'],
    ['/based/x', '/base/x'],
    ['/keep/x/?q', '/keep/x/?q'],
    ['/replace', '/new/place'],
    ['/replace/', '/new/place/'],
    ['/replace/x%20y?z', '/new/place/x%20y?z'],
    ['/root/x', '/x'],
    ['/root', '/'],
    ['/regex/users/al%2Fice/x/y?q=1', '/u/al%2Fice/x/y$?q=1'],
    ['/regex/other', '/other'],
    ['/regex/xx/users/a/b', '/xx/users/a/b'],
    ['/named/abc', '/b/x/abc'],
    ['/named/ABC', '/b/ABC'],
    ['/stripped', '/stripped'],
  ];
  for (const version of versions) {
    for (const [from = '', to] of cases) {
      t.equal((await ask(fixture, version, { path: from })).status, 200, from);
      t.equal(targetOf(echo.received.at(-1)), to, `${version} ${from}`);
    }
  }
});

void t.test('an app whose prefix was stripped is told it, by nobody else', async (t) => {
  const { fixture, echo } = await withEcho(t, (port) => [
    mapping('a.test', [
      path(port, { path: '/strip', pathRewrite: 'strip' }),
      path(port, { path: '/keep', pathRewrite: 'preserve' }),
      path(port, { path: '/own', pathRewrite: 'strip', customHeaders: { 'X-Forwarded-Prefix': '/said' } }),
      path(port, { path: '/', pathRewrite: 'strip' }),
    ]),
  ]);
  const claims = ['/evil', '/evil2'].map((value) => ['x-forwarded-prefix', value] as const);
  for (const version of versions) {
    for (const [from = '', told] of [
      ['/strip/a', '/strip'],
      ['/keep/a', undefined],
      ['/own/a', '/said'],
      ['/other', undefined],
    ] as const) {
      await ask(fixture, version, { path: from, headers: [...claims, ['x_forwarded_prefix', '/evil3']] });
      const said = [...(echo.received.at(-1) ?? '').matchAll(/^x.forwarded.prefix: (.*)\r$/gim)].map(([, value]) => value);
      t.same(said, told === undefined ? [] : [told], `${version} ${from}`);
    }
  }
});

void t.test('a rewritten path that could be read as leaving its folder, or is none, is never sent', async (t) => {
  const regex = (pattern: string, replacement: string): PathRewrite => ({ kind: 'regex', pattern, replacement });
  const { fixture, echo } = await withEcho(t, (port) => [
    mapping('a.test', [
      path(port, { path: '/pub', pathRewrite: regex('/(.*)', '/public/$1') }),
      path(port, { path: '/join', pathRewrite: regex('/(.*)/(.*)', '/public/$1$2') }),
      path(port, { path: '/swap', pathRewrite: regex('/([^/]*)/([^/]*)/?', '/public/$2/$1') }),
      path(port, { path: '/host', pathRewrite: regex('/([a-z]*)/?(.*)', '/$1/$2') }),
      path(port, { path: '/replace', pathRewrite: { kind: 'replace', prefix: '/new' } }),
      path(port, { path: '/bad', pathRewrite: regex('(', '/') }),
      path(port, { path: '/long', pathRewrite: regex('/(.*)', '/$1$1') }),
    ]),
  ]);
  const hostile = [
    '/pub/../admin',
    '/pub/..%2fadmin',
    '/pub/%2e%2e/admin',
    '/pub/%252e%252e/admin',
    '/pub/x/../../admin',
    '/join/./.',
    '/join/%2e/%2e',
    '/swap/admin/..',
    '/swap/admin/%2e%2e',
    '/host/.x',
    '/host',
    '/replace/../admin',
    '/replace/%2e%2e/admin',
    '/bad/x',
    `/long/${'a'.repeat(5_000)}`,
  ];
  for (const version of versions) {
    for (const hostilePath of hostile) {
      const { status } = await ask(fixture, version, { path: hostilePath });
      t.ok(status === 400 || status === 404, `${version} ${hostilePath.slice(0, 40)} ${status}`);
    }
  }
  t.equal(echo.received.length, 0);
  // Whatever is drawn: what arrives reads as something below /public.
  const next = seeded(3);
  const pieces = ['a', '..', '.', '%2e%2e', '%2E.', '%2f', '%5c', ';', '%252e', '', 'b'];
  for (let round = 0; round < 150; round++) {
    const drawn = Array.from({ length: 1 + Math.floor(next() * 5) }, () => pieces[Math.floor(next() * pieces.length)]).join(next() < 0.7 ? '/' : '');
    const before = echo.received.length;
    await ask(fixture, 'h1', { path: `/pub/${drawn}` });
    if (echo.received.length === before) continue;
    let text = targetOf(echo.received.at(-1));
    for (let times = 0; times < 3; times++) {
      t.match(new URL(text.replaceAll('\\', '/'), 'http://x').pathname, /^\/public(?:\/|$)/, `${drawn} → ${text}`);
      text = text.replaceAll(/%([0-9a-f]{2})/gi, (_whole, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
    }
  }
});

void t.test('patterns that cannot be matched in linear time, or lead nowhere, are refused when they are saved', (t) => {
  const problem = (pattern: string, replacement = '/'): string | undefined => pathRewriteProblem({ kind: 'regex', pattern, replacement });
  for (const bad of ['(', '(?=x)', '\\1', 'a{1001}', '((a{100}){100}){100}', '(x?){400}', 'x'.repeat(513)])
    t.type(problem(bad), 'string', bad.slice(0, 30));
  for (const bad of [
    '',
    'x',
    '$1',
    '$1/',
    '/$2',
    '/${no}',
    '/$',
    '/a/../b',
    '/a//b',
    '//x',
    '/a?b',
    '/a#b',
    '/%2e',
    '/a b',
    '/\\',
    '/é',
    `/${'a'.repeat(600)}`,
  ]) {
    t.type(problem('/(.*)', bad), 'string', bad.slice(0, 30));
  }
  for (const good of ['/', '/$1', '/x-$1.html', '/${1}0', '/$$1']) t.equal(problem('/(.*)', good), undefined, good);
  for (const bad of ['x', '//', '/../x', '/x/..', '/x?y']) t.type(pathRewriteProblem({ kind: 'replace', prefix: bad }), 'string', bad);
  t.equal(pathRewriteProblem({ kind: 'replace', prefix: '/' }), undefined);
  t.equal(pathRewriteProblem('strip'), undefined);
  t.end();
});

void t.test('hostile paths cost a hostile pattern little time', (t) => {
  let worst = 0;
  for (const pattern of ['/(a+)+b', '/(.*)(.*)(.*)(.*)(.*)(.*)', '/(a|a|aa|aaa)*c', '/(x?){120}y']) {
    const [route] =
      buildRouteTable([mapping('a.test', [path(1, { pathRewrite: { kind: 'regex', pattern, replacement: '/$1' } })])]).service('a.test')?.routes ??
      [];
    if (route?.kind !== 'forward') throw new TypeError('no route');
    for (const text of [`/${'a'.repeat(8_000)}`, `/${'a'.repeat(8_000)}b`, `/${'x'.repeat(8_000)}y`]) {
      const start = process.cpuUsage();
      route.paths.pattern?.apply(text);
      const { user } = process.cpuUsage(start);
      worst = Math.max(worst, user / 1_000);
    }
  }
  t.comment(`figure: the slowest of 12 hostile matches took ${worst.toFixed(1)} ms of CPU`);
  t.ok(worst < 250);
  t.end();
});

const edits = (changes: Partial<WebOptions>): { web: WebOptions } => ({ web: { ...defaultWeb, ...changes } });

void t.test('request fields are removed, set and added, in every spelling, and what is ours stays ours', async (t) => {
  const requestHeaders = {
    remove: ['X-Secret', 'Connection', 'X-Meshgate-User', 'Host', 'X-Identity-User'],
    set: {
      'X-Env': 'prod',
      'X-Own': 'service',
      'X-Forwarded-For': '6.6.6.6',
      Content_Length: '5',
      'X-Meshgate-Groups': 'root',
      'Remote.User': 'root',
    },
    add: { 'X-Many': 'ours', Via: '1.1 x', 'Transfer-Encoding': 'chunked', 'X-Bad': 'a\r\nb' },
  };
  const problems: string[] = [];
  const { fixture, echo } = await withEcho(t, (port) => {
    const mappings = [mapping('a.test', [path(port, { customHeaders: { 'X-Own': 'target' } })], { ...withLogin, ...edits({ requestHeaders }) })];
    buildRouteTable(mappings, (_id, problem) => problems.push(problem));
    return mappings;
  });
  fixture.identity.sessions.set('s1', { kind: 'live', session: session('s1', mapping('a.test', []).id) });
  for (const version of versions) {
    const { status } = await ask(fixture, version, {
      method: 'POST',
      body: 'abc',
      headers: [
        ['Cookie', '__Host-meshgate=s1; a=b'],
        ...['X-Secret', 'x_secret', 'X.Secret'].map((name): [string, string] => [name, 'client-secret']),
        ...['X-Env', 'X_ENV', 'x.env', 'X-Own', 'x_own'].map((name): [string, string] => [name, 'client-set']),
        ['X-Many', 'theirs'],
        ['X-Fine', '1'],
      ],
    });
    t.equal(status, 200);
    const received = echo.received.at(-1) ?? '';
    t.notMatch(received, /client-secret|client-set|6\.6\.6\.6|Remote.User|Content_Length|X-Bad|X-Meshgate-Groups/i);
    t.match(received, /X-Env: prod\r\n/);
    t.match(received, /X-Own: target\r\n/);
    t.notMatch(received, /X-Own: service/);
    t.match(received, /X-Many: theirs\r\n/i);
    t.match(received, /X-Many: ours\r\n/);
    t.match(received, /Via: 1\.1 meshgate\r\n/);
    t.match(received, /X-Identity-User: alice@example\.test\r\n/);
    t.match(received, /cookie: a=b\r\n/i);
    t.match(received, /Content-Length: 3\r\n/);
  }
  t.equal(problems.length, 10, problems.join('; '));
  t.type(headerEditsProblem({ remove: [], set: { 'X-A': '1', x_a: '2' }, add: {} }, 'request'), 'string');
  t.equal(headerEditsProblem({ remove: ['Server'], set: { 'X-A': '1' }, add: { 'X-A': '2' } }, 'response'), undefined);
});
