// Attack rows H: what a client claims of itself, in every spelling that some upstream folds onto what we say; judged by raw bytes and by programs.
import t, { type Test } from 'tap';
import type { ServiceMapping } from '#model/service.ts';
import { identityHeaderNames, identityHeaders, isIdentityHeader } from '#identity/identity-headers.ts';
import type { HttpPublisherDeps, IdentityHeaders } from '#publish/index.ts';
import { alice, mapping, path, session, withLogin } from '../publish/harness.ts';
import { Seeded } from '../support/hostile.ts';
import { foreignIdentityFields } from '#cli/attack/cases.ts';
import { type Field } from '#cli/attack/h2-raw.ts';
import { lines, pick, proxied, Range, rounds, seed, startRecorder, variants, type Recorder } from './harness.ts';
import { startTwins } from './twins.ts';

/** The product's own names and values, without a signer. */
const headers: IdentityHeaders = {
  isReserved: isIdentityHeader,
  lines: (identity) =>
    identity === undefined
      ? ''
      : identityHeaders(identity, 'signed-assertion')
          .map(([name, value]) => `${name}: ${value}\r\n`)
          .join(''),
  jwks: () => '{"keys":[]}',
};

async function start(
  t: Test,
  more: readonly ServiceMapping[] = [],
  changes: Partial<HttpPublisherDeps> = {},
): Promise<{ range: Range; recorder: Recorder }> {
  const recorder = await startRecorder(t);
  const mappings = [mapping('a.test', [path(recorder.port)]), mapping('b.test', [path(recorder.port)], withLogin), ...more];
  const range = await Range.start(t, mappings, [recorder], { identityHeaders: headers, ...changes });
  for (const { identity } of [range.direct, range.behind]) {
    identity.sessions.set('s1', { kind: 'live', session: session('s1', mapping('b.test', []).id) });
    identity.tokens.set('nbp_good', { kind: 'valid', identity: alice });
  }
  return { range, recorder };
}

const signedIn: Field = ['Cookie', '__Host-meshgate=s1'];

/** Everything that only the gateway may say. */
const claims = [...identityHeaderNames, ...foreignIdentityFields];

/** Another spelling of a name that some upstream reads as the same: case, and any separator that CGI and its like fold. */
function respelled(random: Seeded, name: string, separators = '-_.'): string {
  return Array.from(name, (char) =>
    char === '-' ? pick(random, Array.from(separators)) : random.below(2) === 0 ? char.toUpperCase() : char.toLowerCase(),
  ).join('');
}

for (const [id, separators] of [
  ['H-1', '-'],
  ['H-2', '_-'],
  ['H-3', '.-_~|^'],
] as const) {
  void t.test(`${id}: names that only the gateway may say are removed, before and after sign-in, spelled with ${separators}`, async (t) => {
    const { range } = await start(t);
    const random = new Seeded(seed);
    for (let i = 0; i < rounds(30); i++) {
      const names = Array.from({ length: 6 }, () => respelled(random, pick(random, claims), separators));
      const fields: Field[] = [...names.map((name): Field => [name, 'forged']), ['X-Fine', 'kept']];
      for (const host of ['a.test', 'b.test']) {
        for (const got of await range.all({ host, fields: host === 'b.test' ? [signedIn, ...fields] : fields })) {
          t.equal(got.status, 200);
          t.notMatch(got.upstream[0], /forged/, `${got.variant} ${names.join(' ')}`);
          t.match(got.upstream[0], /x-fine: kept\r\n/i);
        }
      }
    }
  });
}

void t.test('H-2: programs that fold names see ours alone', async (t) => {
  const twins = (await startTwins(t)).filter(({ tells }) => tells === 'fields');
  const { range } = await start(
    t,
    twins.map((twin) =>
      mapping(
        `${twin.name.replaceAll(/[^a-z]/g, '')}.wild.test`,
        [path(twin.port, twin.name.startsWith('php') ? { basePath: '/fields' } : {})],
        withLogin,
      ),
    ),
  );
  for (const { identity } of [range.direct, range.behind])
    identity.findSession = (id) => ({ kind: 'live', session: session(id, mapping('any', []).id) });
  const random = new Seeded(seed);
  for (const twin of twins) {
    const host = `${twin.name.replaceAll(/[^a-z]/g, '')}.wild.test`;
    for (let i = 0; i < rounds(20); i++) {
      const fields = Array.from({ length: 8 }, (): Field => [
        respelled(random, pick(random, [...claims, 'X-Forwarded-For', 'X-Real-IP', 'X-Forwarded-Proto', 'Forwarded']), '-_.'),
        'forged',
      ]);
      const variant = pick(random, ['h1 direct', 'h2 direct'] as const);
      const id = range.fixture(variant).identity;
      id.findSession = () => ({ kind: 'live', session: session('s1', mapping(host, []).id) });
      const got = await range.ask(variant, { host, serverName: host, fields: [signedIn, ...fields] });
      t.equal(got.status, 200);
      t.notMatch(got.text, /forged/, `${twin.name} ${JSON.stringify(fields.map(([name]) => name))}`);
      t.match(got.text, /"HTTP_X_MESHGATE_EMAIL": ?"alice@example\.test"/);
    }
  }
});

