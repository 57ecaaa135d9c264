// Routes of the older kind: a range or domains, carried by peers, distributed to groups.
import { boolean, integer, list, object, optional, string } from '#lib/schema.ts';
import type { PeerId } from '#model/ids.ts';
import type { PlannedRoute, RouteId } from '#model/network-plan.ts';
import { deleted, idParam, ok, readBody, type Call, type Handler } from './call.ts';
import { descriptionField, emptyOrId, groupIds, present } from './fields.ts';

const routeRequest = object({
  id: optional(string({ max: 200 })),
  /** Follows from where the route leads. */
  network_type: optional(string({ max: 20 })),
  network_id: string({ max: 40 }),
  description: descriptionField(),
  enabled: boolean(),
  peer: emptyOrId<PeerId>(),
  peer_groups: groupIds(),
  network: optional(string({ min: 0, max: 64 })),
  domains: list(string({ max: 255 }), { default: [], max: 32 }),
  metric: integer({ min: 1, max: 9999 }),
  masquerade: boolean(),
  groups: groupIds(),
  keep_route: boolean({ default: false }),
  access_control_groups: groupIds(),
  skip_auto_apply: boolean({ default: false }),
});

function readRoute(call: Call): Omit<PlannedRoute, 'id'> {
  const request = readBody(call, routeRequest);
  return {
    netId: request.network_id,
    description: request.description,
    enabled: request.enabled,
    network: request.network === '' ? undefined : request.network,
    domains: request.domains,
    peer: request.peer,
    peerGroups: request.peer_groups,
    metric: request.metric,
    masquerade: request.masquerade,
    groups: request.groups,
    keepRoute: request.keep_route,
    accessControlGroups: request.access_control_groups,
    skipAutoApply: request.skip_auto_apply,
  };
}

function routeShape(route: PlannedRoute): Readonly<Record<string, unknown>> {
  return present({
    id: route.id,
    network_type: route.network === undefined ? 'Domain' : route.network.includes(':') ? 'IPv6' : 'IPv4',
    network_id: route.netId,
    description: route.description,
    enabled: route.enabled,
    peer: route.peer,
    peer_groups: route.peer === undefined ? route.peerGroups : undefined,
    network: route.network,
    domains: route.network === undefined ? route.domains : undefined,
    metric: route.metric,
    masquerade: route.masquerade,
    groups: route.groups,
    keep_route: route.keepRoute,
    access_control_groups: route.accessControlGroups.length === 0 ? undefined : route.accessControlGroups,
    skip_auto_apply: route.skipAutoApply,
  });
}

export const listRoutes: Handler = async (call) => ok((await call.domain.routes.list()).map(routeShape));

export const getRoute: Handler = async (call) => ok(routeShape(await call.domain.routes.get(idParam<RouteId>(call))));

export const createRoute: Handler = async (call) => ok(routeShape(await call.domain.routes.create(readRoute(call), call.actor)));

export const updateRoute: Handler = async (call) =>
  ok(routeShape(await call.domain.routes.update(idParam<RouteId>(call), readRoute(call), call.actor)));

export const deleteRoute: Handler = async (call) => {
  await call.domain.routes.delete(idParam<RouteId>(call), call.actor);
  return deleted;
};
