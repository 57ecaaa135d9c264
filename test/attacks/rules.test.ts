// Access rules under attack: what is denied by its path stays out of reach however it is spelled and whoever reads it, over every way in; what a
// visitor may not have tells nothing of itself; and a change of policy leaves no moment without one.
import { posix } from 'node:path';
import t, { type Test } from 'tap';
import { type AccessPolicy, type AccessRule, anything, plainAccess, signInProofs } from '#model/access.ts';
import type { ServiceId, SessionId } from '#model/ids.ts';
import type { SessionLookup } from '#model/identity.ts';
import { mapping, path, session } from '../publish/harness.ts';
import { Seeded } from '../support/hostile.ts';
import { pick, Range, rounds, seed, startRecorder, targetOf, type Recorder } from './harness.ts';
import { secret, startTwins, type Twin } from './twins.ts';

const rule = (name: string, action: AccessRule['action'], when: Partial<AccessRule['when']>): AccessRule => ({
  name,
  action,
  observe: false,
  when: { ...anything, ...when },
  proofs: [],
});

/** The fixture of the rows P: `/admin` denied, `/public` open, everything else for who has signed in. */
const policy: AccessPolicy = {
  ...plainAccess,
  proofs: signInProofs,
  rules: [rule('no-admin', 'deny', { paths: ['/admin'] }), rule('open', 'bypass', { paths: ['/public'] })],
};

const hostOf = (twin: Twin): string => `${twin.name.replaceAll(/[^a-z]/g, '')}.wild.test`;
const cookie = [['Cookie', '__Host-meshgate=s1']] as const;

async function start(t: Test): Promise<{ range: Range; app: Recorder; twins: readonly Twin[] }> {
  const app = await startRecorder(t);
  const twins = (await startTwins(t)).filter(({ tells }) => tells === 'files');
  const mappings = [
    mapping('a.test', [path(app.port)], { access: policy }),
    ...twins.map((twin) => mapping(hostOf(twin), [path(twin.port)], { access: policy })),
  ];
  const range = await Range.start(t, mappings, [app]);
  for (const fixture of [range.direct, range.behind]) {
    // Whichever service asks: the session is its own.
    fixture.identity.findSession = (value: SessionId, serviceId?: ServiceId): SessionLookup =>
      String(value) === 's1' && serviceId !== undefined ? { kind: 'live', session: session('s1', serviceId) } : { kind: 'none', why: 'unknown' };
  }
  return { range, app, twins };
}

