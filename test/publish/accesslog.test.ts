// The access log: safe text, bounded queues, nothing lost to a short outage.
import { Writable } from 'node:stream';
import { mkdtempSync } from 'node:fs';
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { createAccessLog, createBatchSink, createLineSink, openFileSink, Spool } from '#publish/index.ts';
import { LOG_BATCH, LOG_QUEUE, SPOOL_SEGMENT_BYTES } from '#publish/constants.ts';
import { ManualClock } from '../support/manual-clock.ts';

function entry(changes: Partial<AccessLogEntry> = {}): AccessLogEntry {
  return {
    id: 'r1',
    serviceId: undefined,
    timestamp: 0,
    protocol: 'http',
    method: 'GET',
    host: 'a.test',
    path: '/',
    durationMs: 1,
    status: 200,
    sourceIp: '127.0.0.1',
    userId: '',
    authMethod: '',
    authSuccess: true,
    bytesUp: 0,
    bytesDown: 0,
    reason: 'public_service',
    ...changes,
  };
}

void t.test('row L-7: one line for each record, whatever strangers put into it', async (t) => {
  let text = '';
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      text += chunk.toString();
      done();
    },
  });
  const log = createAccessLog([createLineSink(stream, 'json')]);
  log.push(entry({ path: '/a\r\nb\x1b[31m\xff?secret=1', host: 'x'.repeat(100_000) }));
  log.push(entry({ path: '/t/nbp_0123456789abcdefghijklmnop/x' }));
  await log.close();
  const lines = text.trimEnd().split('\n');
  t.equal(lines.length, 2);
  t.match(JSON.parse(lines[0] ?? ''), { time: '1970-01-01T00:00:00.000Z', path: '/a\\x0d\\x0ab\\x1b[31m\\xff', status: 200 });
  t.ok((lines[0] ?? '').length < 5_000);
  t.match(JSON.parse(lines[1] ?? ''), { path: '/t/[redacted]/x' });
  log.push(entry());
  t.equal(log.dropped, 1);
});

void t.test('a reader that does not read costs records, not memory', async (t) => {
  const stuck = new Writable({ write: () => undefined });
  const sink = createLineSink(stuck, 'json');
  for (let i = 0; i < 3 * LOG_QUEUE; i++) sink.push(entry({ path: `/${'x'.repeat(500)}` }));
  t.ok(sink.dropped > 0);
  t.ok(stuck.writableLength < LOG_QUEUE * 1_024);
});

void t.test('a file is appended to and readable by its owner only', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'meshgate-log-'));
  t.teardown(() => rm(root, { recursive: true }));
  const path = join(root, 'deep', 'access.log');
  for (let i = 0; i < 2; i++) {
    const sink = await openFileSink(path, 'json', { log: silentLogger, clock: systemClock });
    sink.push(entry());
    await sink.close();
  }
  t.equal((await readFile(path, 'utf8')).trim().split('\n').length, 2);
  t.equal((await stat(path)).mode & 0o777, 0o600);
  await t.rejects(openFileSink(join(path, 'below'), 'json', { log: silentLogger, clock: systemClock }), { code: 'PUBLISH_LOG_FILE' });
});

