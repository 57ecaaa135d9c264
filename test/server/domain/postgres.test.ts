// The use cases of access over PostgreSQL: the same suites as over SQLite, each domain with a database of its own. The suites come one after
// another, as each registers with the root test when it is loaded.
import t from 'tap';
import { postgresMissing, startPostgres } from '../store/postgres-cluster.ts';
import { overStores } from './support.ts';

const missing = postgresMissing();
if (missing === undefined) {
  const cluster = await startPostgres();
  t.teardown(() => cluster.stop());
  let databases = 0;
  overStores(async () => {
    databases++;
    return await cluster.createDatabase();
  });
  await import('./access-rules.test.ts');
  await import('./clusters.test.ts');
  await import('./exposures.test.ts');
  await import('./factors.test.ts');
  await import('./issuers.test.ts');
  await import('./limits.test.ts');
  await import('./services.test.ts');
  await import('./sessions.test.ts');
  t.test('they had databases of PostgreSQL', async (t) => void t.ok(databases >= 50, `${databases}`));
} else {
  t.test('PostgreSQL', { skip: missing }, async () => undefined);
}
