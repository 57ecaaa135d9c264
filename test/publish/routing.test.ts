// Which route takes a request, by path, method and header, over both versions of HTTP; and the routes that the gateway answers itself.
import t, { type Test } from 'tap';
import type { MappingPath, ServiceMapping } from '#model/service.ts';
import { defaultWeb, matchesAll, type OwnAnswer, type RouteMatch } from '#model/web.ts';
import { buildRouteTable } from '#publish/index.ts';
import { findRoute } from '#publish/http/routes.ts';
import { seeded } from '../support/seeded.ts';
import { ask, versions, type Question, type Version } from './ask.ts';
import { mapping, path, session, startEcho, startFixture, withLogin, type Echo, type Fixture } from './harness.ts';

/** Upstreams by name; each answers with its name in front of what it saw. */
async function withRoutes(
  t: Test,
  names: readonly string[],
  make: (to: (name: string, path: string, match?: Partial<RouteMatch>, changes?: Partial<MappingPath['options']>) => MappingPath) => ServiceMapping[],
): Promise<{ fixture: Fixture; took: (version: Version, question: Question) => Promise<string>; echoes: ReadonlyMap<string, Echo> }> {
  const echoes = new Map<string, Echo>();
  for (const name of names) echoes.set(name, await startEcho());
  const fixture = await startFixture(
    make((name, prefix, match, changes) => path(echoes.get(name)?.port ?? 0, { path: prefix, match: { ...matchesAll, ...match }, ...changes })),
  );
  t.teardown(() => Promise.all([fixture.close(), ...[...echoes.values()].map((echo) => echo.close())]));
  const counts = (): number[] => [...echoes.values()].map((echo) => echo.received.length);
  return {
    fixture,
    echoes,
    /** The upstream that got it, or the status. */
    took: async (version, question) => {
      const before = counts();
      const { status } = await ask(fixture, version, question);
      const after = counts();
      const found = names.filter((_name, i) => (after[i] ?? 0) > (before[i] ?? 0));
      t.ok(found.length <= 1, 'one upstream at most');
      return found[0] ?? String(status);
    },
  };
}

void t.test('the most specific route takes the request, in one total order', async (t) => {
  const { took } = await withRoutes(t, ['all', 'api', 'exact', 'beta', 'writes', 'betawrites'], (to) => [
    mapping('a.test', [
      to('all', '/'),
      to('api', '/api'),
      to('writes', '/api', { methods: ['POST', 'PUT'] }),
      to('beta', '/api', { headers: [{ name: 'X-Beta', value: 'yes' }] }),
      to('betawrites', '/api', { methods: ['POST'], headers: [{ name: 'X-Beta', value: 'yes' }] }),
      to('exact', '/api/health', { exact: true }),
    ]),
  ]);
  const beta: Question['headers'] = [['X-Beta', 'yes']];
  for (const version of versions) {
    const cases: readonly (readonly [string, Question])[] = [
      ['all', { path: '/apix' }],
      ['all', { path: '/API' }],
      ['api', { path: '/api' }],
      ['api', { path: '/api/x' }],
      ['writes', { path: '/api/x', method: 'POST' }],
      ['beta', { path: '/api/x', headers: beta }],
      ['api', { path: '/api/x', headers: [['X-Beta', 'no']] }],
      ['beta', { path: '/api/x', headers: [['X-Beta', 'no'], ...beta] }],
      ['betawrites', { path: '/api/x', method: 'POST', headers: beta }],
      ['writes', { path: '/api/x', method: 'PUT', headers: beta }],
      ['exact', { path: '/api/health' }],
      ['exact', { path: '/api/health?x' }],
      ['exact', { path: '/api/health', headers: beta }],
      ['api', { path: '/api/health/x' }],
      ['api', { path: '/api/health/' }],
    ];
    for (const [name, question] of cases) t.equal(await took(version, question), name, `${version} ${JSON.stringify(question)}`);
  }
});

void t.test('a path that another route could be meant by is refused, whatever the conditions', async (t) => {
  const { took } = await withRoutes(t, ['all', 'admin', 'exact'], (to) => [
    mapping('a.test', [to('all', '/'), to('admin', '/admin', { methods: ['GET'] }), to('exact', '/secret', { exact: true })]),
  ]);
  const hostile = [
    '/x/../admin',
    '/%61dmin',
    '/x/..%2fadmin',
    '/%2561dmin',
    '//admin',
    '/x\\..\\admin',
    '/admin/..',
    '/admin/%2e%2e/x',
    '/%73ecret',
    '/x/../secret',
  ];
  const spelled = ['/admin;x', '/secret;x', '/./secret'];
  for (const version of versions) {
    for (const hostilePath of [...hostile, ...spelled]) {
      // A raw backslash is no part of a target; HTTP/2's own checks end the stream.
      if (version === 'h2' && hostilePath.includes('\\')) continue;
      t.match(await took(version, { path: hostilePath }), /^(?:404|400)$/, `${version} ${hostilePath}`);
    }
    // By POST the narrower route is none of these, so nothing is crossed.
    t.equal(await took(version, { path: '/%61dmin', method: 'POST' }), 'all');
    t.equal(await took(version, { path: '/secret/' }), 'all');
  }
});

