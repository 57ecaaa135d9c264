// What a gateway serves follows the control plane's stream, and survives without it.
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { silentLogger } from '#lib/log.ts';
import { asId, type ServiceId } from '#model/ids.ts';
import { Mappings, type MappingSet } from '../../src/gateway/routes/mappings.ts';
import { mapping } from './mappings.ts';

async function open(
  t: Test,
  directory?: string,
): Promise<{ readonly mappings: Mappings; readonly seen: MappingSet[]; readonly gone: string[]; readonly directory: string }> {
  const folder = directory ?? (await mkdtemp(join(tmpdir(), 'mg-')));
  if (directory === undefined) t.teardown(() => rm(folder, { recursive: true, force: true }));
  const seen: MappingSet[] = [];
  const gone: string[] = [];
  const mappings = new Mappings(folder, silentLogger, (now, lost) => {
    seen.push(now);
    gone.push(...lost.map(({ id }) => id));
  });
  return { mappings, seen, gone, directory: folder };
}

const ids = (set: MappingSet): string[] => [...set.keys()].toSorted();

void t.test('a snapshot is the whole truth: what it does not bring is gone, but not before it is complete', async (t) => {
  const { mappings, gone } = await open(t);
  for (const id of ['a', 'b']) await mappings.apply({ kind: 'set', mapping: mapping(id) });
  await mappings.apply({ kind: 'snapshot-begin' });
  await mappings.apply({ kind: 'set', mapping: mapping('b') });
  await mappings.apply({ kind: 'set', mapping: mapping('c') });
  t.same(ids(mappings.current), ['a', 'b', 'c']);
  await mappings.apply({ kind: 'snapshot-complete' });
  t.same(ids(mappings.current), ['b', 'c']);
  t.same(gone, ['a']);
});

void t.test('a change between snapshots touches only its own service, and swaps the set whole', async (t) => {
  const { mappings, seen } = await open(t);
  await mappings.apply({ kind: 'set', mapping: mapping('a') });
  const before = mappings.current;
  await mappings.apply({ kind: 'set', mapping: mapping('b') });
  t.same(ids(before), ['a'], 'who holds the old set sees no change');
  await mappings.apply({ kind: 'remove', id: asId<ServiceId>('a') });
  t.same(ids(mappings.current), ['b']);
  t.equal(mappings.current, seen.at(-1));
});

void t.test('the last good set is on disk when a change is acknowledged, without one-time tokens, for its owner only', async (t) => {
  const { mappings, directory } = await open(t);
  await mappings.apply({ kind: 'set', mapping: mapping('a') });
  const file = join(directory, 'mappings.json');
  t.notMatch(await readFile(file, 'utf8'), /once-a/);
  t.equal((await stat(file)).mode & 0o777, 0o600);
  const again = await open(t, directory);
  await again.mappings.load();
  t.same(ids(again.mappings.current), ['a']);
});

void t.test('a damaged or foreign file is not served', async (t) => {
  const { mappings, directory } = await open(t);
  for (const text of ['{', '[]', '{"formatVersion":99,"mappings":[]}', '{"formatVersion":1}']) {
    await writeFile(join(directory, 'mappings.json'), text);
    await mappings.load();
    t.equal(mappings.current.size, 0, text);
  }
});
