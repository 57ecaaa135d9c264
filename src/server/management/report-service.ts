// PeerReportService, our own extension: what a connected peer tells of itself. Whoever can seal is the peer, and it speaks for itself only.
import { type PublicKey, parsePublicKey } from '#model/ids.ts';
import { maxReasonText, maxReportedPaths, type PathReport, type ReportedPath } from '#model/path-report.ts';
import { defineService, type RpcService } from '#rpc/method.ts';
import { Sealer } from '#rpc/sealed.ts';
import { PathReportSchema, type PathReport as PathReportMessage, PeerReportService, type PeerPath } from '#wire/proto/gen/meshgate_peer_pb.ts';
import { maxReportBytes } from './constants.ts';
import { managementError } from './errors.ts';
import type { PathReports } from './path-reports.ts';
import { cut } from './translate-proxy.ts';

export interface ReportServiceParts {
  /** The server's key, 32 bytes. */
  readonly privateKey: Uint8Array;
  /** Whether the peer's Sync stream is open: it has proved itself, and is one of ours. */
  readonly isConnected: (peer: PublicKey) => boolean;
  readonly reports: PathReports;
}

export function createReportService({ privateKey, isConnected, reports }: ReportServiceParts): RpcService {
  const sealer = new Sealer(privateKey);
  return defineService(PeerReportService, {
    reportPaths: async (envelope) => {
      const from = parsePublicKey(envelope.wgPubKey);
      if (from === undefined) throw managementError('MANAGEMENT_KEY_INVALID');
      // Strangers cost no key agreement: they are not connected.
      if (!isConnected(from)) throw managementError('MANAGEMENT_REPORT_STRANGER');
      if (envelope.body.length > maxReportBytes) throw managementError('MANAGEMENT_REPORT_TOO_LONG');
      reports.admit(from);
      reports.take(from, reportFrom(sealer.open(PathReportSchema, envelope.body, from)));
      return {};
    },
  });
}

/** The first so many paths that make sense. */
function reportFrom({ paths, omitted }: PathReportMessage): PathReport {
  const read = paths.slice(0, maxReportedPaths).flatMap((path) => pathFrom(path) ?? []);
  const beyond = paths.length - Math.min(paths.length, maxReportedPaths);
  return { paths: read, omitted: Math.min(1_000_000, omitted + beyond) };
}

function pathFrom(message: PeerPath): ReportedPath | undefined {
  const publicKey = parsePublicKey(Buffer.from(message.publicKey).toString('base64'));
  const kind = (['direct', 'relay', 'none'] as const).find((name) => name === message.kind);
  if (publicKey === undefined || kind === undefined) return undefined;
  const { latencyMs } = message;
  return {
    publicKey,
    kind: kind === 'none' ? undefined : kind,
    latencyMs: latencyMs !== undefined && latencyMs >= 0 && latencyMs < 600_000 ? latencyMs : undefined,
    since: timeFrom(message.since),
    lastSwitchAt: timeFrom(message.lastSwitchAt),
    lastSwitchReason: cut(message.lastSwitchReason, maxReasonText),
    switches: message.switches,
    receivedBytes: countFrom(message.receivedBytes),
    sentBytes: countFrom(message.sentBytes),
  };
}

/** Undefined for never, and for what no calendar has. */
function timeFrom(ms: bigint): number | undefined {
  return ms > 0n && ms < 253_402_300_800_000n ? Number(ms) : undefined;
}

function countFrom(count: bigint): number {
  return Math.min(Number.MAX_SAFE_INTEGER, Number(count));
}
