// The use cases of networks behind peers, routes and names, as the API calls them. Failures are rows of domain/errors.ts; every change
// reaches the peers that it concerns.
import type { GroupId } from '#model/ids.ts';
import type {
  DnsSettings,
  NameserverGroup,
  NameserverGroupId,
  Network,
  NetworkId,
  NetworkResource,
  NetworkRouter,
  PlannedRoute,
  ResourceId,
  RouteId,
  RouterId,
  Zone,
  ZoneId,
  ZoneRecord,
  RecordId,
} from '#model/network-plan.ts';
import type { PostureCheck, PostureCheckId } from '#model/posture.ts';
import type { Actor } from './actor.ts';

export interface NetworkUseCases {
  list(): Promise<readonly Network[]>;
  get(id: NetworkId): Promise<Network>;
  create(request: Omit<Network, 'id'>, actor: Actor): Promise<Network>;
  update(id: NetworkId, request: Omit<Network, 'id'>, actor: Actor): Promise<Network>;
  /** With its resources and routers. DOMAIN_RESOURCE_IN_USE where a policy or a service names one of its resources. */
  delete(id: NetworkId, actor: Actor): Promise<void>;
}

/** The type of a resource follows from its address: one address is a host, a longer range a subnet, a name a domain. */
export type ResourceInput = Omit<NetworkResource, 'id' | 'networkId' | 'type'>;

export interface ResourceUseCases {
  /** Of one network, or all. DOMAIN_NOT_FOUND for a network that is not there. */
  list(networkId?: NetworkId): Promise<readonly NetworkResource[]>;
  get(networkId: NetworkId, id: ResourceId): Promise<NetworkResource>;
  create(networkId: NetworkId, request: ResourceInput, actor: Actor): Promise<NetworkResource>;
  update(networkId: NetworkId, id: ResourceId, request: ResourceInput, actor: Actor): Promise<NetworkResource>;
  /** DOMAIN_RESOURCE_IN_USE names what uses it. */
  delete(networkId: NetworkId, id: ResourceId, actor: Actor): Promise<void>;
}

export type RouterInput = Omit<NetworkRouter, 'id' | 'networkId'>;

export interface RouterUseCases {
  list(networkId?: NetworkId): Promise<readonly NetworkRouter[]>;
  get(networkId: NetworkId, id: RouterId): Promise<NetworkRouter>;
  create(networkId: NetworkId, request: RouterInput, actor: Actor): Promise<NetworkRouter>;
  update(networkId: NetworkId, id: RouterId, request: RouterInput, actor: Actor): Promise<NetworkRouter>;
  delete(networkId: NetworkId, id: RouterId, actor: Actor): Promise<void>;
}

export interface RouteUseCases {
  list(): Promise<readonly PlannedRoute[]>;
  get(id: RouteId): Promise<PlannedRoute>;
  create(request: Omit<PlannedRoute, 'id'>, actor: Actor): Promise<PlannedRoute>;
  update(id: RouteId, request: Omit<PlannedRoute, 'id'>, actor: Actor): Promise<PlannedRoute>;
  delete(id: RouteId, actor: Actor): Promise<void>;
}

export interface NameserverUseCases {
  list(): Promise<readonly NameserverGroup[]>;
  get(id: NameserverGroupId): Promise<NameserverGroup>;
  create(request: Omit<NameserverGroup, 'id'>, actor: Actor): Promise<NameserverGroup>;
  update(id: NameserverGroupId, request: Omit<NameserverGroup, 'id'>, actor: Actor): Promise<NameserverGroup>;
  delete(id: NameserverGroupId, actor: Actor): Promise<void>;
  settings(): Promise<DnsSettings>;
  /** The groups whose peers keep their own name servers. */
  setSettings(disabledManagementGroups: readonly GroupId[], actor: Actor): Promise<DnsSettings>;
}

export type RecordInput = Omit<ZoneRecord, 'id' | 'zoneId'>;

export interface ZoneUseCases {
  list(): Promise<readonly Zone[]>;
  get(id: ZoneId): Promise<Zone>;
  /** DOMAIN_ZONE_TAKEN where another zone, or the peers' own, has the domain. */
  create(request: Omit<Zone, 'id'>, actor: Actor): Promise<Zone>;
  /** The domain stays what it was. */
  update(id: ZoneId, request: Omit<Zone, 'id'>, actor: Actor): Promise<Zone>;
  /** With its records. */
  delete(id: ZoneId, actor: Actor): Promise<void>;
  /** Of one zone, or all. */
  records(zoneId?: ZoneId): Promise<readonly ZoneRecord[]>;
  record(zoneId: ZoneId, id: RecordId): Promise<ZoneRecord>;
  createRecord(zoneId: ZoneId, request: RecordInput, actor: Actor): Promise<ZoneRecord>;
  updateRecord(zoneId: ZoneId, id: RecordId, request: RecordInput, actor: Actor): Promise<ZoneRecord>;
  deleteRecord(zoneId: ZoneId, id: RecordId, actor: Actor): Promise<void>;
}

export interface PostureUseCases {
  list(): Promise<readonly PostureCheck[]>;
  get(id: PostureCheckId): Promise<PostureCheck>;
  create(request: Omit<PostureCheck, 'id'>, actor: Actor): Promise<PostureCheck>;
  update(id: PostureCheckId, request: Omit<PostureCheck, 'id'>, actor: Actor): Promise<PostureCheck>;
  /** DOMAIN_POSTURE_IN_USE names the policies that use it. */
  delete(id: PostureCheckId, actor: Actor): Promise<void>;
}

export interface PlanUseCases {
  readonly networks: NetworkUseCases;
  readonly resources: ResourceUseCases;
  readonly routers: RouterUseCases;
  readonly routes: RouteUseCases;
  readonly nameservers: NameserverUseCases;
  readonly zones: ZoneUseCases;
  readonly posture: PostureUseCases;
}
