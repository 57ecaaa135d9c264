// The control plane's words for what lies behind peers, and for names: what people plan, from which the maps of peers follow.
import type { Brand, GroupId, PeerId } from './ids.ts';

export type NetworkId = Brand<string, 'NetworkId'>;
export type ResourceId = Brand<string, 'ResourceId'>;
export type RouterId = Brand<string, 'RouterId'>;
export type RouteId = Brand<string, 'RouteId'>;
export type NameserverGroupId = Brand<string, 'NameserverGroupId'>;
export type ZoneId = Brand<string, 'ZoneId'>;
export type RecordId = Brand<string, 'RecordId'>;

/** A network that is not the overlay's: resources in it, and peers that lead there. */
export interface Network {
  readonly id: NetworkId;
  readonly name: string;
  readonly description: string;
}

export const resourceTypes = ['host', 'subnet', 'domain'] as const;
export type ResourceType = (typeof resourceTypes)[number];

/** A destination in a network. Policies grant it: by a group that it is in, or by name. */
export interface NetworkResource {
  readonly id: ResourceId;
  readonly networkId: NetworkId;
  readonly name: string;
  readonly description: string;
  readonly type: ResourceType;
  /** Canonical: a prefix such as 10.0.0.1/32 or 10.0.0.0/24, or a domain, which may begin with `*.`. */
  readonly address: string;
  readonly enabled: boolean;
  readonly groups: readonly GroupId[];
}

/** Peers that lead into a network: one, or all of some groups. */
export interface NetworkRouter {
  readonly id: RouterId;
  readonly networkId: NetworkId;
  readonly peer: PeerId | undefined;
  readonly peerGroups: readonly GroupId[];
  /** 1 to 9999; the lowest wins. */
  readonly metric: number;
  readonly masquerade: boolean;
  readonly enabled: boolean;
}

/** The older way to name a destination: a route of its own, distributed to groups. */
export interface PlannedRoute {
  readonly id: RouteId;
  /** As people see it; routes of one name to one destination stand in for each other. */
  readonly netId: string;
  readonly description: string;
  readonly enabled: boolean;
  /** Canonical prefix; undefined where `domains` says where it leads. */
  readonly network: string | undefined;
  readonly domains: readonly string[];
  readonly peer: PeerId | undefined;
  readonly peerGroups: readonly GroupId[];
  readonly metric: number;
  readonly masquerade: boolean;
  /** Whose peers get the route. */
  readonly groups: readonly GroupId[];
  /** Domains: addresses that a name had before stay reachable. */
  readonly keepRoute: boolean;
  /** Policies to these groups say who may pass; none lets everybody pass that has the route. */
  readonly accessControlGroups: readonly GroupId[];
  /** Everything (an exit node): taken only by those who ask for it. */
  readonly skipAutoApply: boolean;
}

/** What a rule may name in place of groups: one peer, or one resource of a network. */
export interface ResourceRef {
  readonly type: ResourceType | 'peer';
  readonly id: string;
}

/** Servers that stand in for each other, told to the peers of some groups. */
export interface NameserverGroup {
  readonly id: NameserverGroupId;
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
  readonly nameservers: readonly { readonly ip: string; readonly port: number }[];
  readonly groups: readonly GroupId[];
  /** Asked for every name that no other group has; `domains` is empty then. */
  readonly primary: boolean;
  readonly domains: readonly string[];
  readonly searchDomainsEnabled: boolean;
}

export interface Zone {
  readonly id: ZoneId;
  readonly name: string;
  /** Canonical, fixed for ever. */
  readonly domain: string;
  readonly enabled: boolean;
  readonly enableSearchDomain: boolean;
  readonly distributionGroups: readonly GroupId[];
}

export const zoneRecordTypes = ['A', 'AAAA', 'CNAME'] as const;

export interface ZoneRecord {
  readonly id: RecordId;
  readonly zoneId: ZoneId;
  /** Canonical and whole, at or below the zone's domain. */
  readonly name: string;
  readonly type: (typeof zoneRecordTypes)[number];
  readonly content: string;
  readonly ttl: number;
}

export interface DnsSettings {
  /** Peers in these groups keep their own name servers. */
  readonly disabledManagementGroups: readonly GroupId[];
}
