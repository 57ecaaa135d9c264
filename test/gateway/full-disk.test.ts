// Attack row D-15, a full disk below a gateway's state: what is in force stays so, the problem is said, and what the disk has not taken is written
// by itself when there is space again.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { AssertionSigner } from '#identity/assertion.ts';
import { assertionKeyMs, assertionMs, assertionRetryMs } from '#identity/constants.ts';
import { systemClock } from '#lib/clock.ts';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import { silentLogger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { asId, type ServiceId, type UserId } from '#model/ids.ts';
import { DISK_RETRY_MS } from '#publish/certs/acme/constants.ts';
import { KeptFiles } from '#publish/certs/acme/kept.ts';
import { LOG_BATCH } from '#publish/constants.ts';
import { createBatchSink, openFileSink, Spool } from '#publish/index.ts';
import { diskRetryMs } from '../../src/gateway/constants.ts';
import { Mappings } from '../../src/gateway/routes/mappings.ts';
import { saveEveryMs, saveRetryMs } from '../../src/mesh/constants.ts';
import { SavedFile } from '../../src/mesh/saved-file.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { needsMount, smallDisk } from '../support/small-disk.ts';
import { until } from '../support/until.ts';
import { mapping } from './mappings.ts';

const quiet = { set: () => undefined, removed: () => undefined, settled: () => undefined };
const ids = async (folder: string): Promise<string[]> => {
  const read = new Mappings(folder, { clock: systemClock, log: silentLogger }, quiet);
  await read.load();
  return [...read.current.keys()].toSorted();
};

void t.test('D-15: services change on a full disk, and what was missed is kept when there is space', needsMount, async (t) => {
  const disk = smallDisk(t, 256);
  const clock = new ManualClock();
  const mappings = new Mappings(disk.folder, { clock, log: silentLogger }, quiet);
  for (const id of ['a', 'b']) await mappings.apply({ kind: 'set', mapping: mapping(id) });
  t.same(await ids(disk.folder), ['a', 'b']);
  disk.fill();
  // The last page of the journal may have room for some.
  for (let i = 0; i < 20 && mappings.problem === ''; i++) await mappings.apply({ kind: 'set', mapping: mapping(`c${i}`) });
  t.match(mappings.problem, /cannot be written \(.*ENOSPC.*control plane is away/);
  await mappings.apply({ kind: 'remove', id: asId<ServiceId>('a') });
  t.notOk(mappings.current.has(asId<ServiceId>('a')), 'it is in force at once');
  clock.advance(diskRetryMs);
  await mappings.apply({ kind: 'remove', id: asId<ServiceId>('b') });
  t.not(mappings.problem, '', 'it is still full');
  disk.free();
  clock.advance(diskRetryMs);
  await until('the file is written', () => mappings.problem === '');
  t.same(await ids(disk.folder), [...mappings.current.keys()].toSorted(), 'nobody had to change anything for it');
  t.same(
    (await readdir(disk.folder)).filter((name) => name.endsWith('.tmp')),
    [],
  );
  await mappings.close();
});

void t.test('D-15: a certificate that could not be written is, when there is space', needsMount, async (t) => {
  const disk = smallDisk(t, 256);
  const clock = new ManualClock();
  const files = new KeptFiles(disk.folder, { clock, log: silentLogger });
  await files.open();
  const kept = (text: string) => ({ names: ['a.test'], keyPem: text.repeat(20_000), chainPem: text.repeat(20_000), directory: 'https://ca.test' });
  await files.saveCertificate(kept('1'));
  disk.fill();
  await t.rejects(files.saveCertificate(kept('2')), { code: 'ENOSPC' });
  await t.rejects(files.saveCertificate(kept('3')), { code: 'ENOSPC' });
  t.match(files.problem, /certificates or their accounts cannot be written \(.*ENOSPC/);
  t.same(await files.certificates(), [kept('1')], 'the old pair is whole');
  clock.advance(DISK_RETRY_MS);
  await until('it was tried again', () => clock.pending > 0);
  disk.free();
  clock.advance(DISK_RETRY_MS);
  await until('it is written', () => files.problem === '');
  t.same(await files.certificates(), [kept('3')], 'the newest of them');
  await files.close();
});

void t.test('D-15: identities are asserted with the old keys where new ones cannot be kept, over a restart too', needsMount, async (t) => {
  const disk = smallDisk(t, 64);
  const clock = new ManualClock();
  const file = join(disk.folder, 'assertion-keys.json');
  const store = { load: () => readFileIfThere(file), save: (text: string) => writeFileAtomic(file, text) };
  const open = () => AssertionSigner.open({ store, clock, log: silentLogger });
  const identity = { userId: asId<UserId>('u1'), email: 'ada@example.com', name: 'Ada', groups: [], method: 'oidc' } as const;
  const signer = await open();
  const before = signer.jwks();
  disk.fill();
  clock.advance(assertionKeyMs);
  t.ok(await signer.assertion(identity, 'https://a.test'));
  t.same((await open()).jwks(), before, 'a gateway that starts now has them, too');
  disk.free();
  clock.advance(Math.max(assertionRetryMs, assertionMs));
  await until('the keys rotate', async () => {
    await signer.assertion(identity, 'https://a.test');
    clock.advance(assertionRetryMs);
    return signer.jwks().keys.length === 3;
  });
  t.ok(
    before.keys.every(({ kid }) => signer.jwks().keys.some((key) => key.kid === kid)),
    'the old ones are still published',
  );
  disk.fill();
  const fresh = join(disk.folder, 'none.json');
  const none = { load: () => readFileIfThere(fresh), save: (text: string) => writeFileAtomic(fresh, text) };
  await t.rejects(AssertionSigner.open({ store: none, clock, log: silentLogger }), { code: 'ENOSPC' }, 'first keys are kept or not used');
});

function entry(id: string): AccessLogEntry {
  const rest = { timestamp: 0, protocol: 'http', method: 'GET', host: 'a.test', path: `/${'x'.repeat(700)}`, durationMs: 1, status: 200 } as const;
  const who = { sourceIp: '127.0.0.1', userId: '', authMethod: '', authSuccess: true, bytesUp: 0, bytesDown: 0, reason: 'public_service' } as const;
  return { id, serviceId: undefined, ...rest, ...who };
}

void t.test('D-15: records of the access log wait in memory while the disk is full, and each is delivered once', needsMount, async (t) => {
  const disk = smallDisk(t, 512);
  const clock = new ManualClock();
  const taken: string[] = [];
  let away = true;
  const spool = await Spool.open(join(disk.folder, 'access-log'), 64 * 1_048_576, silentLogger);
  const send = async (entries: readonly AccessLogEntry[]): Promise<void> => {
    if (away) throw new Error('away');
    for (const { id } of entries) taken.push(id);
  };
  const sink = createBatchSink({ send, spool, clock, log: silentLogger, random: () => 0.5 });
  const pass = (what: string, so: () => boolean): Promise<number> =>
    until(what, async () => {
      clock.advance(1_000);
      await new Promise((resolve) => setImmediate(resolve));
      return so();
    });
  const total = 4 * LOG_BATCH;
  // The disk takes a part: it is full in the middle of a batch.
  for (let i = 0; i < total; i++) sink.push(entry(`r${i}`));
  await pass('the disk is full', () => sink.problem !== '');
  t.match(sink.problem, /cannot be kept on disk \(.*ENOSPC/);
  t.equal(sink.waiting, total);
  away = false;
  await pass('all are delivered', () => sink.waiting === 0);
  t.equal(taken.length, total, 'none twice');
  t.equal(new Set(taken).size, total);
  away = true;
  disk.fill();
  sink.push(entry('more'));
  await pass('it waits', () => sink.problem !== '');
  disk.free();
  await pass('it is kept again', () => sink.problem === '');
  t.equal(spool.records, 1);
  t.equal(sink.dropped, 0);
  await sink.close();
});

void t.test('D-15: lines of the access log are lost on a full disk and counted, and go on when there is space', needsMount, async (t) => {
  const disk = smallDisk(t, 64);
  const clock = new ManualClock();
  const path = join(disk.folder, 'access.log');
  const sink = await openFileSink(path, 'json', { log: silentLogger, clock });
  disk.fill();
  for (let i = 0; i < 20; i++) sink.push(entry(`r${i}`));
  await until('it is said', () => sink.problem !== '');
  t.match(sink.problem, /cannot be written: .*ENOSPC/);
  disk.free();
  let n = 0;
  await until('it is written again', () => {
    if (sink.problem === '') return true;
    clock.advance(10_000);
    sink.push(entry(`s${n++}`));
    return false;
  });
  await sink.close();
  t.ok(sink.dropped > 0);
  t.match(await readFile(path, 'utf8'), /"id":"s/);
});

void t.test('D-15: the last network map is saved when there is space', needsMount, async (t) => {
  const disk = smallDisk(t, 64);
  const clock = new ManualClock();
  const format = { file: 'last.json', what: 'word', text: (word: string) => word.repeat(10_000), parse: (text: string) => text.slice(0, 1) };
  const saved = new SavedFile(format, disk.folder, clock, silentLogger);
  saved.save(() => 'a');
  await saved.flush();
  disk.fill();
  saved.save(() => 'b');
  clock.advance(saveEveryMs);
  await saved.flush();
  t.equal(await saved.load(), 'a');
  disk.free();
  clock.advance(saveRetryMs);
  await until('it is saved', async () => (await saved.load()) === 'b');
  await saved.close();
});
