// What the status page says of one peer.
import type { Clock } from '#lib/clock.ts';
import { formatIp } from '#lib/ip.ts';
import type { RemotePeer } from '#model/network-map.ts';
import type { OverlayFigures, PeerPathStatus, PeerState } from '#model/status.ts';
import type { DevicePeerStatus } from '#wireguard/types.ts';
import type { PeerConn } from './peer-conn.ts';

export function describePeer(peer: RemotePeer, conn: PeerConn | undefined, device: DevicePeerStatus | undefined, clock: Clock): PeerPathStatus {
  const path = conn?.path;
  const last = conn?.lastSwitch;
  const wall = (at: number): string => new Date(clock.wall() - (clock.now() - at)).toISOString();
  return {
    publicKey: peer.publicKey,
    fqdn: peer.fqdn,
    addresses: peer.allowedIps.map(({ address }) => formatIp(address)),
    state: stateOf(conn),
    path:
      path === undefined ? undefined : { kind: path.kind, remote: path.remote, latencyMs: path.latencyMs, since: wall(conn?.since ?? clock.now()) },
    reason: conn?.reason ?? 'the map names this peer in a way that cannot be used',
    lastSwitch: last === undefined ? undefined : { at: wall(last.at), from: last.from, to: last.to, reason: last.reason },
    switches: conn?.switches ?? 0,
    lastHandshake: device?.lastHandshake === undefined ? undefined : wall(device.lastHandshake),
    receivedBytes: device?.receivedBytes ?? 0,
    sentBytes: device?.sentBytes ?? 0,
  };
}

/** How many peers are carried by what. */
export function countPaths(peers: readonly PeerPathStatus[]): OverlayFigures['peers'] {
  const count = (holds: (peer: PeerPathStatus) => boolean): number => peers.filter(holds).length;
  return {
    direct: count(({ path }) => path?.kind === 'direct'),
    relay: count(({ path }) => path?.kind === 'relay'),
    seeking: count(({ state }) => state === 'seeking'),
    idle: count(({ state }) => state === 'idle'),
  };
}

function stateOf(conn: PeerConn | undefined): PeerState {
  if (conn === undefined) return 'unusable';
  if (conn.resting) return 'idle';
  return conn.path === undefined ? 'seeking' : 'connected';
}
