// A database that a server wrote before there were share links, devices, proofs and issuers: its rows as they were, opened by this server.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { silentLogger } from '#lib/log.ts';
import { asId } from '#model/ids.ts';
import type { SqlValue } from '../../../src/server/store/database.ts';
import { migrate } from '../../../src/server/store/migrations.ts';
import { openDatabase } from '../../../src/server/store/store.ts';
import { postgresMissing, startPostgres } from '../store/postgres-cluster.ts';
import { openDomain, serviceOf, system } from './support.ts';

/** The schema that the rows are of. */
const version = 5;

async function upgraded(t: Test, storeUrl: string): Promise<void> {
  const database = await openDatabase(storeUrl, silentLogger);
  await migrate(database, version);
  const tables = JSON.parse(await readFile(join(import.meta.dirname, 'before-access.json'), 'utf8')) as Record<string, Record<string, SqlValue>[]>;
  for (const [table, rows] of Object.entries(tables)) {
    for (const row of rows) {
      const names = Object.keys(row);
      await database.execute(`INSERT INTO ${table} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`, Object.values(row));
    }
  }
  t.equal((await database.query('SELECT digest FROM sessions')).length, 1);
  await database.close();

  const { domain } = await openDomain({ storeUrl });
  t.teardown(() => domain.close());
  const services = await domain.services.list();
  t.match(
    services.toSorted((a, b) => a.name.localeCompare(b.name)),
    [
      { name: 'app', domain: 'app.proxy.test', mode: 'http', auth: { oidc: { enabled: true } }, access: { rules: [], otherwise: 'allow' } },
      { name: 'tcp', domain: 'tcp.proxy.test', mode: 'tcp', listenPort: 2_222, auth: { oidc: { enabled: false } } },
    ],
  );
  t.same(await domain.sessions.list(undefined), [], 'people sign in again');
  const [user] = await domain.users.list();
  const app = services.find(({ name }) => name === 'app');
  const [target] = app?.targets ?? [];
  if (user === undefined || app === undefined || target === undefined) throw new TypeError('what was there is gone');
  t.match(await domain.users.checkPassword('owner@example.com', 'correct horse'), { id: user.id });
  const mapping = await domain.services.mapping(app.id, 'proxy.test');
  t.match(mapping, { domain: 'app.proxy.test', access: { proofs: [['oidc'], ['token']] } });

  // The new things over the old rows.
  const input = serviceOf(target.targetId);
  await domain.services.update(
    app.id,
    { ...input, auth: { ...input.auth, link: { enabled: true } }, access: { ...input.access, devices: true } },
    system,
  );
  const { id: session } = await domain.sessions.create(app.id, user.id, 'proxy.test');
  t.match(await domain.devices.pair(session, app.id, 'proxy.test', 'TV'), { secret: /^nbd_/ });
  t.match(await domain.links.create(app.id, { label: 'x', expiresInMs: 60_000, uses: 1 }, system), { link: { uses: 1 } });
  await t.rejects(
    domain.services.create(serviceOf(target.targetId, { name: 'second' }), system),
    { code: 'DOMAIN_SERVICE_DOMAIN_TAKEN' },
    'an old service keeps its place',
  );
  t.equal(await domain.sessions.end(asId('unknown'), 'proxy.test'), undefined);
}

t.test('over SQLite', (t) => upgraded(t, `sqlite:${join(t.testdir(), 'server.db')}`));

const missing = postgresMissing();
if (missing === undefined) {
  const cluster = await startPostgres();
  t.teardown(() => cluster.stop());
  t.test('over PostgreSQL', async (t) => upgraded(t, await cluster.createDatabase()));
} else t.test('over PostgreSQL', { skip: missing }, async () => undefined);
