// What every peer of the mesh exposes: links to the control plane, and the paths to other peers.
import type { LinkStatus, MeshStatus, PeerPathStatus } from '#model/status.ts';
import { counter, type Family, gauge, type Sample, single } from './family.ts';
import { PeerSeries } from './peers.ts';

export interface MeshFigures {
  readonly mesh: MeshStatus;
  /** Whether the peer is in the network, with a map from the control plane or from disk. */
  readonly joined: boolean;
  /** Links beside those of the mesh. */
  readonly links: readonly LinkStatus[];
  readonly wallMs: number;
}

export function meshFamilies(read: () => MeshFigures): readonly Family[] {
  const series = new PeerSeries();
  const now = oncePerAnswer(() => {
    const figures = read();
    series.update(figures.mesh.peers);
    return figures;
  });
  const overlay = (): MeshStatus['overlay'] => now().mesh.overlay;
  const links = (value: (link: LinkStatus, wallMs: number) => number) => (): readonly Sample<number>[] => {
    const { mesh, links: more, wallMs } = now();
    return [...more, ...mesh.links].map((link) => ({ labels: { link: link.name }, value: value(link, wallMs) }));
  };
  const peers = (value: (peer: PeerPathStatus, wallMs: number) => number | undefined) => (): readonly Sample<number>[] => {
    const { wallMs } = now();
    return [...series.labelled()].flatMap(([peer, label]) => {
      const found = value(peer, wallMs);
      return found === undefined ? [] : [{ labels: { peer: label }, value: found }];
    });
  };
  const totals = (name: Parameters<PeerSeries['total']>[0]) => (): Iterable<Sample<number>> => {
    now();
    return series.total(name);
  };
  return [
    gauge(
      'meshgate_mesh_joined',
      'Whether this peer is in the network.',
      single(() => Number(now().joined)),
    ),
    gauge(
      'meshgate_link_up',
      'Whether a link to the control plane or the relay is there.',
      links((link) => Number(link.connected)),
    ),
    gauge(
      'meshgate_link_state_seconds',
      'How long a link has been up, or down.',
      links((link, wallMs) => secondsSince(link.since, wallMs) ?? 0),
    ),
    gauge('meshgate_peers', 'Peers by what carries them.', () =>
      Object.entries(overlay().peers).map(([path, value]) => ({ labels: { path }, value })),
    ),
    counter(
      'meshgate_path_switches_total',
      'Changes of paths, of all peers.',
      single(() => overlay().pathSwitches),
    ),
    counter(
      'meshgate_network_changes_total',
      'Changes of this host’s network that were noticed.',
      single(() => overlay().networkChanges),
    ),
    counter(
      'meshgate_relay_dropped_packets_total',
      'Packets that were lost because the relay’s connection was full.',
      single(() => overlay().relayDroppedPackets),
    ),
    gauge('meshgate_peer_path', 'The path to a peer: 1 for the kind in use.', () => {
      now();
      return [...series.labelled()].map(([peer, label]) => ({ labels: { peer: label, path: peer.path?.kind ?? peer.state }, value: 1 }));
    }),
    gauge(
      'meshgate_peer_latency_seconds',
      'Round trip of the path to a peer.',
      peers((peer) => (peer.path?.latencyMs === undefined ? undefined : peer.path.latencyMs / 1_000)),
    ),
    gauge(
      'meshgate_peer_handshake_age_seconds',
      'Time since the last WireGuard handshake with a peer.',
      peers((peer, wallMs) => secondsSince(peer.lastHandshake, wallMs)),
    ),
    counter('meshgate_peer_path_switches_total', 'Changes of the path to a peer.', totals('switches')),
    counter('meshgate_peer_received_bytes_total', 'Bytes from a peer, inside the tunnel.', totals('received')),
    counter('meshgate_peer_sent_bytes_total', 'Bytes to a peer, inside the tunnel.', totals('sent')),
  ];
}

/** Families of one answer are read in one go: they see one state, and it is gathered once. */
function oncePerAnswer<T>(read: () => T): () => T {
  let kept: { readonly value: T } | undefined;
  return () => {
    if (kept === undefined) {
      kept = { value: read() };
      queueMicrotask(() => (kept = undefined));
    }
    return kept.value;
  };
}

function secondsSince(at: string | undefined, wallMs: number): number | undefined {
  return at === undefined ? undefined : Math.max(0, (wallMs - Date.parse(at)) / 1_000);
}
