// Heads of answers on their way to the client: references that name what is inside, cookies of the target, and fields removed, set and added.
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { MappingPath, ServiceMapping } from '#model/service.ts';
import { defaultWeb, matchesAll, type PathRewrite } from '#model/web.ts';
import { ask, versions } from './ask.ts';
import { listenTcp, mapping, path, startFixture, type Fixture } from './harness.ts';

/** An upstream whose answers' fields the test sets. */
async function withAnswers(
  t: Test,
  make: (port: number) => ServiceMapping[],
): Promise<{ fixture: Fixture; say: (lines: string, before?: string) => void; port: number }> {
  let head = '';
  let interim = '';
  const upstream = await listenTcp((socket: Socket) => {
    socket.on('data', () => socket.write(`${interim}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${head}\r\nok`, 'latin1'));
  });
  const fixture = await startFixture(make(upstream.port));
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  return {
    fixture,
    port: upstream.port,
    say: (lines, before = '') => {
      head = lines;
      interim = before;
    },
  };
}

const at = (port: number, prefix: string, pathRewrite: PathRewrite, basePath = ''): MappingPath =>
  path(port, { path: prefix, pathRewrite, basePath });

void t.test('references are read as the upstream meant them, and told as the visitor can follow them', async (t) => {
  const { fixture, say, port } = await withAnswers(t, (port) => [
    mapping(
      'a.test',
      [
        at(port, '/app', 'strip'),
        at(port, '/based', 'strip', '/base'),
        at(port, '/keep', 'preserve'),
        at(port, '/kept', 'preserve', '/base'),
        at(port, '/old', { kind: 'replace', prefix: '/new' }),
        at(port, '/', 'strip'),
      ],
      { rewriteRedirects: true },
    ),
    mapping('b.test', [at(port, '/app', 'strip')]),
  ]);
  const inside = `http://127.0.0.1:${port}`;
  const cases: readonly (readonly [asked: string, said: string, told: string])[] = [
    ['/app/x', `${inside}/login?next=/y#z`, 'https://a.test/app/login?next=/y#z'],
    ['/app/x', inside, 'https://a.test/app/'],
    ['/app/x', `${inside}?q`, 'https://a.test/app/?q'],
    ['/app/x', `//127.0.0.1:${port}/y`, 'https://a.test/app/y'],
    ['/app/x', `${inside}//evil.test`, 'https://a.test/app//evil.test'],
    ['/app/x', '/login', '/app/login'],
    ['/app/x', '/app/login', '/app/login'],
    ['/app/x', '/apple', '/app/apple'],
    ['/app/x', 'http://a.test/login', 'https://a.test/app/login'],
    ['/app/x', 'https://A.test/app/login', 'https://a.test/app/login'],
    ['/app/x', 'login', 'login'],
    ['/app/x', '?a=b', '?a=b'],
    ['/app/x', '', ''],
    ['/app/x/y', '../z', '../z'],
    ['/app/x', '../../z?q', '/app/z?q'],
    ['/old/x', '../new/y', '/old/y'],
    ['/app/x', 'https://evil.test/login', 'https://evil.test/login'],
    ['/app/x', 'http://127.0.0.1:1/login', 'http://127.0.0.1:1/login'],
    ['/app/x', `http://127.0.0.1:${port}.evil.test/`, `http://127.0.0.1:${port}.evil.test/`],
    ['/app/x', `http://user@127.0.0.1:${port}/`, `http://user@127.0.0.1:${port}/`],
    ['/app/x', '//evil.test/x', '//evil.test/x'],
    ['/app/x', '/\\evil.test', '/\\evil.test'],
    ['/app/x', 'javascript:alert(1)', 'javascript:alert(1)'],
    ['/app/x', 'mailto:a@b', 'mailto:a@b'],
    ['/based/x', `${inside}/base/y`, 'https://a.test/based/y'],
    ['/based/x', '/base/y', '/based/y'],
    ['/based/x', '/base', '/based'],
    ['/based/x', '/basement', '/basement'],
    ['/keep/x', '/keep/y', '/keep/y'],
    ['/keep/x', `${inside}/other`, 'https://a.test/other'],
    ['/kept/x', '/base/kept/y', '/kept/y'],
    ['/kept/x', '/base//evil.test', 'https://a.test//evil.test'],
    ['/old/x', '/new/y', '/old/y'],
    ['/old/x', `${inside}/new`, 'https://a.test/old'],
    ['/x', '/y', '/y'],
    ['/x', `${inside}/y`, 'https://a.test/y'],
  ];
  for (const version of versions) {
    for (const [asked, said, told] of cases) {
      say(`Location: ${said}\r\nContent-Location: ${said}\r\nRefresh: 5; url=${said}\r\n`);
      const got = await ask(fixture, version, { path: asked });
      t.equal(got.header('location'), told, `${version} ${asked}: ${said}`);
      t.equal(got.header('content-location'), told);
      t.equal(got.header('refresh'), `5; url=${told}`.trim());
    }
    say(`Location: ${inside}/x\r\nRefresh: 0;URL="/y"\r\n`);
    const untouched = await ask(fixture, version, { path: '/app/x', host: 'b.test' });
    t.equal(untouched.header('location'), `${inside}/x`, 'not asked for');
    t.equal((await ask(fixture, version, { path: '/app/x' })).header('refresh'), '0;URL="/app/y"');
    say('Refresh: 30\r\n');
    t.equal((await ask(fixture, version, { path: '/app/x' })).header('refresh'), '30');
  }
});

