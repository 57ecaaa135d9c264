import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import { discoveryFileBytes, discoveryPollMs, maxFileServices } from '../../src/agent/constants.ts';
import { FileDiscovery } from '../../src/agent/discovery/file.ts';
import { parseServicesFile } from '../../src/agent/discovery/services-file.ts';
import type { FoundWish } from '../../src/agent/discovery/wanted.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { until } from '../support/until.ts';

const none = (): undefined => undefined;

function problemsOf(text: string): readonly string[] {
  const parsed = parseServicesFile(text, none);
  return parsed.ok ? [] : parsed.problems;
}

void t.test('YAML and JSON say the same', async (t) => {
  const yaml = `
services:
  - target: 3000
    domain: web.apps.example.com
  - target: 10.0.0.5:5432
    protocol: tcp
    listenPort: 15432
    groups: [developers, "on call"]
    expires: 2h
  - target: localhost:8443
    protocol: https
    public: true
  - target: 9000
    passwordFile: pw
`;
  const json = JSON.stringify({
    services: [
      { target: '3000', domain: 'web.apps.example.com' },
      { target: '10.0.0.5:5432', protocol: 'tcp', listenPort: 15_432, groups: ['developers', 'on call'], expires: '2h' },
      { target: 'localhost:8443', protocol: 'https', public: true },
      { target: 9000, passwordFile: 'pw' },
    ],
  });
  const secret = (path: string): string | undefined => (path === 'pw' ? 'long enough' : undefined);
  const read = parseServicesFile(yaml, secret);
  t.same(read, parseServicesFile(json, secret));
  t.match(read.ok ? [...read.wishes.values()] : [], [
    {
      target: { host: '127.0.0.1', port: 3000 },
      remote: false,
      request: { place: { kind: 'exact', domain: 'web.apps.example.com' }, access: { kind: 'proof', signIn: true } },
    },
    {
      target: { host: '10.0.0.5', port: 5432 },
      remote: true,
      request: { listenPort: 15_432, endsAfterMs: 7_200_000, access: { groups: ['developers', 'on call'] } },
    },
    { target: { host: 'localhost', port: 8443 }, remote: false, request: { access: { kind: 'public' } } },
    { request: { access: { kind: 'proof', signIn: false, password: 'long enough' } } },
  ]);
  for (const empty of ['', 'services:', '# nothing', '{}']) t.match(parseServicesFile(empty, none), { ok: true, wishes: new Map() }, empty);
});

void t.test('what is wrong is named with its line', async (t) => {
  t.match(problemsOf('services:\n  - target: 3000\n    prot: http\n'), [/^line 3, column 5: services\[0\]\.prot /]);
  t.match(problemsOf('services:\n  - target: 3000\n  - protocol: http\n'), [/^line 3, column 5: services\[1\]\.target is missing/]);
  t.match(problemsOf('services:\n  - target: nowhere\n'), [/^line 2, column 5: services\[0\]\.target must be a port or host:port/]);
  t.match(problemsOf('services:\n  - {target: 1, public: true, sso: true}\n'), [
    /^line 2, column 5: services\[0\] is public and asks for something at once/,
  ]);
  t.match(problemsOf('services:\n  - target: 1\n    passwordFile: gone\n'), [/^line 3, column 5: services\[0\]\.passwordFile cannot be read/]);
  t.match(problemsOf('services:\n  - target: [\n'), [/^line \d/]);
  t.match(
    problemsOf('{"services": [{"target": 1},\n {"target": 2, "password": "x"}]}'),
    [/^line 2, column 16: services\[1\]\.password /],
    'no secrets in it',
  );
  t.match(problemsOf('service: []'), [/^line 1, column 1: service /]);
  t.match(problemsOf('services: [{target: 1}]\nservices: []'), [/^line 2/], 'twice');
  t.ok(problemsOf(`services: [${'{target: 1}, '.repeat(maxFileServices + 1)}]`).length > 0);
  const bomb = `a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [${'*a, '.repeat(20)}]\nc: &c [${'*b, '.repeat(20)}]\nservices: [${'*c, '.repeat(20)}]`;
  t.ok(problemsOf(bomb).length > 0, 'aliases that multiply');
});

void t.test('the file is watched: changes are taken over, a wrong one changes nothing and is put right', async (t) => {
  const folder = t.testdir({});
  const path = join(folder, 'services.yaml');
  const clock = new ManualClock();
  const applied: number[][] = [];
  const wanted = {
    size: 0,
    apply: async (wishes: ReadonlyMap<string, FoundWish>) => {
      wanted.size = wishes.size;
      applied.push([...wishes.values()].map(({ target }) => target.port));
    },
  };
  const discovery = new FileDiscovery(path, wanted, { clock, log: silentLogger });
  t.teardown(() => discovery.close());
  const looks = (what: string, fits: () => boolean): Promise<number> =>
    until(what, () => {
      if (clock.pending > 0) clock.advance(discoveryPollMs);
      return fits();
    });
  await looks('there is none', () => discovery.status().problem === 'there is no such file');
  await writeFile(path, 'services: [{target: 1}, {target: 2}]');
  await looks('it is taken over', () => applied.length === 1);
  t.same(applied, [[1, 2]]);
  t.same(discovery.status(), { source: path, services: 2, problem: '' });
  await writeFile(path, 'services: [{target: 1}, {targe: 2}]');
  await looks('it is told', () => discovery.status().problem !== '');
  t.match(discovery.status(), { services: 2, problem: /line 1, column 26: services\[1\]/ });
  await writeFile(`${path}.new`, 'services: [{target: 3}]');
  await rename(`${path}.new`, path);
  await looks('an editor’s way to save', () => applied.length === 2);
  t.same(discovery.status(), { source: path, services: 1, problem: '' });
  await mkdir(join(folder, 'v2'));
  await writeFile(join(folder, 'v2', 'services.yaml'), 'services: [{target: 4}]');
  await rm(path);
  await symlink(join('v2', 'services.yaml'), path);
  await looks('a link that leads elsewhere now', () => applied.length === 3);
  await writeFile(path, '#'.repeat(discoveryFileBytes + 1));
  await looks('too large', () => /larger/.test(discovery.status().problem));
  await rm(path);
  await looks('it is gone', () => discovery.status().problem === 'there is no such file');
  t.same(applied.at(-1), [4], 'and what was before goes on');
});
