// What a peer of ours tells the control plane of its paths. It is the peer's own word, and of the moment.
import type { PublicKey } from './ids.ts';
import type { PathKind } from './status.ts';

/** Wall-clock times in milliseconds. */
export interface ReportedPath {
  readonly publicKey: PublicKey;
  /** Undefined while there is none. */
  readonly kind: PathKind | undefined;
  readonly latencyMs: number | undefined;
  /** Since when it is of this kind. */
  readonly since: number | undefined;
  readonly lastSwitchAt: number | undefined;
  readonly lastSwitchReason: string;
  readonly switches: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

export interface PathReport {
  readonly paths: readonly ReportedPath[];
  /** Paths beyond the bound of a report. */
  readonly omitted: number;
}

/** As the control plane keeps it: with the wall-clock milliseconds of its coming. */
export interface KeptReport extends PathReport {
  readonly at: number;
}

/** Paths in one report; peers send those in use first, servers drop the rest. */
export const maxReportedPaths = 256;
/** Characters of a reason. */
export const maxReasonText = 128;
