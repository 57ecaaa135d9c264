// What people planned, as far as maps follow from it.
import type { GroupId } from '#model/ids.ts';
import type { NameserverGroup, NetworkResource, NetworkRouter, PlannedRoute, Zone, ZoneRecord } from '#model/network-plan.ts';
import type { PostureCheck } from '#model/posture.ts';

export interface NetworkPlan {
  readonly resources: readonly NetworkResource[];
  readonly routers: readonly NetworkRouter[];
  readonly routes: readonly PlannedRoute[];
  readonly nameservers: readonly NameserverGroup[];
  readonly zones: readonly Zone[];
  readonly zoneRecords: readonly ZoneRecord[];
  readonly postureChecks: readonly PostureCheck[];
  /** Peers in these groups keep their own name servers. */
  readonly dnsDisabledGroups: readonly GroupId[];
}

export const emptyPlan: NetworkPlan = {
  resources: [],
  routers: [],
  routes: [],
  nameservers: [],
  zones: [],
  zoneRecords: [],
  postureChecks: [],
  dnsDisabledGroups: [],
};
