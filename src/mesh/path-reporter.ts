// Tells the control plane how this peer reaches the others: soon after a path changes, and now and then. Spread by chance, as thousands of peers
// may see the same change.
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError, MeshgateError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { maxReportedPaths, type PathReport, type ReportedPath } from '#model/path-report.ts';
import type { PathReportStatus, PeerPathStatus } from '#model/status.ts';
import { reportEveryMs, reportGapMs, reportJitter, reportSoonMs } from './constants.ts';

export interface PathReporterDeps {
  readonly peers: () => readonly PeerPathStatus[];
  readonly send: (report: PathReport, signal: AbortSignal) => Promise<'taken' | 'unsupported'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export class PathReporter {
  readonly #deps: PathReporterDeps;
  readonly #closing = new AbortController();
  #timer: Timer | undefined;
  #timerAt = Infinity;
  #lastAt = -Infinity;
  #sending = false;
  #changed = false;
  #status: PathReportStatus = { state: 'waiting', at: undefined, reason: '' };

  constructor(deps: PathReporterDeps) {
    this.#deps = deps;
  }

  /** A path or the network map is another: told within seconds, but not more often than the gap says. */
  changed(): void {
    if (this.#closing.signal.aborted) return;
    this.#changed = true;
    if (this.#sending) return;
    const now = this.#deps.clock.now();
    this.#arm(now + Math.max(this.#spread(reportSoonMs), this.#lastAt + this.#spread(reportGapMs) - now));
  }

  status(): PathReportStatus {
    return this.#status;
  }

  close(): void {
    this.#closing.abort();
    this.#timer?.cancel();
  }

  /** From `ms` to a share more. */
  #spread(ms: number): number {
    return ms * (1 + reportJitter * this.#deps.random());
  }

  /** At that time, or earlier where it is due earlier. */
  #arm(at: number): void {
    if (at >= this.#timerAt || this.#closing.signal.aborted) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#deps.clock.after(at - this.#deps.clock.now(), () => {
      this.#timerAt = Infinity;
      void this.#report();
    });
  }

  /** Never rejects. */
  async #report(): Promise<void> {
    this.#changed = false;
    this.#sending = true;
    this.#lastAt = this.#deps.clock.now();
    try {
      const outcome = await this.#deps.send(reportOf(this.#deps.peers()), this.#closing.signal);
      this.#status =
        outcome === 'taken'
          ? { state: 'taken', at: new Date(this.#deps.clock.wall()).toISOString(), reason: '' }
          : { ...this.#status, state: 'unsupported', reason: 'the control plane does not take reports of paths' };
    } catch (error) {
      this.#deps.log.debug('paths were not told', { reason: describeError(error) });
      const reason = error instanceof MeshgateError ? error.message : 'failed';
      this.#status = { ...this.#status, state: 'failing', reason };
    }
    this.#sending = false;
    if (this.#changed) this.changed();
    this.#arm(this.#lastAt + this.#spread(reportEveryMs));
  }
}

/** Peers with a path first; those that were never sought are left out. */
function reportOf(peers: readonly PeerPathStatus[]): PathReport {
  const known = peers.filter(({ path, lastSwitch, state }) => path !== undefined || lastSwitch !== undefined || state === 'seeking');
  const first = known.filter(({ path }) => path !== undefined);
  const paths = [...first, ...known.filter(({ path }) => path === undefined)].slice(0, maxReportedPaths).map(reportedOf);
  return { paths, omitted: known.length - paths.length };
}

function reportedOf(peer: PeerPathStatus): ReportedPath {
  const { publicKey, path, lastSwitch, switches, receivedBytes, sentBytes, reason } = peer;
  return {
    publicKey,
    kind: path?.kind,
    latencyMs: path?.latencyMs,
    since: path === undefined ? undefined : Date.parse(path.since),
    lastSwitchAt: lastSwitch === undefined ? undefined : Date.parse(lastSwitch.at),
    lastSwitchReason: lastSwitch?.reason ?? reason,
    switches,
    receivedBytes,
    sentBytes,
  };
}
