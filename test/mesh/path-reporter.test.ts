// When a peer tells its paths: soon after a change, never often, now and then in any case.
import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import type { PublicKey } from '#model/ids.ts';
import { maxReportedPaths, type PathReport } from '#model/path-report.ts';
import type { PeerPathStatus } from '#model/status.ts';
import { reportEveryMs, reportGapMs, reportJitter, reportSoonMs } from '#mesh/constants.ts';
import { PathReporter } from '#mesh/path-reporter.ts';
import { ManualClock } from '../support/manual-clock.ts';

function peer(name: string, kind: 'direct' | 'relay' | undefined): PeerPathStatus {
  return {
    publicKey: name as PublicKey,
    fqdn: name,
    addresses: [],
    state: kind === undefined ? 'idle' : 'connected',
    path: kind === undefined ? undefined : { kind, remote: '192.0.2.1:1', latencyMs: 2, since: '2026-11-22T00:00:00.000Z' },
    reason: 'why',
    lastSwitch: undefined,
    switches: 1,
    lastHandshake: undefined,
    receivedBytes: 1,
    sentBytes: 2,
  };
}

function world(answer: () => Promise<'taken' | 'unsupported'> = () => Promise.resolve('taken'), random = 0) {
  const clock = new ManualClock();
  const sent: { readonly at: number; readonly report: PathReport }[] = [];
  const peers: PeerPathStatus[] = [];
  const reporter = new PathReporter({
    peers: () => peers,
    send: (report) => {
      sent.push({ at: clock.now(), report });
      return answer();
    },
    clock,
    log: silentLogger,
    random: () => random,
  });
  /** Lets time pass in steps, with what is awaited in between. */
  const pass = async (ms: number): Promise<void> => {
    for (let at = 0; at < ms; at += 500) {
      clock.advance(Math.min(500, ms - at));
      for (let i = 0; i < 5; i++) await Promise.resolve();
    }
  };
  return { clock, sent, peers, reporter, pass };
}

void t.test('soon after a change, at most once per gap, and once per interval', async (t) => {
  const { sent, reporter, pass } = world();
  t.equal(reporter.status().state, 'waiting');
  reporter.changed();
  reporter.changed();
  await pass(reportSoonMs);
  t.equal(sent.length, 1);
  t.equal(reporter.status().state, 'taken');
  for (let i = 0; i < 20; i++) {
    reporter.changed();
    await pass(1_000);
  }
  for (const [i, { at }] of sent.entries()) if (i > 0) t.ok(at - (sent[i - 1]?.at ?? 0) >= reportGapMs, `report ${i}`);
  t.ok(sent.length >= 2 && sent.length <= 3, `${sent.length} reports of 20 changes in 20 s`);
  const before = sent.length;
  await pass(3 * reportEveryMs);
  t.ok(sent.length - before >= 3, 'now and then in any case');
  reporter.close();
  await pass(10 * reportEveryMs);
  reporter.changed();
  await pass(reportEveryMs);
  t.ok(sent.length - before <= 4, 'and not after it is closed');
});

void t.test('what is late by chance is late by a share', async (t) => {
  const { sent, reporter, pass } = world(undefined, 0.999);
  reporter.changed();
  await pass(reportSoonMs);
  t.equal(sent.length, 0);
  await pass(reportSoonMs * reportJitter);
  t.equal(sent.length, 1);
});

void t.test('peers in use come first, those never sought are left out, and the number is bounded', async (t) => {
  const { sent, peers, reporter, pass } = world();
  peers.push({ ...peer('seeking', undefined), state: 'seeking' }, peer('idle', undefined));
  for (let i = 0; i < maxReportedPaths + 5; i++) peers.push(peer(`p${i}`, 'relay'));
  reporter.changed();
  await pass(reportSoonMs);
  const report = sent[0]?.report;
  t.equal(report?.paths.length, maxReportedPaths);
  t.equal(report?.omitted, 6);
  t.match(report?.paths[0], { publicKey: 'p0', kind: 'relay', latencyMs: 2, lastSwitchReason: 'why', receivedBytes: 1, sentBytes: 2 });
});

void t.test('a stock control plane, and one that is away, are told in the status', async (t) => {
  const stock = world(() => Promise.resolve('unsupported'));
  stock.reporter.changed();
  await stock.pass(reportSoonMs);
  t.match(stock.reporter.status(), { state: 'unsupported', reason: /does not take/ });
  const away = world(() => Promise.reject(new TypeError('secret')));
  away.reporter.changed();
  await away.pass(reportSoonMs);
  t.match(away.reporter.status(), { state: 'failing', reason: 'failed' });
  await away.pass(2 * reportEveryMs);
  t.ok(away.sent.length >= 2, 'and tried again');
});
