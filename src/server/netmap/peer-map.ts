// The network map as the server makes it: what the peer gets to know, and what only concerns how it is told.
import type { NetworkMap, RemotePeer } from '#model/network-map.ts';

export interface PeerMap extends NetworkMap {
  /** Told with the peer's own address in every message, whether or not it has routes. */
  readonly resolveAtRouter?: boolean;
  /** Programs of which the peer has to tell whether they run; absent is none. */
  readonly files?: readonly string[];
  /** Peers that would be in `peers`, but whose users have to sign in again; absent is none. */
  readonly offline?: readonly RemotePeer[];
}
