// The access log: safe text, bounded queues, nothing lost to a short outage.
import { Writable } from 'node:stream';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Clock, Timer } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { createAccessLog, createBatchSink, createLineSink, openFileSink } from '#publish/index.ts';
import { LOG_BATCH, LOG_QUEUE } from '#publish/constants.ts';

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

/** Timers that fire when told. */
class ManualClock implements Clock {
  readonly timers = new Set<() => void>();
  now(): number {
    return 0;
  }
  wall(): number {
    return 0;
  }
  after(_delayMs: number, fire: () => void): Timer {
    const timer = (): void => {
      this.timers.delete(timer);
      fire();
    };
    this.timers.add(timer);
    return { cancel: () => this.timers.delete(timer) };
  }
  async fire(): Promise<void> {
    for (const timer of this.timers) timer();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

void t.test('one line for each record, whatever strangers put into it', async (t) => {
  let text = '';
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      text += chunk.toString();
      done();
    },
  });
  const log = createAccessLog([createLineSink(stream, true)]);
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
  const sink = createLineSink(stuck, true);
  for (let i = 0; i < 3 * LOG_QUEUE; i++) sink.push(entry({ path: `/${'x'.repeat(500)}` }));
  t.ok(sink.dropped > 0);
  t.ok(stuck.writableLength < LOG_QUEUE * 1_024);
});

void t.test('a file is appended to and readable by its owner only', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'meshgate-log-'));
  t.teardown(() => rm(root, { recursive: true }));
  const path = join(root, 'deep', 'access.log');
  for (let i = 0; i < 2; i++) {
    const sink = await openFileSink(path, silentLogger);
    sink.push(entry());
    await sink.close();
  }
  t.equal((await readFile(path, 'utf8')).trim().split('\n').length, 2);
  t.equal((await stat(path)).mode & 0o777, 0o600);
  await t.rejects(openFileSink(join(path, 'below'), silentLogger), { code: 'PUBLISH_LOG_FILE' });
});

void t.test('records go in batches, wait through an outage in order, and the oldest go first beyond the bound', async (t) => {
  const clock = new ManualClock();
  const sent: string[] = [];
  const sizes: number[] = [];
  let fails = false;
  const send = async (entries: readonly AccessLogEntry[]): Promise<void> => {
    if (fails) throw new TypeError('away');
    sizes.push(entries.length);
    sent.push(...entries.map(({ id }) => id));
  };
  const sink = createBatchSink({ send, clock, log: silentLogger, random: () => 0.5 });
  sink.push(entry({ id: 'a' }));
  sink.push(entry({ id: 'b' }));
  await clock.fire();
  t.same(sent, ['a', 'b']);
  fails = true;
  for (let i = 0; i < LOG_QUEUE + 10; i++) sink.push(entry({ id: `${i}` }));
  await clock.fire();
  t.ok(sink.dropped >= 10);
  fails = false;
  sent.length = 0;
  while (clock.timers.size > 0) await clock.fire();
  t.equal(sent.at(-1), `${LOG_QUEUE + 9}`);
  t.equal(sent.length + sink.dropped, LOG_QUEUE + 10);
  t.same(
    sent,
    [...sent].sort((a, b) => Number(a) - Number(b)),
  );
  t.ok(Math.max(...sizes) <= LOG_BATCH);
  sink.push(entry({ id: 'last' }));
  await sink.close();
  t.equal(sent.at(-1), 'last');
});
