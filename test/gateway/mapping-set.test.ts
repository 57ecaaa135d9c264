// What a gateway serves follows the control plane's stream, and survives without it.
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { asId, type ServiceId } from '#model/ids.ts';
import { journalLines } from '../../src/gateway/constants.ts';
import { Mappings, type MappingSet } from '../../src/gateway/routes/mappings.ts';
import { mapping } from './mappings.ts';

async function open(t: Test, directory?: string): Promise<{ readonly mappings: Mappings; readonly told: string[]; readonly directory: string }> {
  const folder = directory ?? (await mkdtemp(join(tmpdir(), 'mg-')));
  if (directory === undefined) t.teardown(() => rm(folder, { recursive: true, force: true }));
  const told: string[] = [];
  const mappings = new Mappings(
    folder,
    { clock: systemClock, log: silentLogger },
    {
      set: ({ id }, before) => told.push(`${before === undefined ? 'new' : 'changed'} ${id}`),
      removed: ({ id }) => told.push(`removed ${id}`),
      settled: () => told.push('settled'),
    },
  );
  return { mappings, told, directory: folder };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const ids = (set: MappingSet): string[] => [...set.keys()].toSorted();

void t.test('a snapshot is the whole truth: what it does not bring is gone, but not before it is complete', async (t) => {
  const { mappings, told } = await open(t);
  for (const id of ['a', 'b']) await mappings.apply({ kind: 'set', mapping: mapping(id) });
  await mappings.apply({ kind: 'snapshot-begin' });
  await mappings.apply({ kind: 'set', mapping: mapping('b') });
  await mappings.apply({ kind: 'set', mapping: mapping('c') });
  t.same(ids(mappings.current), ['a', 'b', 'c']);
  await mappings.apply({ kind: 'snapshot-complete' });
  t.same(ids(mappings.current), ['b', 'c']);
  t.same(
    told.filter((word) => word.startsWith('removed')),
    ['removed a'],
  );
});

void t.test('a change between snapshots tells only its own service, and what it repeats is not told', async (t) => {
  const { mappings, told } = await open(t);
  await mappings.apply({ kind: 'set', mapping: mapping('a') });
  await mappings.apply({ kind: 'set', mapping: mapping('b') });
  await mappings.apply({ kind: 'set', mapping: mapping('b', { authToken: 'another' }) });
  await mappings.apply({ kind: 'set', mapping: mapping('b', { passHostHeader: false }) });
  await mappings.apply({ kind: 'remove', id: asId<ServiceId>('a') });
  await mappings.apply({ kind: 'remove', id: asId<ServiceId>('a') });
  t.same(told, ['new a', 'settled', 'new b', 'settled', 'changed b', 'settled', 'removed a', 'settled']);
  t.same(ids(mappings.current), ['b']);
  t.equal(mappings.current.get(asId<ServiceId>('b'))?.passHostHeader, false);
});

void t.test('changes within a snapshot are in force at once, and settled together', async (t) => {
  const { mappings, told } = await open(t);
  await mappings.apply({ kind: 'snapshot-begin' });
  for (const id of ['a', 'b', 'c']) await mappings.apply({ kind: 'set', mapping: mapping(id) });
  t.same(told, ['new a', 'new b', 'new c']);
  await turn();
  t.same(told.slice(3), ['settled']);
  await mappings.apply({ kind: 'snapshot-complete' });
  t.same(told.slice(4), ['settled']);
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

void t.test('changes stand in a journal, in their order, until there are enough to write it all', async (t) => {
  const { mappings, directory } = await open(t);
  const journal = join(directory, 'mappings.journal');
  for (const id of ['a', 'b', 'c']) await mappings.apply({ kind: 'set', mapping: mapping(id) });
  await mappings.apply({ kind: 'remove', id: asId<ServiceId>('a') });
  await mappings.apply({ kind: 'set', mapping: mapping('b', { passHostHeader: false }) });
  t.notMatch(await readFile(journal, 'utf8'), /once-/);
  t.equal((await stat(journal)).mode & 0o777, 0o600);
  const again = await open(t, directory);
  await again.mappings.load();
  t.same(ids(again.mappings.current), ['b', 'c']);
  t.equal(again.mappings.current.get(asId<ServiceId>('b'))?.passHostHeader, false);
  const before = await readFile(join(directory, 'mappings.json'), 'utf8');
  for (let i = 0; i < journalLines; i++) await mappings.apply({ kind: 'set', mapping: mapping('d', { domain: `d${i}.example.com` }) });
  t.not(await readFile(join(directory, 'mappings.json'), 'utf8'), before);
  const third = await open(t, directory);
  await third.mappings.load();
  t.equal(third.mappings.current.get(asId<ServiceId>('d'))?.domain, `d${journalLines - 1}.example.com`);
});

void t.test('a journal that a crash tore, or that belongs to another file, is read as far as it is right', async (t) => {
  const { mappings, directory } = await open(t);
  const journal = join(directory, 'mappings.journal');
  for (const id of ['a', 'b', 'c']) await mappings.apply({ kind: 'set', mapping: mapping(id) });
  const text = await readFile(journal, 'utf8');
  const loaded = async (): Promise<string[]> => {
    const again = await open(t, directory);
    await again.mappings.load();
    return ids(again.mappings.current);
  };
  await writeFile(journal, text.slice(0, -20));
  t.same(await loaded(), ['a', 'b']);
  await writeFile(journal, text.replace(/"generation":"[^"]*"/, '"generation":"other"'));
  t.same(await loaded(), ['a']);
  await rm(journal);
  t.same(await loaded(), ['a']);
  // What was left out is not lost for good: the next change begins with the whole.
  const again = await open(t, directory);
  await again.mappings.load();
  await again.mappings.apply({ kind: 'set', mapping: mapping('e') });
  t.same(await loaded(), ['a', 'e']);
});

void t.test('an empty configuration is one', async (t) => {
  const { mappings, directory } = await open(t);
  await mappings.apply({ kind: 'snapshot-begin' });
  await mappings.apply({ kind: 'snapshot-complete' });
  const again = await open(t, directory);
  await again.mappings.load();
  t.equal(again.mappings.known, true);
});

void t.test('a damaged or foreign file is not served', async (t) => {
  const { mappings, directory } = await open(t);
  for (const text of ['{', '[]', '{"formatVersion":99,"mappings":[]}', '{"formatVersion":1}']) {
    await writeFile(join(directory, 'mappings.json'), text);
    await mappings.load();
    t.equal(mappings.current.size, 0, text);
  }
});