/** Lets time pass, with what is awaited in between: a turn of the event loop each half second. */
async function pass(clock: ManualClock, ms: number): Promise<void> {
  for (let at = 0; at < ms; at += 500) {
    clock.advance(500);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Lets time pass until it holds; files take turns of their own. */
async function passUntil(clock: ManualClock, holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 20_000 && !holds(); turn++) await pass(clock, 500);
}

/** A control plane that takes records, or is away. */
class Taker {
  away = false;
  readonly taken: string[] = [];
  readonly sizes: number[] = [];
  readonly send = async (entries: readonly AccessLogEntry[]): Promise<void> => {
    if (this.away) throw new TypeError('away');
    this.sizes.push(entries.length);
    this.taken.push(...entries.map(({ id }) => id));
  };
}

void t.test('records go in batches, wait through an outage in order, and the oldest go first beyond the bound', async (t) => {
  const clock = new ManualClock();
  const taker = new Taker();
  const sink = createBatchSink({ send: taker.send, clock, log: silentLogger, random: () => 0.5 });
  sink.push(entry({ id: 'a' }));
  sink.push(entry({ id: 'b' }));
  await pass(clock, 1_000);
  t.same(taker.taken, ['a', 'b']);
  taker.away = true;
  for (let i = 0; i < LOG_QUEUE + 10; i++) sink.push(entry({ id: `${i}` }));
  await pass(clock, 10_000);
  t.equal(sink.dropped, 10);
  t.equal(sink.waiting, LOG_QUEUE);
  taker.away = false;
  taker.taken.length = 0;
  await pass(clock, 70_000);
  t.same(
    taker.taken,
    Array.from({ length: LOG_QUEUE }, (_, i) => `${i + 10}`),
  );
  t.ok(Math.max(...taker.sizes) <= LOG_BATCH);
  sink.push(entry({ id: 'last' }));
  await sink.close();
  t.equal(taker.taken.at(-1), 'last');
});

void t.test('what will never be taken does not stand in the way', async (t) => {
  const clock = new ManualClock();
  const taken: string[] = [];
  const send = async (entries: readonly AccessLogEntry[]): Promise<void> => {
    if (entries.some(({ id }) => id === 'bad')) throw new RangeError('nonsense');
    taken.push(...entries.map(({ id }) => id));
  };
  const sink = createBatchSink({ send, refused: (error) => error instanceof RangeError, clock, log: silentLogger, random: () => 0.5 });
  sink.push(entry({ id: 'bad' }));
  await pass(clock, 2_000);
  sink.push(entry({ id: 'good' }));
  await pass(clock, 2_000);
  t.same(taken, ['good']);
  t.equal(sink.dropped, 1);
});

function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'meshgate-spool-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return join(folder, 'access-log');
}

void t.test('an outage longer than memory is kept on disk, and told in order when it is over', async (t) => {
  const folder = folderOf(t);
  const clock = new ManualClock();
  const taker = new Taker();
  const spool = await Spool.open(folder, 64 * 1_048_576, silentLogger);
  const sink = createBatchSink({ send: taker.send, spool, clock, log: silentLogger, random: () => 0.5 });
  taker.away = true;
  const total = 3 * LOG_QUEUE;
  for (let i = 0; i < total; i++) {
    sink.push(entry({ id: `${i}` }));
    await passUntil(clock, () => spool.records >= i - 4 * LOG_BATCH);
  }
  await passUntil(clock, () => spool.records >= total - LOG_BATCH);
  t.equal(sink.waiting, total);
  t.equal(sink.dropped, 0);
  t.equal((await stat(folder)).mode & 0o777, 0o700);
  for (const name of await readdir(folder)) t.equal((await stat(join(folder, name))).mode & 0o777, 0o600, name);
  taker.away = false;
  await passUntil(clock, () => sink.waiting === 0);
  t.same(
    taker.taken,
    Array.from({ length: total }, (_, i) => `${i}`),
    'every record once, the oldest first',
  );
  await sink.close();
  t.same(await readdir(folder), [], 'nothing is left on disk');
});

void t.test('records survive the end of the process, and one that was torn is left out', async (t) => {
  const folder = folderOf(t);
  const clock = new ManualClock();
  const taker = new Taker();
  taker.away = true;
  const first = createBatchSink({
    send: taker.send,
    spool: await Spool.open(folder, 1_048_576, silentLogger),
    clock,
    log: silentLogger,
    random: () => 0,
  });
  for (const id of ['a', 'b', 'c']) first.push(entry({ id, path: '/ünïcode' }));
  await first.close();
  t.equal(first.dropped, 0);
  const [name = ''] = await readdir(folder);
  await appendFile(join(folder, name), '{"id":"torn","times');
  taker.away = false;
  const spool = await Spool.open(folder, 1_048_576, silentLogger);
  t.equal(spool.records, 3);
  const second = createBatchSink({ send: taker.send, spool, clock, log: silentLogger, random: () => 0 });
  second.push(entry({ id: 'd' }));
  await passUntil(clock, () => second.waiting === 0);
  t.same(taker.taken, ['a', 'b', 'c', 'd'], 'what the last run left comes first');
  await second.close();
});

