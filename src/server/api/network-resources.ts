// Resources of networks: hosts, subnets and domains.
import { boolean, object, optional, string } from '#lib/schema.ts';
import type { GroupId } from '#model/ids.ts';
import type { NetworkId, NetworkResource, ResourceId } from '#model/network-plan.ts';
import type { Group } from '#model/network.ts';
import type { ResourceInput } from '../domain/plan-contract.ts';
import { deleted, idParam, ok, readBody, type Call, type Handler } from './call.ts';
import { descriptionField, groupIds } from './fields.ts';
import { groupMinimum } from './groups.ts';

const resourceRequest = object({
  /** Sent back as it came by clients of this API; the path says which it is. */
  id: optional(string({ max: 200 })),
  name: string({ max: 255 }),
  description: descriptionField(),
  /** One address, a range, or a domain that may begin with `*.`. */
  address: string({ max: 255 }),
  enabled: boolean(),
  groups: groupIds(),
});

function readResource(call: Call): ResourceInput {
  const { id: _id, ...request } = readBody(call, resourceRequest);
  return request;
}

function resourceShape(resource: NetworkResource, groups: ReadonlyMap<GroupId, Group>): Readonly<Record<string, unknown>> {
  return {
    id: resource.id,
    type: resource.type,
    name: resource.name,
    description: resource.description,
    address: resource.address,
    enabled: resource.enabled,
    groups: resource.groups.flatMap((id) => groups.get(id) ?? []).map(groupMinimum),
  };
}

async function groupsById(call: Call): Promise<ReadonlyMap<GroupId, Group>> {
  return new Map((await call.domain.groups.list()).map((group) => [group.id, group]));
}

const networkOf = (call: Call): NetworkId => idParam<NetworkId>(call);
const resourceOf = (call: Call): ResourceId => idParam<ResourceId>(call, 'resourceId');

/** Those of all networks. */
export const listAllResources: Handler = async (call) => {
  const [resources, groups] = await Promise.all([call.domain.resources.list(), groupsById(call)]);
  return ok(resources.map((resource) => resourceShape(resource, groups)));
};

export const listResources: Handler = async (call) => {
  const [resources, groups] = await Promise.all([call.domain.resources.list(networkOf(call)), groupsById(call)]);
  return ok(resources.map((resource) => resourceShape(resource, groups)));
};

export const getResource: Handler = async (call) =>
  ok(resourceShape(await call.domain.resources.get(networkOf(call), resourceOf(call)), await groupsById(call)));

export const createResource: Handler = async (call) => {
  const resource = await call.domain.resources.create(networkOf(call), readResource(call), call.actor);
  return ok(resourceShape(resource, await groupsById(call)));
};

export const updateResource: Handler = async (call) => {
  const resource = await call.domain.resources.update(networkOf(call), resourceOf(call), readResource(call), call.actor);
  return ok(resourceShape(resource, await groupsById(call)));
};

export const deleteResource: Handler = async (call) => {
  await call.domain.resources.delete(networkOf(call), resourceOf(call), call.actor);
  return deleted;
};
