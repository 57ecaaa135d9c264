// Networks behind peers. Their resources and routers have endpoints of their own below.
import { object, string } from '#lib/schema.ts';
import type { Group, Policy } from '#model/network.ts';
import type { Network, NetworkId, NetworkResource, NetworkRouter } from '#model/network-plan.ts';
import { deleted, idParam, ok, readBody, type Call, type Handler } from './call.ts';
import { descriptionField } from './fields.ts';

const networkRequest = object({ name: string({ max: 255 }), description: descriptionField() });

/** What surrounds a network, read once for all of them. */
interface Surroundings {
  readonly resources: readonly NetworkResource[];
  readonly routers: readonly NetworkRouter[];
  readonly policies: readonly Policy[];
  readonly groups: readonly Group[];
}

async function readSurroundings({ domain }: Call): Promise<Surroundings> {
  const [resources, routers, policies, groups] = await Promise.all([
    domain.resources.list(),
    domain.routers.list(),
    domain.policies.list(),
    domain.groups.list(),
  ]);
  return { resources, routers, policies, groups };
}

function networkShape(network: Network, around: Surroundings): Readonly<Record<string, unknown>> {
  const resources = around.resources.filter(({ networkId }) => networkId === network.id);
  const routers = around.routers.filter(({ networkId }) => networkId === network.id);
  const leading = new Set(routers.flatMap(({ peer, peerGroups }) => (peer === undefined ? membersOf(peerGroups, around.groups) : [peer])));
  return {
    id: network.id,
    name: network.name,
    description: network.description,
    routers: routers.map(({ id }) => id),
    routing_peers_count: leading.size,
    resources: resources.map(({ id }) => id),
    policies: around.policies.filter((policy) => grantsAny(policy, resources)).map(({ id }) => id),
  };
}

function membersOf(ids: NetworkRouter['peerGroups'], groups: readonly Group[]): Group['peers'] {
  return groups.filter(({ id }) => ids.includes(id)).flatMap(({ peers }) => peers);
}

function grantsAny({ rules }: Policy, resources: readonly NetworkResource[]): boolean {
  return rules.some(({ destinations, destinationResource }) =>
    resources.some(({ id, groups }) => id === destinationResource?.id || groups.some((group) => destinations.includes(group))),
  );
}

export const listNetworks: Handler = async (call) => {
  const [networks, around] = await Promise.all([call.domain.networks.list(), readSurroundings(call)]);
  return ok(networks.map((network) => networkShape(network, around)));
};

export const getNetwork: Handler = async (call) =>
  ok(networkShape(await call.domain.networks.get(idParam<NetworkId>(call)), await readSurroundings(call)));

export const createNetwork: Handler = async (call) => {
  const network = await call.domain.networks.create(readBody(call, networkRequest), call.actor);
  return ok(networkShape(network, await readSurroundings(call)));
};

export const updateNetwork: Handler = async (call) => {
  const network = await call.domain.networks.update(idParam<NetworkId>(call), readBody(call, networkRequest), call.actor);
  return ok(networkShape(network, await readSurroundings(call)));
};

export const deleteNetwork: Handler = async (call) => {
  await call.domain.networks.delete(idParam<NetworkId>(call), call.actor);
  return deleted;
};
