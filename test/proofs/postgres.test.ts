// Typed proofs, credentials, share links and devices over PostgreSQL: the same suites as over SQLite, each front door with a database of its own.
import t from 'tap';
import { overStores } from '../server/domain/support.ts';
import { postgresMissing, startPostgres } from '../server/store/postgres-cluster.ts';

const missing = postgresMissing();
if (missing === undefined) {
  const cluster = await startPostgres();
  t.teardown(() => cluster.stop());
  let databases = 0;
  overStores(async () => {
    databases++;
    return await cluster.createDatabase();
  });
  await import('./credentials.test.ts');
  await import('./links.test.ts');
  await import('./typed.test.ts');
  t.test('they had databases of PostgreSQL', async (t) => void t.ok(databases >= 20, `${databases}`));
} else {
  t.test('PostgreSQL', { skip: missing }, async () => undefined);
}
