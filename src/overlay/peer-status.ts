// What the status page says of one peer.
import type { Clock } from '#lib/clock.ts';
import { formatIp } from '#lib/ip.ts';
import type { RemotePeer } from '#model/network-map.ts';
import type { PeerPathStatus } from '#model/status.ts';
import type { DevicePeerStatus } from '#wireguard/types.ts';
import type { PeerConn } from './peer-conn.ts';

export function describePeer(peer: RemotePeer, conn: PeerConn | undefined, device: DevicePeerStatus | undefined, clock: Clock): PeerPathStatus {
  const path = conn?.path;
  const wall = (at: number): string => new Date(clock.wall() - (clock.now() - at)).toISOString();
  return {
    publicKey: peer.publicKey,
    fqdn: peer.fqdn,
    addresses: peer.allowedIps.map(({ address }) => formatIp(address)),
    path:
      path === undefined ? undefined : { kind: path.kind, remote: path.remote, latencyMs: path.latencyMs, since: wall(conn?.since ?? clock.now()) },
    reason: conn?.reason ?? 'the map names this peer in a way that cannot be used',
    lastHandshake: device?.lastHandshake === undefined ? undefined : wall(device.lastHandshake),
    receivedBytes: device?.receivedBytes ?? 0,
    sentBytes: device?.sentBytes ?? 0,
  };
}
