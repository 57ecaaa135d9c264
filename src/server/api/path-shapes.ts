// Our own addition to peers: how each reaches the others, as it says itself. Peers of other programs have none.
import type { PublicKey } from '#model/ids.ts';
import type { Peer } from '#model/network.ts';
import { maxReportedPaths, type KeptReport, type ReportedPath } from '#model/path-report.ts';

export class PathShapes {
  readonly #byKey: ReadonlyMap<PublicKey, Peer>;
  readonly #pathsOf: (peer: PublicKey) => KeptReport | undefined;
  #left: number;

  /** `peers` are all of the network; `maxPaths` bounds the paths of one answer, beyond which peers have their summary only. */
  constructor(peers: readonly Peer[], pathsOf: (peer: PublicKey) => KeptReport | undefined, maxPaths: number = maxReportedPaths) {
    this.#byKey = new Map(peers.map((peer) => [peer.publicKey, peer]));
    this.#pathsOf = pathsOf;
    this.#left = maxPaths;
  }

  /** The field `meshgate`, or nothing. A path to what is no peer of the network any more is left out. */
  shape({ publicKey }: Peer): { readonly meshgate?: unknown } {
    const report = this.#pathsOf(publicKey);
    if (report === undefined) return {};
    const paths = report.paths.flatMap((path) => {
      const to = path.publicKey === publicKey ? undefined : this.#byKey.get(path.publicKey);
      return to === undefined ? [] : [pathShape(path, to)];
    });
    const count = (kind: string): number => paths.filter((path) => path.kind === kind).length;
    const summary = { direct: count('direct'), relay: count('relay'), none: count('none'), omitted: report.omitted };
    const fits = paths.length <= this.#left;
    if (fits) this.#left -= paths.length;
    return { meshgate: { reported_at: new Date(report.at).toISOString(), summary, ...(fits ? { paths } : {}) } };
  }
}

function pathShape(path: ReportedPath, to: Peer) {
  return {
    peer_id: to.id,
    peer_name: to.name,
    kind: path.kind ?? 'none',
    latency_ms: path.latencyMs === undefined ? null : Math.round(path.latencyMs * 100) / 100,
    since: timeOf(path.since),
    last_switch_at: timeOf(path.lastSwitchAt),
    last_switch_reason: path.lastSwitchReason,
    switches: path.switches,
    bytes_received: path.receivedBytes,
    bytes_sent: path.sentBytes,
  };
}

function timeOf(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}
