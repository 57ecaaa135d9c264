// The control plane's words for who is in the network and who may talk to whom.
import type { GroupId, PeerId, PolicyId, PublicKey, SetupKeyId, UserId } from './ids.ts';
import type { PortRange } from './network-map.ts';
import type { ResourceId, ResourceRef } from './network-plan.ts';
import type { PostureCheckId, PostureFacts } from './posture.ts';

/** What a peer tells of itself at login and sync (the part we keep). */
export interface PeerMeta {
  readonly hostname: string;
  readonly os: string;
  readonly osVersion: string;
  readonly kernel: string;
  readonly platform: string;
  readonly version: string;
  readonly uiVersion: string;
  /** The peer can use an IPv6 overlay address. */
  readonly ipv6: boolean;
  /** Absent where the peer says nothing that a posture check could ask for. */
  readonly posture?: PostureFacts | undefined;
}

export interface Peer {
  readonly id: PeerId;
  readonly publicKey: PublicKey;
  readonly name: string;
  /** Unique label under the network's domain. */
  readonly dnsLabel: string;
  /** Overlay addresses without prefix length. */
  readonly ipv4: string;
  readonly ipv6: string;
  readonly meta: PeerMeta;
  readonly userId: UserId | undefined;
  /** Its user has to sign in again now and then; only where it has a user. */
  readonly loginExpirationEnabled: boolean;
  /** The last sign-in is too long ago: the peer is out until its user signs in again. */
  readonly loginExpired: boolean;
  /** Removed by itself when it has been away for long. */
  readonly ephemeral: boolean;
  /** Set for a gateway's peer: the cluster it serves. Such peers are in no group, the group All included. */
  readonly proxyCluster: string | undefined;
  readonly connected: boolean;
  readonly connectionIp: string;
  readonly lastSeen: number;
  /** The last login; where a user owns the peer, the last sign-in of that user. */
  readonly lastLogin: number;
  readonly createdAt: number;
}

/** The group named All holds every peer that is not a gateway's; it cannot be changed. */
export interface Group {
  readonly id: GroupId;
  readonly name: string;
  readonly peers: readonly PeerId[];
  /** Resources of networks that are in the group. */
  readonly resources: readonly ResourceId[];
  readonly system: boolean;
}

export const ruleProtocols = ['all', 'tcp', 'udp', 'icmp'] as const;
export type RuleProtocol = (typeof ruleProtocols)[number];

export interface PolicyRule {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
  readonly action: 'accept' | 'drop';
  readonly bidirectional: boolean;
  readonly protocol: RuleProtocol;
  /** Empty means every port. */
  readonly ports: readonly PortRange[];
  /** Empty where `sourceResource` stands in for them, and the other way round. */
  readonly sources: readonly GroupId[];
  readonly destinations: readonly GroupId[];
  /** One peer. */
  readonly sourceResource?: ResourceRef | undefined;
  /** One peer, or one resource of a network. */
  readonly destinationResource?: ResourceRef | undefined;
}

export interface Policy {
  readonly id: PolicyId;
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
  /** What a machine must be like to count as a source; absent is nothing. */
  readonly sourcePostureChecks?: readonly PostureCheckId[] | undefined;
  readonly rules: readonly PolicyRule[];
}

export interface SetupKey {
  readonly id: SetupKeyId;
  readonly name: string;
  readonly type: 'reusable' | 'one-off';
  /** First characters and asterisks: the key itself is shown once. */
  readonly hint: string;
  readonly expiresAt: number | undefined;
  readonly revoked: boolean;
  readonly usedTimes: number;
  /** 0 for no limit. */
  readonly usageLimit: number;
  readonly lastUsed: number | undefined;
  readonly ephemeral: boolean;
  readonly autoGroups: readonly GroupId[];
  readonly createdAt: number;
  readonly updatedAt: number;
}
