// Groups of peers, and their short form that other shapes carry.
import { convert, list, object, optional, string } from '#lib/schema.ts';
import { asId, type GroupId, type PeerId } from '#model/ids.ts';
import type { NetworkResource, ResourceId } from '#model/network-plan.ts';
import type { Group, Peer } from '#model/network.ts';
import type { GroupInput } from '../domain/contract.ts';
import { deleted, idParam, ok, readBody, readQuery, type Call, type Handler } from './call.ts';
import { apiError } from './errors.ts';
import { idField, resourceRef } from './fields.ts';

const groupResource = convert(resourceRef(), (ref, refuse) => (ref.type === 'peer' ? refuse('is a peer: peers have a list of their own') : ref));

const groupRequest = object({
  name: string({ max: 255 }),
  /** The whole list: absent empties the group, as in every other field of a PUT. */
  peers: list(idField<PeerId>(), { default: [], max: 10_000 }),
  /** Absent leaves them as they are: clients that know peers only must not empty the group of the rest. */
  resources: optional(list(groupResource, { max: 10_000 })),
});

const listQuery = object({ name: optional(string({ max: 255 })) });

/** GroupMinimum. */
export function groupMinimum(group: Group): Readonly<Record<string, unknown>> {
  return { id: group.id, name: group.name, peers_count: group.peers.length, resources_count: group.resources.length, issued: 'api' };
}

/** What a group's members are called. */
interface Names {
  readonly peers: ReadonlyMap<PeerId, Peer>;
  readonly resources: ReadonlyMap<ResourceId, NetworkResource>;
}

function groupShape(group: Group, { peers, resources }: Names): Readonly<Record<string, unknown>> {
  const members = group.peers.map((id) => ({ id, name: peers.get(id)?.name ?? '' }));
  const refs = group.resources.flatMap((id) => resources.get(id) ?? []).map(({ id, type }) => ({ id, type }));
  return { ...groupMinimum(group), peers: members, resources: refs };
}

async function namesOf({ domain }: Call): Promise<Names> {
  const [peers, resources] = await Promise.all([domain.peers.list(), domain.resources.list()]);
  return { peers: new Map(peers.map((peer) => [peer.id, peer])), resources: new Map(resources.map((resource) => [resource.id, resource])) };
}

function readGroup(call: Call): GroupInput {
  const { name, peers, resources } = readBody(call, groupRequest);
  return { name, peers, resources: resources?.map(({ id }) => asId<ResourceId>(id)) };
}

/** With `name` exactly one group, or 404: an empty list would not be what clients of this API expect. */
export const listGroups: Handler = async (call) => {
  const { name } = readQuery(call, listQuery);
  const all = await call.domain.groups.list();
  const found = name === undefined ? all : all.filter((group) => group.name === name);
  if (name !== undefined && found.length === 0) throw apiError('API_RESOURCE_NOT_FOUND', `group ${name}`);
  const names = await namesOf(call);
  return ok(found.map((group) => groupShape(group, names)));
};

export const getGroup: Handler = async (call) => ok(groupShape(await call.domain.groups.get(idParam<GroupId>(call)), await namesOf(call)));

export const createGroup: Handler = async (call) => {
  const group = await call.domain.groups.create(readGroup(call), call.actor);
  return ok(groupShape(group, await namesOf(call)));
};

export const updateGroup: Handler = async (call) => {
  const group = await call.domain.groups.update(idParam<GroupId>(call), readGroup(call), call.actor);
  return ok(groupShape(group, await namesOf(call)));
};

export const deleteGroup: Handler = async (call) => {
  await call.domain.groups.delete(idParam<GroupId>(call), call.actor);
  return deleted;
};
