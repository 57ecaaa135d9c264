// Attack rows P: a path under one route never reaches what another route publishes, however it is spelled and whoever reads it.
import { posix } from 'node:path';
import t, { type Test } from 'tap';
import { fragmentTargets, pathlessTargets } from '#cli/attack/cases.ts';
import { mapping, path } from '../publish/harness.ts';
import { Seeded } from '../support/hostile.ts';
import { pick, Range, rounds, seed, startRecorder, targetOf, type Recorder } from './harness.ts';
import { secret, startTwins, type Twin } from './twins.ts';

interface Field {
  readonly range: Range;
  readonly open: Recorder;
  readonly admin: Recorder;
  readonly whole: Recorder;
  readonly twins: readonly Twin[];
}

const hostOf = (twin: Twin): string => `${twin.name.replaceAll(/[^a-z]/g, '')}.wild.test`;

/** `/public` and `/admin` on two upstreams; `/public` alone on every twin; a service with one root for what must pass untouched. */
async function start(t: Test): Promise<Field> {
  const open = await startRecorder(t);
  const admin = await startRecorder(t);
  const whole = await startRecorder(t);
  const twins = (await startTwins(t)).filter(({ tells }) => tells === 'files');
  const mappings = [
    mapping('a.test', [path(open.port, { path: '/public' }), path(admin.port, { path: '/admin' })]),
    mapping('b.test', [path(whole.port)]),
    mapping('strip.wild.test', [path(open.port, { path: '/public', pathRewrite: 'strip', basePath: '/inner' })]),
    ...twins.map((twin) => mapping(hostOf(twin), [path(twin.port, { path: '/public' })])),
    ...twins.map((twin) =>
      mapping(`base.${hostOf(twin)}`.replace('.', '-'), [path(twin.port, { path: '/p', pathRewrite: 'strip', basePath: '/public' })]),
    ),
    ...twins.map((twin) => mapping(`new-${hostOf(twin)}`, [path(twin.port, { path: '/p', pathRewrite: { kind: 'replace', prefix: '/public' } })])),
    ...twins.map((twin) =>
      mapping(`re-${hostOf(twin)}`, [path(twin.port, { path: '/p', pathRewrite: { kind: 'regex', pattern: '/(.*)', replacement: '/public/$1' } })]),
    ),
  ];
  return { range: await Range.start(t, mappings, [open, admin, whole]), open, admin, whole, twins };
}

