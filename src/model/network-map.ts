// What one peer may know of the network, as an immutable value that is swapped whole.
import type { IpPrefix } from '#lib/ip.ts';
import type { DnsConfig } from './dns.ts';
import type { PublicKey } from './ids.ts';
import type { PacketFilter } from './packet-filter.ts';
import type { Routing } from './routes.ts';

export { admitsInbound, closedFilter, type PacketFilter, type PacketProtocol, type PacketRule, type PortRange } from './packet-filter.ts';

export interface NetworkMap {
  /** Never goes back while a peer runs; a lower one than the last is ignored. */
  readonly serial: bigint;
  /** Peers that know lazy connections rest while there is no traffic to them; absent is no. */
  readonly lazy?: boolean | undefined;
  readonly self: SelfAddress;
  readonly peers: readonly RemotePeer[];
  readonly filter: PacketFilter;
  /** Networks behind peers; absent where there are none. */
  readonly routing?: Routing;
  /** Names; absent where the control plane leaves them alone. */
  readonly dns?: DnsConfig;
}

export interface SelfAddress {
  /** The overlay address with the network's prefix length, such as 100.92.3.4/16. */
  readonly v4: IpPrefix;
  readonly v6: IpPrefix | undefined;
  readonly fqdn: string;
}

export interface RemotePeer {
  readonly publicKey: PublicKey;
  /** Host prefixes, IPv4 first. Never empty. */
  readonly allowedIps: readonly IpPrefix[];
  readonly fqdn: string;
  readonly agentVersion: string;
}

/** Where the mesh's meeting points are, from the control plane. Fields that a message leaves out keep their old value. */
export interface MeshEndpoints {
  readonly signal: { readonly host: string; readonly port: number; readonly tls: boolean };
  /** `stun:host:port` */
  readonly stunUrls: readonly string[];
  readonly relay: RelayEndpoints | undefined;
  /** TURN servers; absent where there are none. */
  readonly turn?: readonly TurnEndpoint[];
}

/** A TURN server and our account there, which may be one for a limited time. */
export interface TurnEndpoint {
  /** `turn:host:port?transport=udp` */
  readonly url: string;
  readonly username: string;
  readonly password: string;
}

export interface RelayEndpoints {
  /** `rel://host:port` or `rels://host:port` */
  readonly urls: readonly string[];
  readonly tokenPayload: string;
  /** Standard base64. */
  readonly tokenSignature: string;
}
