// A report of our paths as a message of our own extension.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { type PathReport, type ReportedPath, maxReasonText } from '#model/path-report.ts';
import type { PathReportSchema, PeerPathSchema } from '#wire/proto/gen/meshgate_peer_pb.ts';

export function pathReportMessageOf({ paths, omitted }: PathReport): MessageInitShape<typeof PathReportSchema> {
  return { paths: paths.map(pathMessageOf), omitted };
}

function pathMessageOf(path: ReportedPath): MessageInitShape<typeof PeerPathSchema> {
  return {
    publicKey: Buffer.from(path.publicKey, 'base64'),
    kind: path.kind ?? 'none',
    ...(path.latencyMs === undefined ? {} : { latencyMs: path.latencyMs }),
    since: BigInt(Math.trunc(path.since ?? 0)),
    lastSwitchAt: BigInt(Math.trunc(path.lastSwitchAt ?? 0)),
    lastSwitchReason: path.lastSwitchReason.slice(0, maxReasonText),
    switches: path.switches,
    receivedBytes: BigInt(Math.trunc(path.receivedBytes)),
    sentBytes: BigInt(Math.trunc(path.sentBytes)),
  };
}
