import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import { openDatabase, openStore } from '../../../src/server/store/store.ts';
import { accessContract } from './access-contract.ts';
import { engineContract, storeContract } from './contract.ts';
import { postgresMissing, startPostgres } from './postgres-cluster.ts';

const missing = postgresMissing();
if (missing === undefined) {
  const cluster = await startPostgres();
  t.teardown(() => cluster.stop());
  const fresh = (): Promise<string> => cluster.createDatabase();

  await t.test('PostgreSQL as an engine', async (t) => engineContract(t, fresh));
  await t.test('the tables over PostgreSQL', async (t) => storeContract(t, fresh));
  await t.test('identity and access over PostgreSQL', async (t) => accessContract(t, fresh));

  await t.test('writers of several servers come one after another', async (t) => {
    const url = await fresh();
    const [one, two] = [await openStore(url, silentLogger), await openStore(url, silentLogger)];
    const turns = Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? one : two).write(({ account }) => account.next('serial')));
    t.same(
      (await Promise.all(turns)).sort((a, b) => a - b),
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
    await Promise.all([one.close(), two.close()]);
  });

  await t.test('an announcement reaches the other server when the transaction commits, not when it is rolled back', async (t) => {
    const url = await fresh();
    const [one, two] = [await openStore(url, silentLogger), await openStore(url, silentLogger)];
    let woken = 0;
    const first = Promise.withResolvers<void>();
    two.onAnnounced(() => {
      woken++;
      first.resolve();
    });
    await t.rejects(
      one.write(async (_tables, announce) => {
        await announce();
        throw new TypeError('no');
      }),
    );
    await one.write((_tables, announce) => announce());
    await first.promise;
    t.equal(woken, 1);
    await Promise.all([one.close(), two.close()]);
  });

  await t.test('a lost notification connection comes back and wakes', async (t) => {
    const url = await fresh();
    const store = await openStore(url, silentLogger);
    const woken = Promise.withResolvers<void>();
    store.onAnnounced(() => woken.resolve());
    const database = await openDatabase(url, silentLogger);
    const killed = await database.query(
      `SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity WHERE query = 'LISTEN meshgate_changes' AND datname = current_database()
       ORDER BY backend_start LIMIT 1`,
    );
    t.match(killed, [{ done: true }]);
    await woken.promise;
    await Promise.all([store.close(), database.close()]);
  });

  await t.test('a server that cannot be reached is said to be so', async (t) => {
    await t.rejects(openDatabase('postgres://meshgate@127.0.0.1:1/none', silentLogger), { code: 'STORE_UNAVAILABLE' });
  });
} else {
  t.test('PostgreSQL', { skip: missing }, async () => undefined);
}