/** Every plain path that some server could make of this one, written down apart from what the product does. */
function readings(target: string): string[] {
  const out: string[] = [];
  let text = target.split('?')[0] ?? '';
  for (let round = 0; round < 3; round++) {
    for (const cut of [text, text.replaceAll(/;[^/\\]*/g, ''), text.replaceAll(/\0[^/\\]*| +(?=[/\\]|$)/g, '')]) {
      const slashed = cut.replaceAll('\\', '/');
      out.push(posix.normalize(cut), posix.normalize(slashed), new URL(`http://x/${cut.replace(/^\/+/, '')}`).pathname);
    }
    text = text.replaceAll(/%([0-9a-f]{2})/gi, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  }
  return out;
}

/** One character in one of the ways to write it. */
function spelled(random: Seeded, char: string): string {
  const hex = char.charCodeAt(0).toString(16);
  return pick(random, [char, char, `%${hex}`, `%${hex.toUpperCase()}`, `%25${hex}`]);
}

function word(random: Seeded, text: string): string {
  return Array.from(text, (char) => (random.below(3) === 0 ? spelled(random, char) : char)).join('');
}

const slash = (random: Seeded): string =>
  pick(random, ['/', '/', '%2f', '%2F', '%5c', '\\', '//', '%252f', '/./', '/;/', '/%2e/', '/;x=1/', '%5C%2f']);
const up = (random: Seeded): string =>
  pick(random, ['..', '..', '%2e%2e', '%2E.', '.%2e', '..;', '..;a=b', '%252e%252e', '%2e%2e%3b', '..%00', '%2e%2e%20']);

/** Each row's own way to write `/admin` from below `/public`. */
const rows: readonly { readonly id: string; readonly what: string; readonly make: (random: Seeded) => string }[] = [
  { id: 'P-1', what: 'plain dot segments', make: (random) => `/public/${'x/'.repeat(random.below(3))}${'../'.repeat(1 + random.below(4))}admin/` },
  {
    id: 'P-2',
    what: 'encoded dots',
    make: (random) => `/public/${pick(random, ['%2e%2e', '%2E.', '.%2e', '%2E%2e'])}/${pick(random, ['', './', '%2e/'])}admin/index.html`,
  },
  {
    id: 'P-3',
    what: 'encoded slashes',
    make: (random) => `/public/..${pick(random, ['%2f', '%2F', '%5c', '%5C', '\\', '%252f', '%255c'])}admin${pick(random, ['/', '%2f'])}index.html`,
  },
  {
    id: 'P-4',
    what: 'empty and single-dot segments',
    make: (random) => `${pick(random, ['/public//', '//', '/./', '/public/.//', '///', '/public/./'])}${pick(random, ['', '../', '..//'])}admin/`,
  },
  {
    id: 'P-3',
    what: 'a backslash that is a letter to some, so that dots take back more',
    make: (random) =>
      `/public/${Array.from({ length: 1 + random.below(3) }, () => pick(random, ['a\\b', 'a%5cb', '\\', 'a%255cb', 'x;y\\z', ';\\;'])).join('/')}/${'../'.repeat(1 + random.below(5))}admin/`,
  },
  {
    id: 'P-4',
    what: 'empty segments that are kept by some, so that dots take back less',
    make: (random) =>
      `/public/${pick(random, ['x//', 'x/;/', '/', 'x///', 'x/./', ';a/'])}${pick(random, ['', 'y/', '/', ';/'])}${'../'.repeat(1 + random.below(4))}${pick(random, ['admin/', 'public/../admin/', '/admin/'])}`,
  },
  { id: 'P-6', what: 'encoded letters, once and twice', make: (random) => `/${word(random, 'public')}/../${word(random, 'admin')}/` },
  {
    id: 'P-7',
    what: 'letter case',
    make: (random) => `/${pick(random, ['public', 'PUBLIC', '%50ublic'])}/${up(random)}/${pick(random, ['ADMIN', 'Admin', '%41dmin', '%41DMIN'])}/`,
  },
  {
    id: 'P-9',
    what: 'endings that some server ignores',
    make: (random) => `/public/${up(random)}/admin${pick(random, ['.', '%20', '%00', '::$DATA', '/.', '%2e', ';.css', '%0a', '%09', '..', '+'])}`,
  },
  {
    id: 'P-2',
    what: 'all of it at random',
    make: (random) =>
      `/public${Array.from({ length: 1 + random.below(4) }, () => slash(random) + pick(random, [up(random), 'x', word(random, 'a')])).join('')}${slash(random)}${up(random)}${slash(random)}${word(random, 'admin')}`,
  },
];

void t.test('paths of two readings', async (t) => {
  const { range, open, admin, twins } = await start(t);
  for (const { id, what, make } of rows) {
    await t.test(`${id}: ${what}`, async (t) => {
      const random = new Seeded(seed);
      open.clear();
      admin.clear();
      let passed = 0;
      for (let i = 0; i < rounds(30); i++) {
        const target = make(random);
        for (const host of ['a.test', 'strip.wild.test']) {
          for (const got of await range.all({ target, host, serverName: host })) {
            if (got.status !== 200 && got.status !== 404 && got.status !== 400 && got.upstream.length > 0) t.fail(`${got.status} ${target}`);
          }
        }
        for (const twin of twins) {
          for (const [host, asked] of [
            [hostOf(twin), target],
            ...['base-', 'new-', 're-'].map((before) => [before + hostOf(twin), target.replace(/^\/public/, '/p')] as const),
          ] as const) {
            const got = await range.ask(pick(random, ['h1 direct', 'h1 behind', 'h2 direct', 'h2 behind']), {
              target: asked,
              host,
              serverName: host,
            });
            if (got.text.includes(secret)) t.fail(`${twin.name} gave the secret for ${asked}`);
            if (got.status === 200) passed++;
          }
        }
      }
      for (const request of admin.requests) t.match(targetOf(request), /^\/admin(?:\/|$|\?)/, 'only what says /admin as it is');
      for (const request of open.requests) {
        const target = targetOf(request);
        const home = target.startsWith('/inner') ? '/inner' : '/public';
        const strayed = readings(target).filter((reading) => reading !== home && !reading.startsWith(`${home}/`));
        t.same(strayed, [], target);
      }
      t.comment(`figure: ${open.requests.length} of ${rounds(30) * 8} passed to the open upstream, ${passed} to twins`);
    });
  }
  for (const twin of twins) {
    const got = await range.ask('h1 direct', { target: '/public/', host: hostOf(twin), serverName: hostOf(twin) });
    t.equal(got.status, 200, `${twin.name} serves what is open`);
  }
});

void t.test('plain rules of targets', async (t) => {
  const { range, open, admin, whole } = await start(t);
  const random = new Seeded(seed);
  const clear = (): void => {
    for (const recorder of [open, admin, whole]) recorder.clear();
  };

  await t.test('P-10: a raw fragment is refused', async (t) => {
    clear();
    for (let i = 0; i < rounds(20); i++) {
      const text = pick(random, fragmentTargets);
      for (const got of await range.all({ target: text })) t.ok(got.status === 400 || got.status === 0, `${got.variant} ${text} ${got.status}`);
    }
    t.ok(await range.quiet());
    t.same([open.bytes(), admin.bytes()], [0, 0]);
  });

  await t.test('P-11: only the path chooses the route, never query or fragment', async (t) => {
    for (let i = 0; i < rounds(10); i++) {
      const query = pick(random, ['x=/public', '/public', 'x=/../public', '%2f..%2fpublic', '/admin/../public', '?/public', 'a&b=//x']);
      for (const got of await range.all({ target: `/admin?${query}` })) t.equal(targetOf(got.upstream[0] ?? ''), `/admin?${query}`);
      clear();
      for (const got of await range.all({ target: `/public?x=/../admin&${query}` })) t.equal(got.upstream.length, 1);
      t.same([open.requests.length, admin.requests.length], [4, 0]);
    }
  });

  await t.test('P-13: a prefix ends at a segment', async (t) => {
    clear();
    for (let i = 0; i < rounds(20); i++) {
      const text = `/${pick(random, ['public', 'admin'])}${pick(random, ['x', '%2fx', ';', ';x=1', '.', '%20', '-', '%00', '\\x', '_', '%3f', '%5c'])}`;
      for (const got of await range.all({ target: text })) t.equal(got.status, 404, `${got.variant} ${text}`);
    }
    t.same([open.bytes(), admin.bytes()], [0, 0]);
  });

  await t.test('P-14: absolute-form names the same host or is refused', async (t) => {
    clear();
    for (const other of ['b.test', 'a.test.evil.test', 'evil@a.test', 'a.test@evil', 'a.test:80@evil.test', '', 'a..test', 'xa.test']) {
      for (const variant of ['h1 direct', 'h1 behind'] as const) {
        const got = await range.ask(variant, { target: `http://${other}/admin` });
        t.equal(got.status, 400, other);
      }
    }
    t.same([open.bytes(), admin.bytes()], [0, 0]);
    for (const same of ['http://a.test/admin', 'https://A.TEST.:443/admin', 'HTTP://a.test/admin']) {
      const got = await range.ask('h1 direct', { target: same });
      t.equal(targetOf(got.upstream[0] ?? ''), '/admin', 'goes on in origin-form');
      t.match(got.upstream[0], /\r\nHost: a\.test\r\n/);
    }
    const climb = await range.ask('h1 direct', { target: 'http://a.test/public/../admin' });
    t.same([climb.status, climb.upstream.length], [404, 0]);
  });

  await t.test('P-15: targets that are no path fall back to nothing', async (t) => {
    clear();
    for (const target of pathlessTargets) {
      for (const got of await range.all({ target }))
        t.ok([0, 400].includes(got.status) || (target === '*' && got.status === 405), `${got.variant} ${target} ${got.status}`);
    }
    for (const got of await range.all({ target: '*', method: 'OPTIONS' })) t.equal(got.status, 405);
    const empty = await range.h1('h1 direct', 'GET  HTTP/1.1\r\nHost: a.test\r\n\r\n');
    t.equal(empty.status, 400);
    t.ok(await range.quiet());
    t.same([open.bytes(), admin.bytes(), whole.bytes()], [0, 0, 0]);
  });

  await t.test('P-17: odd paths of honest applications pass byte for byte', async (t) => {
    const odd = [
      '/group%2Fproject',
      '//cdn/x',
      '/a/',
      '/x;jsessionid=1A',
      '/a%20b',
      '/%E2%82%AC',
      '/a%zz',
      '/%',
      '/a/../b',
      '/..',
      '/a\\b',
      '/a|b',
      '/{x}',
      '/[1]',
      '/"q"',
      '/^',
      '/`',
      `/${'long/'.repeat(1_600)}`,
    ];
    for (let i = 0; i < rounds(40); i++) {
      // Any visible ASCII but the number sign.
      const any = Array.from({ length: 1 + random.below(40) }, () => String.fromCharCode(0x21 + random.below(0x5e)))
        .join('')
        .replaceAll('#', '/');
      const target = i < odd.length ? (odd[i] ?? '/') : `/${any}`;
      for (const got of await range.all({ target, host: 'b.test' })) t.equal(targetOf(got.upstream[0] ?? ''), target, got.variant);
    }
  });

  await t.test('P-19: the method on the wire counts, and some are never forwarded', async (t) => {
    clear();
    for (let i = 0; i < rounds(20); i++) {
      const method = pick(random, ['TRACE', 'TRACK']);
      for (const got of await range.all({ method, target: '/public' })) t.equal(got.status, 405, `${got.variant} ${method}`);
      const odd = pick(random, ['get', 'Get', 'GET2', 'G=T', 'GE T', '', 'PO\u00dfT', 'X'.repeat(33), '-GET']);
      for (const got of await range.all({ method: odd, target: '/public' }))
        t.ok([0, 400].includes(got.status), `${got.variant} ${odd} ${got.status}`);
    }
    t.equal(open.bytes(), 0);
    for (const name of ['X-HTTP-Method-Override', 'x_http_method_override', 'X-Method-Override', 'X-HTTP-Method']) {
      for (const got of await range.all({ method: 'GET', target: '/public', fields: [[name, 'DELETE']] })) {
        t.match(got.upstream[0], /^GET /);
        t.notMatch(got.upstream[0], /DELETE/, name);
      }
    }
    for (const got of await range.all({ method: 'PROPFIND', target: '/public' })) t.match(got.upstream[0], /^PROPFIND /);
  });
});
