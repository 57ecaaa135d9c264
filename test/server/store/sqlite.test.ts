import { statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import { openDatabase } from '../../../src/server/store/store.ts';
import { SerialQueue } from '../../../src/server/store/serial-queue.ts';
import { accessContract } from './access-contract.ts';
import { engineContract, storeContract } from './contract.ts';

let count = 0;
const folder = t.testdir();
const fresh = async (): Promise<string> => `sqlite:${join(folder, `${++count}`, 'server.db')}`;

t.test('SQLite as an engine', async (t) => engineContract(t, fresh));
t.test('the tables over SQLite', async (t) => storeContract(t, fresh));
t.test('identity and access over SQLite', async (t) => accessContract(t, fresh));

t.test('the file is for its owner only, and for one process at a time', async (t) => {
  const url = await fresh();
  const database = await openDatabase(url, silentLogger);
  const path = url.slice('sqlite:'.length);
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.equal(statSync(`${path}-wal`).mode & 0o777, 0o600);
  await t.rejects(openDatabase(url, silentLogger), { code: 'STORE_IN_USE' });
  await database.close();
});

t.test('a URL of another kind is refused', async (t) => {
  for (const url of ['', 'sqlite:', 'mysql://x', '/var/lib/x.db'])
    await t.rejects(openDatabase(url, silentLogger), { code: 'STORE_URL_INVALID' }, url);
});

t.test('writers that may wait have a limit', async (t) => {
  const queue = new SerialQueue(2);
  const gate = Promise.withResolvers<void>();
  const running = [queue.run(() => gate.promise), queue.run(async () => undefined)];
  await t.rejects(
    queue.run(async () => undefined),
    { code: 'STORE_BUSY' },
  );
  gate.resolve();
  await Promise.all(running);
  t.equal(await queue.run(async () => 'again'), 'again');
});