void t.test('cookies of the target are cookies of the route, and never ours', async (t) => {
  const rewriting = { web: { ...defaultWeb, rewriteCookies: true } };
  const { fixture, say } = await withAnswers(t, (port) => [
    mapping('a.test', [at(port, '/app', 'strip'), at(port, '/based', 'strip', '/base'), at(port, '/', 'strip')], rewriting),
    mapping('one.wild.test', [at(port, '/', 'strip')], rewriting),
  ]);
  const cases: readonly (readonly [asked: string, said: string, told: string])[] = [
    ['/app/', 's=1; Domain=inner.local; Path=/; HttpOnly; SameSite=Lax', 's=1; Path=/app; HttpOnly; SameSite=Lax'],
    ['/app/', 's=1; path=/x/y; Secure', 's=1; Path=/app/x/y; Secure'],
    ['/app/', 's=1; Path=/app/x', 's=1; Path=/app/x'],
    ['/app/', 's=1', 's=1'],
    ['/app/', 's=a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Domain=.A.test', 's=a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Domain=.A.test'],
    ['/app/', '__Host-x=1; Path=/; Secure', '__Host-x=1; Path=/; Secure'],
    ['/based/', 's=1; Path=/base', 's=1; Path=/based'],
    ['/based/', 's=1; Path=/', 's=1; Path=/based'],
    ['/based/', 's=1; Path=/basement', 's=1; Path=/basement'],
    ['/', 's=1; Domain=127.0.0.1; Path=/', 's=1; Path=/'],
  ];
  for (const version of versions) {
    for (const [asked, said, told] of cases) {
      say(`Set-Cookie: ${said}\r\n`);
      t.equal((await ask(fixture, version, { path: asked })).header('set-cookie'), told, said);
    }
    say('Set-Cookie: a=1; Domain=wild.test\r\nSet-Cookie: b=2; Domain=evil.wild.test\r\nSet-Cookie: c=3; Domain=ne.wild.test\r\n');
    const wild = await ask(fixture, version, { host: 'one.wild.test' });
    t.equal(wild.header('set-cookie'), 'a=1; Domain=wild.test|b=2|c=3');
    const ours = [
      '__Host-meshgate=x',
      '__HOST-Meshgate=x; Path=/',
      ' __Host-meshgate =x',
      '=__Host-meshgate=x',
      '__host-meshgate-login1=x; Domain=a.test',
      '__Host-meshgate',
    ];
    for (const name of ours) {
      say(`Set-Cookie: ${name}\r\nSet-Cookie: fine=1\r\n`, `HTTP/1.1 103 Early Hints\r\nSet-Cookie: ${name}\r\n\r\n`);
      t.equal((await ask(fixture, version, { path: '/' })).header('set-cookie'), 'fine=1', name);
    }
  }
});

void t.test('answer fields are removed, set and added, on own answers too, and never what frames or names us', async (t) => {
  const { fixture, say } = await withAnswers(t, (port) => [
    mapping('a.test', [path(port)], {
      web: {
        ...defaultWeb,
        responseHeaders: {
          remove: ['Server', 'X-Powered-By', 'Content-Length', 'Content-Encoding'],
          set: {
            'Strict-Transport-Security': 'max-age=31536000',
            'Cache-Control': 'no-store',
            Connection: 'close',
            'X-Meshgate-User': 'x',
            Set_Cookie: 'fine=1',
          },
          add: { Vary: 'X-Ours', 'Set-Cookie': '__Host-meshgate=x', 'Transfer-Encoding': 'chunked' },
        },
        answers: [
          { path: '/own', match: matchesAll, answer: { kind: 'respond', status: 200, contentType: 'text/plain', body: 'own' } },
          { path: '/go', match: matchesAll, answer: { kind: 'redirect', status: 302, location: '/x', keepPath: false } },
        ],
      },
    }),
  ]);
  for (const version of versions) {
    say('Server: nginx\r\nX_Powered_By: php\r\nx.powered.by: php\r\nCache-Control: public\r\nCACHE_CONTROL: x\r\nVary: Accept\r\nX-Kept: 1\r\n');
    const got = await ask(fixture, version, {});
    t.equal(got.body.toString(), 'ok');
    for (const gone of ['server', 'x_powered_by', 'x.powered.by', 'x-meshgate-user', 'transfer-encoding', 'set-cookie', 'cache_control'])
      t.equal(got.header(gone), '', gone);
    t.equal(got.header('cache-control'), 'no-store');
    t.equal(got.header('strict-transport-security'), 'max-age=31536000');
    t.equal(got.header('vary').replaceAll('|', ', '), 'Accept, X-Ours');
    t.equal(got.header('x-kept'), '1');
    t.equal(got.header('content-length'), '2');
    const own = await ask(fixture, version, { path: '/own' });
    t.equal(own.header('cache-control'), 'no-store');
    t.equal(own.header('content-type'), 'text/plain');
    t.equal((await ask(fixture, version, { path: '/go' })).header('strict-transport-security'), 'max-age=31536000');
    const refused = await ask(fixture, version, { path: '/', method: 'TRACE' });
    t.equal(refused.header('vary'), 'Cookie, Accept, Accept-Language', 'pages of the gateway are its own');
  }
});