void t.test('H-6: what an identity lacks is absent, also where the client supplies it', async (t) => {
  const { range } = await start(t);
  for (const { identity } of [range.direct, range.behind])
    identity.sessions.set('s2', {
      kind: 'live',
      session: { ...session('s2', mapping('b.test', []).id), identity: { ...alice, email: '', name: '', groups: [] } },
    });
  for (const got of await range.all({
    host: 'b.test',
    fields: [
      ['Cookie', '__Host-meshgate=s2'],
      ['X-Meshgate-Email', 'forged'],
      ['x_meshgate_groups', 'forged'],
      ['X-Meshgate.Name', 'forged'],
    ],
  })) {
    t.match(got.upstream[0], /X-Meshgate-User: u-alice\r\n/);
    t.notMatch(got.upstream[0], /forged|Meshgate-Email|Meshgate-Groups|Meshgate-Name/i, got.variant);
  }
});

void t.test('H-7: whatever a name or a group holds, it is one field with visible characters', async (t) => {
  const { range } = await start(t);
  const random = new Seeded(seed);
  for (let i = 0; i < rounds(30); i++) {
    const nasty = Array.from({ length: 20 }, () =>
      String.fromCodePoint(pick(random, [10, 13, 0, 44, 32, 37, 59, 0x7f, 0x85, 0xe9, 0x2028, 0x1f600, 58, 65, 0xd800])),
    ).join('');
    const identity = { ...alice, name: `A${nasty}\r\nX-Injected: 1`, groups: [`g,${nasty}`, 'plain'] };
    for (const fixture of [range.direct, range.behind])
      fixture.identity.sessions.set('s3', { kind: 'live', session: { ...session('s3', mapping('b.test', []).id), identity } });
    const got = await range.ask(pick(random, variants), { host: 'b.test', fields: [['Cookie', '__Host-meshgate=s3']] });
    const received = lines(got.upstream[0] ?? '');
    t.notOk(received.some((line) => line.startsWith('X-Injected')));
    for (const line of received.filter((text) => text.startsWith('X-Meshgate'))) t.match(line, /^[\x20-\x7e]+$/);
    t.equal(received.find((line) => line.startsWith('X-Meshgate-Groups'))?.split(',').length, 2, 'two groups');
  }
});

void t.test('H-8: Connection removes only what the client sent', async (t) => {
  const { range } = await start(t);
  const random = new Seeded(seed);
  for (let i = 0; i < rounds(20); i++) {
    const listed = Array.from({ length: 1 + random.below(5) }, () =>
      respelled(
        random,
        pick(random, [
          'x-meshgate-user',
          'x-meshgate-assertion',
          'x-real-ip',
          'x-forwarded-for',
          'host',
          'x-request-id',
          'via',
          'x-own',
          'authorization',
          'content-length',
        ]),
        '-',
      ),
    );
    for (const variant of ['h1 direct', 'h1 behind'] as const) {
      const got = await range.ask(variant, {
        host: 'b.test',
        fields: [signedIn, ['Connection', ['keep-alive', ...listed].join(pick(random, [',', ', ', ' ,']))], ['X-Own', 'mine']],
      });
      t.match(
        got.upstream[0],
        /Host: b\.test\r\n[\s\S]*X-Forwarded-For: [\s\S]*X-Real-IP: [\s\S]*Via: [\s\S]*X-Request-Id: [\s\S]*X-Meshgate-User: u-alice\r\n[\s\S]*X-Meshgate-Assertion: signed/,
        listed.join(),
      );
      t.equal(/X-Own/.test(got.upstream[0] ?? ''), !listed.some((name) => name.toLowerCase() === 'x-own'));
    }
  }
});

