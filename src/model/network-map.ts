// What one peer may know of the network, as an immutable value that is swapped whole.
import { prefixContains, type IpAddress, type IpPrefix } from '#lib/ip.ts';
import type { PublicKey } from './ids.ts';

export interface NetworkMap {
  /** Never goes back while a peer runs; a lower one than the last is ignored. */
  readonly serial: bigint;
  readonly self: SelfAddress;
  readonly peers: readonly RemotePeer[];
  readonly filter: PacketFilter;
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

export type PacketProtocol = 'all' | 'tcp' | 'udp' | 'icmp';

export interface PortRange {
  readonly start: number;
  readonly end: number;
}

/** One inbound or outbound permission. `peer` undefined means any address, `ports` undefined any port. */
export interface PacketRule {
  readonly direction: 'in' | 'out';
  readonly action: 'accept' | 'drop';
  readonly protocol: PacketProtocol;
  readonly peer: IpPrefix | undefined;
  readonly ports: PortRange | undefined;
}

/** `open` is what a control plane without policies says; a list, the empty one too, denies what it does not accept. */
export type PacketFilter = { readonly kind: 'open' } | { readonly kind: 'rules'; readonly rules: readonly PacketRule[] };

/** A filter that lets nothing in: what holds before the first map. */
export const closedFilter: PacketFilter = { kind: 'rules', rules: [] };

/** Whether a new inbound flow may start. Drop rules win over accept rules; nothing listed is denied. */
export function admitsInbound(filter: PacketFilter, protocol: 'tcp' | 'udp' | 'icmp', from: IpAddress, port: number): boolean {
  if (filter.kind === 'open') return true;
  const matching = filter.rules.filter(
    (rule) =>
      rule.direction === 'in' &&
      (rule.protocol === 'all' || rule.protocol === protocol) &&
      (rule.peer === undefined || prefixContains(rule.peer, from)) &&
      (rule.ports === undefined || (port >= rule.ports.start && port <= rule.ports.end)),
  );
  return matching.length > 0 && matching.every((rule) => rule.action === 'accept');
}

/** Where the mesh's meeting points are, from the control plane. Fields that a message leaves out keep their old value. */
export interface MeshEndpoints {
  readonly signal: { readonly host: string; readonly port: number; readonly tls: boolean };
  /** `stun:host:port` */
  readonly stunUrls: readonly string[];
  readonly relay: RelayEndpoints | undefined;
}

export interface RelayEndpoints {
  /** `rel://host:port` or `rels://host:port` */
  readonly urls: readonly string[];
  readonly tokenPayload: string;
  /** Standard base64. */
  readonly tokenSignature: string;
}