/** Every plain path that some server could make of this one, written down apart from what the product does. */
function readings(target: string): string[] {
  const out: string[] = [];
  let text = target.split('?')[0] ?? '';
  for (let round = 0; round < 3; round++) {
    for (const cut of [text, text.replaceAll(/;[^/\\]*/g, ''), text.replaceAll(/\0[^/\\]*| +(?=[/\\]|$)/g, '')]) {
      const slashed = cut.replaceAll('\\', '/');
      for (const plain of [posix.normalize(cut), posix.normalize(slashed), new URL(`http://x/${cut.replace(/^\/+/, '')}`).pathname])
        out.push(plain, plain.toLowerCase(), plain.toLowerCase().replaceAll(/(?:::\$data|[. ])+(?=\/|$)/g, ''));
    }
    text = text.replaceAll(/%([0-9a-f]{2})/gi, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  }
  return out;
}

const isBelow = (reading: string, prefix: string): boolean => reading === prefix || reading.startsWith(`${prefix}/`);

function spelled(random: Seeded, text: string): string {
  return Array.from(text, (char) => {
    const hex = char.charCodeAt(0).toString(16);
    return random.below(3) === 0 ? pick(random, [char.toUpperCase(), `%${hex}`, `%${hex.toUpperCase()}`, `%25${hex}`]) : char;
  }).join('');
}

const slash = (random: Seeded): string => pick(random, ['/', '/', '//', '%2f', '%2F', '%5c', '\\', '%252f', '/./', '/;/', '/%2e/', '/;x=1/']);
const up = (random: Seeded): string =>
  pick(random, ['..', '%2e%2e', '%2E.', '.%2e', '..;', '..;a=b', '%252e%252e', '%2e%2e%3b', '..%00', '%2e%2e%20']);
const ending = (random: Seeded): string => pick(random, ['', '', '/', '.', '%20', '%00', '::$DATA', ';.css', '%2e', '/index.html', '?x=/public']);

/** Ways to say `/admin`, straight or from below `/public`. */
function trick(random: Seeded): string {
  const admin = random.below(2) === 0 ? 'admin' : spelled(random, 'admin');
  const begin = pick(random, ['', '', '/public', `/${spelled(random, 'public')}`, '/x']);
  const between = Array.from({ length: random.below(3) }, () => slash(random) + pick(random, [up(random), 'x', '.'])).join('');
  const out = begin === '' ? '' : slash(random) + up(random);
  const target = `${begin}${between}${out}${pick(random, ['/', slash(random)])}${admin}${ending(random)}`;
  return target.startsWith('/') ? target : `/${target}`;
}

void t.test('rules about paths, over the rows P-1 to P-13 at once', async (t) => {
  const { range, app, twins } = await start(t);
  const random = new Seeded(seed);
  let open = 0;
  let signedIn = 0;
  let denied = 0;
  for (let i = 0; i < rounds(250); i++) {
    const target = trick(random);
    for (const [fields, may] of [
      [[], 'open'],
      [cookie, 'signed in'],
    ] as const) {
      app.clear();
      const got = await range.ask(pick(random, ['h1 direct', 'h1 behind', 'h2 direct', 'h2 behind']), { target, fields });
      const [request] = app.requests;
      if (request === undefined) {
        if (![400, 401, 403].includes(got.status)) t.fail(`${got.status} ${target}`);
        if (got.status === 403) denied++;
        continue;
      }
      // Bytes as sent, and nothing that anybody reads as the admins'.
      if (targetOf(request) !== target) t.fail(`${targetOf(request)} is not ${target}`);
      const all = readings(target);
      if (all.some((reading) => isBelow(reading, '/admin'))) t.fail(`${may}: ${target} reached the upstream`);
      if (may === 'open' && !all.every((reading) => isBelow(reading, '/public'))) t.fail(`without a proof: ${target}`);
      if (may === 'open') open++;
      else signedIn++;
    }
    for (const twin of twins) {
      const got = await range.ask(pick(random, ['h1 direct', 'h2 behind']), {
        target,
        host: hostOf(twin),
        serverName: hostOf(twin),
        fields: pick(random, [[], cookie]),
      });
      if (got.text.includes(secret)) t.fail(`${twin.name} gave the secret for ${target}`);
    }
  }
  t.comment(`figure: of ${rounds(250)} paths ${open} passed without a proof, ${signedIn} signed in, ${denied} answers were 403`);
  t.ok(denied > 0);
  for (const twin of twins) {
    const at = { host: hostOf(twin), serverName: hostOf(twin) };
    t.equal((await range.ask('h1 direct', { ...at, target: '/public/' })).status, 200, `${twin.name} serves what is open`);
    const stopped = await range.ask('h1 direct', { ...at, target: '/admin/', fields: cookie });
    t.same([stopped.status, stopped.text.includes(secret)], [403, false]);
  }
});

void t.test('rules about paths let honest ones be, byte for byte', async (t) => {
  const { range, app } = await start(t);
  for (const target of [
    '/public',
    '/public/',
    '/public/a%20b',
    '/public/x/../y',
    '/public/%E2%82%AC?x=/admin',
    '/public/a;b',
    '/public/a.b',
    '/public/A%2Fb',
  ]) {
    app.clear();
    for (const got of await range.all({ target })) t.same([got.status, targetOf(got.upstream[0] ?? '')], [200, target], got.variant);
  }
  for (const target of ['/', '/administrator', '/group%2Fproject', '//cdn/x', '/a?x=/admin', '/x%zz']) {
    for (const got of await range.all({ target })) t.equal(got.status, 401, target);
    for (const got of await range.all({ target, fields: cookie })) t.same([got.status, targetOf(got.upstream[0] ?? '')], [200, target], got.variant);
  }
});

void t.test('rules about methods, as row P-19 has them', async (t) => {
  const app = await startRecorder(t);
  const access = { ...plainAccess, rules: [rule('read', 'bypass', { methods: ['GET', 'HEAD'] })], otherwise: 'deny' } as const;
  const range = await Range.start(t, [mapping('a.test', [path(app.port)], { access })], [app]);
  for (const got of await range.all({ method: 'GET', fields: [['X-HTTP-Method-Override', 'DELETE']] })) {
    t.equal(got.status, 200);
    t.notMatch(got.upstream[0], /DELETE/);
  }
  app.clear();
  for (const method of ['DELETE', 'POST', 'PROPFIND', 'GETX', 'BREW']) {
    for (const got of await range.all({
      method,
      fields: [
        ['X-HTTP-Method-Override', 'GET'],
        ['X-Method-Override', 'GET'],
      ],
    }))
      t.equal(got.status, 403, method);
  }
  t.equal(app.bytes(), 0);
});

void t.test('M-7: overlapping rules, an empty list, and a data base that is not there', async (t) => {
  const app = await startRecorder(t);
  const cases: readonly [Partial<AccessPolicy>, number, string][] = [
    [{ rules: [rule('a', 'bypass', { paths: ['/'] }), rule('b', 'deny', { paths: ['/'] })] }, 200, 'a'],
    [{ rules: [rule('b', 'deny', { paths: ['/'] }), rule('a', 'bypass', { paths: ['/'] })] }, 403, 'b'],
    [{ rules: [], otherwise: 'deny' }, 403, 'otherwise'],
    [{ rules: [rule('land', 'deny', { countries: ['FR'] })] }, 403, 'land'],
    [{ rules: [rule('land', 'bypass', { countries: ['DE'] })], otherwise: 'deny' }, 403, 'otherwise'],
    [{ rules: [rule('as', 'deny', { networks: [64_500] })] }, 403, 'as'],
  ];
  for (const [change, status, name] of cases) {
    const range = await Range.start(t, [mapping('a.test', [path(app.port)], { access: { ...plainAccess, ...change } })], [app]);
    app.clear();
    for (const got of await range.all({})) t.equal(got.status, status, name);
    t.equal(app.requests.length, status === 200 ? 4 : 0);
    t.match(range.direct.entries.at(-1), { rule: name, reason: status === 200 ? 'bypass' : 'rule_denied' });
  }
});

void t.test('M-9: while a policy changes, each request is judged by the old or by the new one', async (t) => {
  const app = await startRecorder(t);
  const versions = ['a', 'b'].map((name) =>
    mapping('a.test', [path(app.port)], {
      access: { ...plainAccess, rules: [rule(name, 'deny', { paths: ['/admin'] }), rule('x', 'bypass', { paths: [`/${name}`] })], otherwise: 'deny' },
    }),
  );
  const range = await Range.start(t, versions.slice(0, 1), [app]);
  const counts = { denied: 0, passed: 0 };
  for (let i = 0; i < rounds(60); i++) {
    const ask = async (target: string): Promise<number> => (await range.ask('h2 direct', { target })).status;
    const asked = ['/admin', '/a', '/b'].map(ask);
    if (i % 3 === 0) range.direct.setRoutes(versions.slice(i % 2, (i % 2) + 1));
    const [admin, a, b] = await Promise.all(asked);
    if (admin !== 403) t.fail(`the denied path got ${admin}`);
    if (a === 200 && b === 200 && i % 3 !== 0) t.fail('both versions at once');
    counts.denied += [admin, a, b].filter((status) => status === 403).length;
    counts.passed += [a, b].filter((status) => status === 200).length;
  }
  t.ok(counts.passed > 0 && counts.denied > 0);
  for (const request of app.requests) t.notMatch(targetOf(request), /admin/);
});

void t.test('L-9: who may not have a service cannot tell whether it is there', async (t) => {
  const app = await startRecorder(t);
  const gone = await startRecorder(t);
  const offline = { ...path(gone.port), targets: [{ protocol: 'http', host: '127.0.0.1', port: 1, basePath: '', weight: 1 } as const] };
  for (const access of [{ ...plainAccess, otherwise: 'deny' }, policy] as const) {
    const range = await Range.start(t, [mapping('a.test', [path(app.port)], { access }), mapping('b.test', [offline], { access })], [app]);
    const answers = async (host: string): Promise<string[]> =>
      (await range.all({ host, target: '/x' })).map(({ status, text }) => `${status} ${text.replaceAll(/"id":"[^"]*"|Date: [^\r]*/g, '')}`);
    t.same(await answers('b.test'), await answers('a.test'), 'online and offline are one answer');
    const times = async (host: string): Promise<number> => {
      const each: number[] = [];
      for (let i = 0; i < 40; i++) {
        const begun = performance.now();
        await range.ask('h1 direct', { host, target: '/x' });
        each.push(performance.now() - begun);
      }
      return each.toSorted((x, y) => x - y)[20] ?? 0;
    };
    const [on, off] = [await times('a.test'), await times('b.test')];
    t.comment(`figure: refused in ${on.toFixed(2)} ms where the target is there, in ${off.toFixed(2)} ms where it is not`);
    t.ok(Math.abs(on - off) < 5, 'nobody has dialled');
  }
  t.equal(app.bytes(), 0);
});
