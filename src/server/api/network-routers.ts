// Routers of networks: the peers that lead there.
import { boolean, integer, object, optional, string } from '#lib/schema.ts';
import type { PeerId } from '#model/ids.ts';
import type { NetworkId, NetworkRouter, RouterId } from '#model/network-plan.ts';
import type { RouterInput } from '../domain/plan-contract.ts';
import { deleted, idParam, ok, readBody, type Call, type Handler } from './call.ts';
import { emptyOrId, groupIds, present } from './fields.ts';

const routerRequest = object({
  id: optional(string({ max: 200 })),
  peer: emptyOrId<PeerId>(),
  peer_groups: groupIds(),
  metric: integer({ min: 1, max: 9999 }),
  masquerade: boolean(),
  enabled: boolean(),
});

function readRouter(call: Call): RouterInput {
  const { peer, peer_groups: peerGroups, metric, masquerade, enabled } = readBody(call, routerRequest);
  return { peer, peerGroups, metric, masquerade, enabled };
}

function routerShape(router: NetworkRouter): Readonly<Record<string, unknown>> {
  return present({
    id: router.id,
    peer: router.peer,
    peer_groups: router.peer === undefined ? router.peerGroups : undefined,
    metric: router.metric,
    masquerade: router.masquerade,
    enabled: router.enabled,
  });
}

const networkOf = (call: Call): NetworkId => idParam<NetworkId>(call);
const routerOf = (call: Call): RouterId => idParam<RouterId>(call, 'routerId');

/** Those of all networks. */
export const listAllRouters: Handler = async (call) => ok((await call.domain.routers.list()).map(routerShape));

export const listRouters: Handler = async (call) => ok((await call.domain.routers.list(networkOf(call))).map(routerShape));

export const getRouter: Handler = async (call) => ok(routerShape(await call.domain.routers.get(networkOf(call), routerOf(call))));

export const createRouter: Handler = async (call) => ok(routerShape(await call.domain.routers.create(networkOf(call), readRouter(call), call.actor)));

export const updateRouter: Handler = async (call) =>
  ok(routerShape(await call.domain.routers.update(networkOf(call), routerOf(call), readRouter(call), call.actor)));

export const deleteRouter: Handler = async (call) => {
  await call.domain.routers.delete(networkOf(call), routerOf(call), call.actor);
  return deleted;
};