void t.test('conditions only ever narrow: whatever takes a request takes it without them', async (t) => {
  const next = seeded(11);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  const paths = ['/', '/a', '/a/b', '/a/b/c'];
  for (let round = 0; round < 200; round++) {
    const mappingPaths = Array.from({ length: 4 }, (_v, i) =>
      path(1000 + i, {
        path: pick(paths),
        match: {
          exact: next() < 0.3,
          methods: next() < 0.4 ? [pick(['GET', 'POST'])] : [],
          headers: next() < 0.4 ? [{ name: 'X-A', value: next() < 0.5 ? undefined : '1' }] : [],
        },
      }),
    );
    const service = buildRouteTable([mapping('a.test', mappingPaths)]).service('a.test');
    const target = pick(['/', '/a', '/a/', '/a/b', '/a/x', '/a/b/../c', '/%61', '/a%2fb', '/b']);
    const headers = next() < 0.5 ? { names: ['X-A'], keys: ['x-a'], values: [pick(['1', '2'])] } : { names: [], keys: [], values: [] };
    const method = pick(['GET', 'POST', 'PUT']);
    if (service === undefined) throw new TypeError('no service');
    const route = findRoute(service, target, { method, fields: headers });
    if (route === undefined) continue;
    t.ok(
      route.exact === undefined ? target === route.prefix || target.startsWith(`${route.prefix}/`) : target === route.exact,
      `${target} at ${route.prefix}`,
    );
    t.ok(route.conditions?.methods?.has(method) ?? true);
    t.ok(route.conditions?.headers.every(({ value }) => headers.values.some((has) => value === undefined || has === value)) ?? true);
  }
});

void t.test('a path whose routes do not take the method is answered 405 with those that they take', async (t) => {
  const { fixture, took } = await withRoutes(t, ['reads', 'writes'], (to) => [
    mapping('a.test', [
      to('reads', '/x', { methods: ['GET', 'HEAD'] }),
      to('writes', '/x', { methods: ['POST'], headers: [{ name: 'X-W', value: undefined }] }),
    ]),
  ]);
  for (const version of versions) {
    const refused = await ask(fixture, version, { path: '/x/1', method: 'DELETE' });
    t.equal(refused.status, 405);
    t.equal(refused.header('allow'), 'GET, HEAD');
    const withHeader = await ask(fixture, version, { path: '/x', method: 'DELETE', headers: [['X-W', '1']] });
    t.equal(withHeader.header('allow'), 'POST, GET, HEAD');
    t.equal(await took(version, { path: '/y', method: 'DELETE' }), '404');
    t.equal(await took(version, { path: '/x', method: 'HEAD' }), 'reads');
  }
});

void t.test('a condition on a field that clients only claim never holds', async (t) => {
  const { took } = await withRoutes(t, ['all', 'claimed'], (to) => [
    mapping('a.test', [
      to('all', '/'),
      to('claimed', '/', { headers: [{ name: 'X-Forwarded-For', value: undefined }] }),
      to('claimed', '/', { headers: [{ name: 'X_Meshgate_User', value: undefined }] }),
    ]),
  ]);
  for (const version of versions) {
    t.equal(
      await took(version, {
        headers: [
          ['X-Forwarded-For', '1.2.3.4'],
          ['X_Meshgate_User', 'root'],
        ],
      }),
      'all',
    );
  }
});

const respond = (at: string, body: string, match: Partial<RouteMatch> = {}): OwnAnswer => ({
  path: at,
  match: { ...matchesAll, ...match },
  answer: { kind: 'respond', status: 203, contentType: 'text/plain; charset=utf-8', body },
});
const redirect = (at: string, location: string, keepPath: boolean, match: Partial<RouteMatch> = {}): OwnAnswer => ({
  path: at,
  match: { ...matchesAll, ...match },
  answer: { kind: 'redirect', status: 308, location, keepPath },
});