void t.test('beyond its bound in bytes the oldest records go, and are counted', async (t) => {
  const bound = 3 * SPOOL_SEGMENT_BYTES;
  const spool = await Spool.open(folderOf(t), bound, silentLogger);
  const batch = Array.from({ length: LOG_BATCH }, (_, i) => entry({ id: `${i}`, path: `/${'x'.repeat(1_000)}` }));
  const batches = Math.ceil((2 * bound) / JSON.stringify(batch).length);
  for (let i = 0; i < batches; i++) await spool.append(batch);
  t.ok(spool.dropped > 0);
  t.equal(spool.records + spool.dropped, batches * LOG_BATCH, 'all are accounted for');
  t.ok(spool.records * 1_000 < bound);
});

void t.test('row D-15: a disk that takes nothing is told, and records wait in memory until it does', async (t) => {
  const folder = folderOf(t);
  const clock = new ManualClock();
  const taker = new Taker();
  taker.away = true;
  const spool = await Spool.open(folder, 1_048_576, silentLogger);
  await rm(folder, { recursive: true });
  await writeFile(folder, 'no folder any more');
  const sink = createBatchSink({ send: taker.send, spool, clock, log: silentLogger, random: () => 0 });
  sink.push(entry({ id: 'a' }));
  await passUntil(clock, () => sink.problem !== '');
  t.match(createAccessLog([sink]).problem, /cannot be kept on disk .*wait in memory/);
  t.equal(sink.waiting, 1);
  await rm(folder);
  await mkdir(folder);
  sink.push(entry({ id: 'b' }));
  await passUntil(clock, () => sink.problem === '');
  t.equal(sink.problem, '', 'it is well again');
  taker.away = false;
  await passUntil(clock, () => sink.waiting === 0);
  t.same(taker.taken, ['a', 'b']);
  await t.rejects(Spool.open(join(folder, '..', 'nobody\0'), 1, silentLogger), { code: 'PUBLISH_LOG_SPOOL' });
});

void t.test('the common and the combined format, with nothing that could forge a line or a field', async (t) => {
  const lines: string[] = [];
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      lines.push(chunk.toString());
      done();
    },
  });
  const log = createAccessLog([createLineSink(stream, 'combined')]);
  const hostile = {
    userId: 'eve "x" [y]',
    path: '/a"b\\c?secret=1',
    userAgent: 'curl/8 "quoted"\nnbp_0123456789abcdefghijklmnop',
    referer: 'https://user:pass@elsewhere.test:8443/reset/token?secret=1',
    httpVersion: '2',
    bytesDown: 42,
  };
  log.push(entry({ timestamp: Date.UTC(2026, 10, 28, 9, 5, 36), ...hostile }));
  log.push(entry({ protocol: 'tls', method: '', status: 0, path: '', userId: '' }));
  log.push(entry({ referer: 'javascript:alert(1)//x y' }));
  await log.close();
  t.equal(
    lines[0],
    '127.0.0.1 - eve__x___y_ [28/Nov/2026:09:05:36 +0000] "GET /a\\"b\\\\c HTTP/2" 200 42 "elsewhere.test:8443" "curl/8 \\"quoted\\"\\\\x0a[redacted]"\n',
  );
  t.equal(lines[1], '127.0.0.1 - - [01/Jan/1970:00:00:00 +0000] "TLS" - 0 "-" "-"\n');
  t.match(lines[2], / "-" "-"\n$/);
});
