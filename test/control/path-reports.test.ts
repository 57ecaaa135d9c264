// Reports of paths, from a peer to the control plane: what arrives, who may say it, and how little anybody can make the server keep.
import t, { type Test } from 'tap';
import { createPeerControl } from '#control/index.ts';
import type { PeerControl, PeerControlOptions } from '#control/types.ts';
import { generatePrivateKey, publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import { systemClock } from '#lib/clock.ts';
import { errorCode } from '#lib/errors.ts';
import { silentLogger } from '#lib/log.ts';
import { asId, type PublicKey } from '#model/ids.ts';
import { maxReasonText, maxReportedPaths, type PathReport, type ReportedPath } from '#model/path-report.ts';
import { parseRpcUrl, RpcChannel } from '#rpc/client.ts';
import { Sealer } from '#rpc/sealed.ts';
import { maxReportBytes, reportGapMs, reportStaleMs } from '#server/management/constants.ts';
import { PathReports } from '#server/management/path-reports.ts';
import { ManagementService } from '#wire/proto/gen/management_pb.ts';
import { PathReportSchema, PeerReportService } from '#wire/proto/gen/meshgate_peer_pb.ts';
import { type FakeServer, type FakeServerOptions, startServer } from '../server/management/fake-server.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { goodKey, Inbound, peerOptions, publicKeyOf } from './peer-helpers.ts';

const never = new AbortController().signal;
const other = asId<PublicKey>(toBase64(publicFromPrivate(generatePrivateKey())));

function path(changes: Partial<ReportedPath> = {}): ReportedPath {
  return {
    publicKey: other,
    kind: 'direct',
    latencyMs: 1.25,
    since: 1_700_000_000_000,
    lastSwitchAt: 1_700_000_000_000,
    lastSwitchReason: 'a direct path was found',
    switches: 3,
    receivedBytes: 5_000_000_000,
    sentBytes: 7,
    ...changes,
  };
}

async function connected(
  t: Test,
  changes: FakeServerOptions = {},
): Promise<{ server: FakeServer; control: PeerControl; options: PeerControlOptions }> {
  const server = await startServer(changes);
  t.teardown(() => server.close());
  const options = peerOptions(server, goodKey);
  const control = createPeerControl(options, { log: silentLogger, clock: systemClock });
  t.teardown(() => control.close());
  const outcome = await control.login(never);
  if (outcome.kind !== 'signed-in') throw new Error('refused');
  const inbound = new Inbound();
  control.start(outcome.endpoints, inbound);
  await inbound.maps.next();
  return { server, control, options };
}

void t.test('a connected peer’s report arrives as it was told, and goes with its stream', async (t) => {
  const { server, control, options } = await connected(t);
  const report: PathReport = { paths: [path(), path({ kind: undefined, latencyMs: undefined, since: undefined })], omitted: 2 };
  t.equal(await control.reportPaths(report, never), 'taken');
  t.match(server.pathsOf(publicKeyOf(options)), report);
  await t.rejects(control.reportPaths(report, never), { code: 'RPC_RESOURCE_EXHAUSTED' }, 'not again at once');
  await control.close();
  for (let i = 0; i < 500 && server.pathsOf(publicKeyOf(options)) !== undefined; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  t.equal(server.pathsOf(publicKeyOf(options)), undefined, 'what is not connected has no paths');
});

void t.test('a stock control plane is asked once, and left alone', async (t) => {
  const { control } = await connected(t, { stock: true });
  t.equal(await control.reportPaths({ paths: [], omitted: 0 }, never), 'unsupported');
  t.equal(await control.reportPaths({ paths: [], omitted: 0 }, AbortSignal.abort()), 'unsupported', 'without a call');
});

void t.test('nobody speaks for another, and what is said is cut and cleaned', async (t) => {
  const clock = new ManualClock();
  const { server, options } = await connected(t, { clock });
  const victim = publicKeyOf(options);
  const channel = new RpcChannel(parseRpcUrl(server.url, server.ca.caPem));
  t.teardown(() => channel.close());
  const serverKey = (await channel.unary(ManagementService.method.getServerKey, {}, { signal: never })).key;
  const tell = async (wgPubKey: string, privateKey: Uint8Array, paths: object[], omitted = 0): Promise<string> => {
    const body = new Sealer(privateKey).seal(PathReportSchema, { paths, omitted }, serverKey);
    return channel.unary(PeerReportService.method.reportPaths, { wgPubKey, body }, { signal: never }).then(
      () => 'taken',
      (error: unknown) => errorCode(error) ?? '',
    );
  };
  const stranger = generatePrivateKey();
  t.equal(await tell(toBase64(publicFromPrivate(stranger)), stranger, []), 'RPC_FAILED_PRECONDITION', 'a stranger');
  t.equal(await tell(victim, stranger, []), 'RPC_INVALID_ARGUMENT', 'in the name of a peer');
  t.equal(server.pathsOf(victim), undefined);
  const long = new Uint8Array(maxReportBytes + 1);
  const oversized = channel.unary(PeerReportService.method.reportPaths, { wgPubKey: victim, body: long }, { signal: never });
  await t.rejects(oversized, { code: 'RPC_INVALID_ARGUMENT' }, 'unread where it is too long');

  const hostile = {
    publicKey: Buffer.from(other, 'base64'),
    kind: 'direct',
    latencyMs: NaN,
    since: -1n,
    lastSwitchAt: 2n ** 62n,
    receivedBytes: 2n ** 64n - 1n,
  };
  const text = `\x1b[2J\u202e<script>${'x'.repeat(10_000)}`;
  const { privateKey } = options;
  const paths = [
    { ...hostile, lastSwitchReason: text },
    { ...hostile, kind: 'teleport' },
    { ...hostile, publicKey: new Uint8Array(31) },
    ...Array.from({ length: 2 * maxReportedPaths }, () => hostile),
  ];
  t.equal(await tell(victim, privateKey, paths, 4_000_000_000), 'taken');
  const kept = server.pathsOf(victim);
  t.equal(kept?.paths.length, maxReportedPaths - 2, 'a bounded number, of those that make sense');
  t.equal(kept?.omitted, 1_000_000);
  const [first] = kept?.paths ?? [];
  t.match(first, { latencyMs: undefined, since: undefined, lastSwitchAt: undefined, receivedBytes: Number.MAX_SAFE_INTEGER });
  t.match(first?.lastSwitchReason, /^\[2J<script>x+$/);
  t.ok((first?.lastSwitchReason.length ?? 0) <= maxReasonText);
  clock.advance(reportStaleMs + 1);
  t.equal(server.pathsOf(victim), undefined, 'an old word means nothing');
});

void t.test('what is kept of all peers together is bounded: the oldest reports go', async (t) => {
  const clock = new ManualClock();
  const reports = new PathReports(clock, 10);
  const names = ['a', 'b', 'c'].map((name) => asId<PublicKey>(name));
  for (const name of names) reports.take(name, { paths: Array.from({ length: 4 }, () => path()), omitted: 0 });
  t.same(
    names.map((name) => reports.of(name) !== undefined),
    [false, true, true],
  );
  t.equal(reports.paths, 8);
  const [, b = asId<PublicKey>('')] = names;
  t.throws(() => reports.admit(b), { code: 'MANAGEMENT_REPORT_SOON' });
  clock.advance(reportGapMs);
  reports.admit(b);
  for (const name of names) reports.forget(name);
  t.equal(reports.paths, 0);
});
