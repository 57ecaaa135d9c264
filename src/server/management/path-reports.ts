// What connected peers last said of their paths. Of the moment, so it is kept in memory only, and as long as the peer's stream is open. The
// texts are the peers' own: cut, cleaned, and believed by nobody but whoever reads them.
import type { PublicKey } from '#model/ids.ts';
import type { KeptReport, PathReport } from '#model/path-report.ts';
import { maxKeptPaths, reportGapMs, reportStaleMs } from './constants.ts';
import { managementError } from './errors.ts';

interface Entry extends KeptReport {
  /** Monotonic milliseconds. */
  readonly taken: number;
}

export interface ReportClock {
  now(): number;
  wall(): number;
}

export class PathReports {
  readonly #clock: ReportClock;
  readonly #maxPaths: number;
  /** In the order of their coming: the oldest goes first where there is too much. */
  readonly #byPeer = new Map<PublicKey, Entry>();
  #paths = 0;

  constructor(clock: ReportClock, maxPaths = maxKeptPaths) {
    this.#clock = clock;
    this.#maxPaths = maxPaths;
  }

  /** Paths of all reports together, for the limit's test. */
  get paths(): number {
    return this.#paths;
  }

  /** Throws MANAGEMENT_REPORT_SOON where the peer's last one came a moment ago. To be asked before a report is opened. */
  admit(peer: PublicKey): void {
    const last = this.#byPeer.get(peer);
    if (last !== undefined && this.#clock.now() - last.taken < reportGapMs) throw managementError('MANAGEMENT_REPORT_SOON');
  }

  take(peer: PublicKey, report: PathReport): void {
    this.forget(peer);
    this.#byPeer.set(peer, { ...report, at: this.#clock.wall(), taken: this.#clock.now() });
    this.#paths += report.paths.length;
    for (const oldest of this.#byPeer.keys()) {
      if (this.#paths <= this.#maxPaths) break;
      this.forget(oldest);
    }
  }

  /** The peer's last word; undefined where it said none, or none for so long that it means nothing any more. */
  of(peer: PublicKey): KeptReport | undefined {
    const entry = this.#byPeer.get(peer);
    return entry === undefined || this.#clock.now() - entry.taken > reportStaleMs ? undefined : entry;
  }

  forget(peer: PublicKey): void {
    this.#paths -= this.#byPeer.get(peer)?.paths.length ?? 0;
    this.#byPeer.delete(peer);
  }
}