const forwarding = [
  'X-Forwarded-For',
  'X-Forwarded-Host',
  'X-Forwarded-Proto',
  'X-Forwarded-Port',
  'X-Forwarded-Prefix',
  'X-Forwarded-Uri',
  'X-Forwarded-Method',
  'X-Real-IP',
  'Forwarded',
  'X-Original-URL',
  'X-Rewrite-URL',
  'CF-Connecting-IP',
  'True-Client-IP',
  'Fastly-Client-IP',
  'X-Client-IP',
  'X-Cluster-Client-IP',
  'X-Original-Host',
];

void t.test('H-10: what a stranger says of address, host and path is replaced or removed, and changes no decision', async (t) => {
  const restrictions = {
    allowedCidrs: ['198.51.100.0/24'],
    blockedCidrs: [],
    allowedCountries: [],
    blockedCountries: [],
    crowdsecMode: 'off',
  } as const;
  const { range, recorder } = await start(t);
  const random = new Seeded(seed);
  for (let i = 0; i < rounds(30); i++) {
    const fields = forwarding.map((name): Field => [
      respelled(random, name, '-_.'),
      pick(random, ['198.51.100.9', '198.51.100.9, 198.51.100.9', '127.0.0.1', 'for=198.51.100.9', '/admin', 'evil.test']),
    ]);
    for (const variant of ['h1 direct', 'h2 direct'] as const) {
      const got = await range.ask(variant, { fields });
      t.notMatch(got.upstream[0], /198\.51|evil\.test|\/admin/);
      t.match(
        got.upstream[0],
        /X-Forwarded-For: 127\.0\.0\.1\r\nX-Real-IP: 127\.0\.0\.1\r\nX-Forwarded-Host: a\.test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n/,
      );
      t.match(range.direct.entries.at(-1), { sourceIp: '127.0.0.1', host: 'a.test', path: '/' });
    }
  }
  recorder.clear();
  range.direct.setRoutes([mapping('a.test', [path(recorder.port)], { restrictions })]);
  for (const variant of ['h1 direct', 'h2 direct'] as const)
    t.equal(
      (await range.ask(variant, { fields: forwarding.map((name): Field => [name, '198.51.100.9']) })).status,
      403,
      'no way into a restricted service',
    );
  t.equal(recorder.bytes(), 0);
});

void t.test('H-11: with no trusted proxies nobody is one, not even the machine itself', async (t) => {
  const { range } = await start(t, [], { trustedProxies: [] });
  const got = await range.ask('h1 direct', { fields: proxied.fields });
  t.match(got.upstream[0], /X-Forwarded-For: 127\.0\.0\.1\r\nX-Real-IP: 127\.0\.0\.1\r\n/);
  t.match(range.direct.entries.at(-1), { sourceIp: '127.0.0.1' });
});

void t.test('H-12: behind a trusted proxy the rightmost address that is not trusted is the client', async (t) => {
  const { range } = await start(t);
  const random = new Seeded(seed);
  for (let i = 0; i < rounds(40); i++) {
    const forged = Array.from({ length: random.below(4) }, () =>
      pick(random, ['127.0.0.1', '6.6.6.6', '10.0.0.1', 'evil', '::1', '"', '', 'unknown', '6.6.6.6:80', '[2001:db8::1]:4']),
    );
    const own = Array.from({ length: random.below(3) }, () => pick(random, ['127.0.0.1', '127.9.9.9', '::ffff:127.0.0.3']));
    // The harness adds what the proxy saw; own are further trusted hops behind it.
    const chain = [...forged, proxied.client, ...own].join(', ');
    for (const variant of ['h1 behind', 'h2 behind'] as const) {
      const got =
        variant === 'h1 behind'
          ? await range.h1(variant, `GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: ${chain}\r\n\r\n`)
          : await range.h2(variant, [
              [':method', 'GET'],
              [':scheme', 'https'],
              [':path', '/'],
              [':authority', 'a.test'],
              ['x-forwarded-for', chain],
            ]);
      t.match(got.upstream[0], new RegExp(`X-Real-IP: ${proxied.client.replaceAll('.', '\\.')}\r\n`), chain);
      t.match(range.behind.entries.at(-1), { sourceIp: proxied.client });
    }
  }
});

void t.test('H-15: nobody is let in for what the program calls itself', async (t) => {
  const { range, recorder } = await start(t);
  for (const agent of [
    'GoogleHC/1.0',
    'kube-probe/1.29',
    'ELB-HealthChecker/2.0',
    'meshgate',
    'meshgate-agent/1',
    'Envoy/HC',
    'Consul Health Check',
  ]) {
    for (const target of ['/', '/healthz', '/ping', '/.meshgate/health', '/ready'])
      for (const variant of ['h1 direct', 'h2 behind'] as const)
        t.ok(
          [401, 404].includes((await range.ask(variant, { host: 'b.test', target, fields: [['User-Agent', agent]] })).status),
          `${agent} ${target}`,
        );
  }
  t.equal(recorder.bytes(), 0);
});

