// `meshgate policy test`: one question at a time, files of expectations, and a service as the server has it.
import { join } from 'node:path';
import { writeFile } from 'node:fs/promises';
import t from 'tap';
import { withApi } from '../server/api/client.ts';
import { run, type Outcome } from './fake-io.ts';

const service = {
  name: 'app',
  auth: { bearer_auth: { enabled: true, distribution_groups: [] } },
  access: {
    rules: [
      { name: 'no admin at night', action: 'deny', when: { paths: ['/admin'], times: [{ from: '20:00', to: '06:00', time_zone: 'Europe/Berlin' }] } },
      { name: 'watched', action: 'deny', observe: true, when: { countries: ['FR'] } },
      { name: 'health', action: 'bypass', when: { paths: ['/healthz'], methods: ['GET'] } },
      { name: 'staff', action: 'allow', when: { groups: ['g-staff'], claims: [{ name: 'dept', value: 'it' }] } },
      { name: 'root', action: 'allow', when: { users: ['root@example.test'] }, proofs: [['oidc', 'certificate']] },
    ],
    otherwise: 'deny',
  },
};

void t.test('a policy in a file, asked one thing at a time', async (t) => {
  const file = join(t.testdir({}), 'app.json');
  await writeFile(file, JSON.stringify(service));
  const ask = (...args: string[]): Promise<Outcome> => run(['policy', 'test', '--file', file, ...args]);
  t.match(await ask('--path', '/healthz', '--from', '192.0.2.1'), { code: 0, out: /^bypass: by "health"\nwould have decided.*"watched"/ });
  t.match(await ask('--path', '/healthz/%2e%2e/admin', '--at', '2026-11-28T23:00:00Z'), { out: /^deny: by "no admin at night"/ });
  t.match(await ask('--path', '/admin', '--at', '2026-11-28T12:00:00Z', '--from', '192.0.2.1', '--country', 'de'), {
    out: 'ask: by "staff"; to be proven: oidc, or token',
  });
  t.match(await ask('--method', 'post', '--path', '/healthz', '--from', '192.0.2.1', '--country', 'DE'), { out: /^ask: by "staff"/ });
  const json = await ask('--path', '/healthz', '--from', '192.0.2.1', '--country', 'DE', '--json');
  t.same(JSON.parse(json.out), { outcome: 'bypass', rule: 'health', observed: [], proofs: [] });
  t.match(await ask('--from', 'here'), { code: 2, err: /not an address/ });
  t.match(await ask('--country', 'DE'), { code: 2, err: /no address/ });
  t.match(await ask('--at', 'noon'), { code: 2, err: /not a time/ });
  t.match(await run(['policy', 'test']), { code: 2, err: /either --service or --file/ });
  await writeFile(file, JSON.stringify({ access: { rules: [{ name: 'x', action: 'permit', when: {} }] } }));
  t.match(await ask(), { code: 1, err: /must be one of allow, deny, bypass/ });
  await writeFile(file, JSON.stringify({ access: { rules: [{ name: 'x', action: 'bypass', when: { users: ['a'] } }] } }));
  t.match(await ask(), { code: 1, err: /use allow/ });
});

void t.test('expectations in a file: the exit code says whether they hold', async (t) => {
  const file = join(t.testdir({}), 'app.json');
  const staff = { user: 'u1', groups: ['g-staff'], claims: { dept: ['it'] } };
  const cases = [
    { path: '/healthz', from: '192.0.2.1', country: 'DE', expect: 'bypass', rule: 'health' },
    { path: '/', from: '192.0.2.1', country: 'DE', expect: 'ask' },
    { path: '/x', as: staff, expect: 'allow', rule: 'staff' },
    { path: '/x', as: { ...staff, claims: { dept: ['hr'] } }, expect: 'deny', rule: 'otherwise' },
    { path: '/x', as: { user: 'u2', email: 'ROOT@example.test', claims: {} }, expect: 'ask', rule: 'root' },
    { path: '/x', as: { user: 'u2', email: 'root@example.test', claims: {}, proofs: ['oidc', 'certificate'] }, expect: 'allow', rule: 'root' },
    { path: '/ADMIN', as: staff, at: '2026-11-28T23:00:00Z', expect: 'deny', rule: 'no admin at night' },
  ];
  await writeFile(file, JSON.stringify({ ...service, cases }));
  t.match(await run(['policy', 'test', '--file', file]), { code: 0, out: /7 as expected, 0 not$/ });
  await writeFile(file, JSON.stringify({ ...service, cases: [...cases, { name: 'the boss', path: '/x', expect: 'allow' }] }));
  const failed = await run(['policy', 'test', '--file', file]);
  t.match(failed, { code: 1, out: /FAILED {2}the boss: ask: by "staff".*, not allow\n7 as expected, 1 not$/ });
  t.equal(JSON.parse((await run(['policy', 'test', '--file', file, '--json'])).out).filter(({ ok }: { ok: boolean }) => !ok).length, 1);
});

void t.test('a service and a user as the server has them', async (t) => {
  const api = await withApi(t.teardown);
  const env = { MESHGATE_API: `http://127.0.0.1:${api.port}`, MESHGATE_TOKEN: api.as.owner.token };
  const cli = (...args: string[]): Promise<Outcome> => run(args, { env });
  const file = join(t.testdir({}), 'app.json');
  const body = {
    domain: 'app.apps.example.com',
    targets: [],
    enabled: true,
    auth: service.auth,
    access: { rules: [{ name: 'mallory', action: 'deny', when: { users: ['owner@example.test'] } }] },
  };
  await writeFile(file, JSON.stringify(body));
  const made = await cli('service', 'create', 'app', '--file', file);
  t.equal(made.code, 0, made.err);
  t.match(await cli('policy', 'test', '--service', 'app'), { code: 0, out: /^ask: by "mallory"; to be proven: oidc, or token/ });
  const [owner] = JSON.parse((await cli('user', 'list', '--json')).out) as { id: string; email: string }[];
  t.match(await cli('policy', 'test', '--service', 'app', '--as', owner?.id ?? ''), {
    code: 0,
    out: owner?.email === 'owner@example.test' ? /^deny: by "mallory"/ : /^allow: no rule decides/,
  });
  t.match(await cli('policy', 'test', '--service', 'app', '--as', 'nobody'), { code: 1, err: /nothing has this name/ });
});