void t.test('own answers stand among the routes, behind the same sign-in, and no path turns a redirect elsewhere', async (t) => {
  const { fixture, took } = await withRoutes(t, ['all'], (to) => [
    mapping('a.test', [to('all', '/')], {
      ...withLogin,
      web: {
        ...defaultWeb,
        answers: [
          respond('/robots.txt', 'User-agent: *\nDisallow: /\n', { exact: true }),
          redirect('/old', 'https://new.test/base/', true),
          redirect('/here', '/', true),
          redirect('/fixed', 'https://new.test/?a=1', false),
          respond('/broken', 'x'.repeat(70_000)),
        ],
      },
    }),
  ]);
  fixture.identity.sessions.set('s1', { kind: 'live', session: session('s1', mapping('a.test', []).id) });
  const headers: Question['headers'] = [['Cookie', '__Host-meshgate=s1']];
  for (const version of versions) {
    t.equal((await ask(fixture, version, { path: '/robots.txt' })).status, 401);
    t.equal((await ask(fixture, version, { path: '/old/x' })).status, 401);
    const robots = await ask(fixture, version, { path: '/robots.txt', headers });
    t.equal(robots.status, 203);
    t.equal(robots.body.toString(), 'User-agent: *\nDisallow: /\n');
    t.equal(robots.header('content-type'), 'text/plain; charset=utf-8');
    const head = await ask(fixture, version, { path: '/robots.txt', method: 'HEAD', headers });
    t.equal(head.header('content-length'), '26');
    t.equal(head.body.length, 0);
    t.equal((await ask(fixture, version, { path: '/robots.txt', method: 'POST', body: 'abc', headers })).status, 203);
    const locations: readonly (readonly [string, string])[] = [
      ['/old', 'https://new.test/base'],
      ['/old/a%2Fb?c=d', 'https://new.test/base/a%2Fb?c=d'],
      ['/old//evil.test', 'https://new.test/base//evil.test'],
      ['/here//evil.test/x', 'https://a.test//evil.test/x'],
      ['/here/x', 'https://a.test/x'],
      ['/fixed/anything?b=2', 'https://new.test/?a=1'],
    ];
    for (const [from, to] of locations) {
      const got = await ask(fixture, version, { path: from, headers });
      t.equal(got.status, 308);
      t.equal(got.header('location'), to, `${version} ${from}`);
    }
    t.equal((await ask(fixture, version, { path: '/old/%2e%2e/x', headers })).status, 404, 'out of the target');
    t.equal((await ask(fixture, version, { path: '/broken', headers })).status, 500, 'never another route instead');
    t.equal(await took(version, { path: '/robots.txt/x', headers }), 'all');
  }
  t.match(fixture.entries.at(-1), { serviceId: 's-a.test', userId: 'u-alice' });
});

void t.test('a wildcard host serves one label, exact names win, and the handshake has to name the same host', async (t) => {
  const { took, echoes } = await withRoutes(t, ['wild', 'exact', 'plain'], (to) => [
    mapping('*.wild.test', [to('wild', '/')]),
    mapping('exact.wild.test', [to('exact', '/')]),
    mapping('a.test', [to('plain', '/')]),
  ]);
  for (const version of versions) {
    t.equal(await took(version, { host: 'one.wild.test' }), 'wild');
    t.match(echoes.get('wild')?.received.at(-1), /\r\nHost: one\.wild\.test\r\n/);
    t.match(echoes.get('wild')?.received.at(-1), /\r\nX-Forwarded-Host: one\.wild\.test\r\n/);
    t.equal(await took(version, { host: 'ONE.Wild.test.', serverName: 'one.wild.test' }), 'wild');
    t.equal(await took(version, { host: 'exact.wild.test' }), 'exact');
    // One connection cannot be used for another host of the same certificate, whichever service it is.
    for (const host of ['two.wild.test', 'exact.wild.test', 'a.test'])
      t.equal(await took(version, { host, serverName: 'one.wild.test' }), '421', host);
    t.equal(await took(version, { host: 'one.wild.test', serverName: 'exact.wild.test' }), '421');
    t.equal(await took(version, { host: 'x.one.wild.test', serverName: 'one.wild.test' }), '421');
    t.equal(await took(version, { host: 'wild.test', serverName: 'one.wild.test' }), '421');
  }
  const table = buildRouteTable([mapping('*.Wild.test', [path(1)]), mapping('*', [path(1)]), mapping('a.*.test', [path(1)])]);
  t.equal(table.size, 1);
  t.equal(table.service('x.wild.test')?.domain, '*.wild.test');
  for (const other of ['wild.test', 'x.y.wild.test', 'test', '*', '*.wild.test.evil']) t.equal(table.service(other), undefined, other);
});

void t.test('sign-in at a wildcard host stays at the host that it began at', async (t) => {
  const { fixture } = await withRoutes(t, ['wild'], (to) => [mapping('*.wild.test', [to('wild', '/')], withLogin)]);
  for (const version of versions) {
    const back = await ask(fixture, version, { host: 'one.wild.test', path: '/.meshgate/callback?to=/x' });
    t.equal(back.status, 302);
    t.equal(back.header('location'), 'https://one.wild.test/x');
    t.match(back.header('set-cookie'), /^__Host-meshgate=s1; Path=\/; Secure; HttpOnly; SameSite=Lax$/);
  }
});