void t.test('H-16: a signed assertion that a client brings along is replaced by ours', async (t) => {
  const { range } = await start(t);
  for (const got of await range.all({
    host: 'b.test',
    fields: [signedIn, ['X-Meshgate-Assertion', 'old.valid.jwt'], ['x_meshgate_assertion', 'old.valid.jwt']],
  })) {
    t.notMatch(got.upstream[0], /old\.valid\.jwt/);
    t.equal(lines(got.upstream[0] ?? '').filter((line) => /assertion/i.test(line)).length, 1);
  }
});

void t.test('H-17: two Authorization fields are refused', async (t) => {
  const { range, recorder } = await start(t);
  const random = new Seeded(seed);
  for (let i = 0; i < rounds(20); i++) {
    const fields = [0, 1].map((): Field => [
      respelled(random, 'authorization'),
      pick(random, ['Basic YTpi', 'Bearer nbp_good', 'Bearer x', 'Digest y', '']),
    ]);
    for (const got of await range.all({ host: pick(random, ['a.test', 'b.test']), fields }))
      t.ok([0, 400].includes(got.status), `${got.variant} ${got.status}`);
  }
  t.ok(await range.quiet());
  t.equal(recorder.bytes(), 0);
});

void t.test('H-19: an upstream cannot set our cookies or speak in our name', async (t) => {
  const random = new Seeded(seed);
  const evil = (): string =>
    `${pick(random, ['Set-Cookie', 'SET-COOKIE'])}: ${pick(random, ['', ' ', '\t', '='])}${pick(random, ['__Host-meshgate', '__HOST-MESHGATE', '__host-Meshgate-login1', '__Host-meshgate-loginx'])}${pick(random, ['=evil', ' =evil', '', '=; Max-Age=0', '="evil"'])}${pick(random, ['', '; Path=/; Secure', '; Domain=a.test'])}\r\n`;
  const recorder = await startRecorder(
    t,
    () => `HTTP/1.1 200 OK\r\n${evil()}${evil()}Set-Cookie: app=1\r\nX-Meshgate-User: evil\r\nx-meshgate-thing: evil\r\nContent-Length: 2\r\n\r\nok`,
  );
  const range = await Range.start(t, [mapping('a.test', [path(recorder.port)])], [recorder]);
  for (let i = 0; i < rounds(40); i++) {
    const got = await range.ask(pick(random, ['h1 direct', 'h1 behind'] as const), {});
    t.match(got.text, /Set-Cookie: app=1\r\n/);
    t.notMatch(got.text, /meshgate|evil/i);
  }
});

void t.test('H-20: credentials for the gateway end here; everything else of a Cookie keeps its bytes', async (t) => {
  const { range } = await start(t);
  const random = new Seeded(seed);
  for (let i = 0; i < rounds(40); i++) {
    const kept = Array.from(
      { length: random.below(5) },
      () => `${pick(random, ['a', 'b c', 'x-y', '__Host-app', '__Host-mesh', '"q"'])}=${pick(random, ['1', '', '"x y"', 'a=b', '%20'])}`,
    );
    const parts = [...kept];
    parts.splice(random.below(parts.length + 1), 0, '__Host-meshgate=s1');
    if (random.below(2) === 0) parts.splice(random.below(parts.length + 1), 0, '__Host-meshgate-loginabc=secret');
    for (const got of await range.all({ host: 'b.test', fields: [['Cookie', parts.join('; ')]] })) {
      const cookie = lines(got.upstream[0] ?? '')
        .find((line) => /^cookie:/i.test(line))
        ?.replace(/^cookie: /i, '');
      t.equal(cookie, kept.length === 0 ? undefined : kept.join('; '), parts.join('; '));
    }
    for (const field of [
      ['Authorization', 'Bearer nbp_good'],
      ['X-Meshgate-Token', 'nbp_good'],
      ['x-meshgate-token', 'nbp_good'],
    ] as const) {
      for (const got of await range.all({ host: 'b.test', fields: [field] })) {
        t.equal(got.status, 200);
        t.notMatch(got.upstream[0], /nbp_good/);
      }
    }
    if (i > 4) break;
  }
});
