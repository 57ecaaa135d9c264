// Groups of peers, and their short form that other shapes carry.
import { list, object, optional, string } from '#lib/schema.ts';
import type { GroupId, PeerId } from '#model/ids.ts';
import type { Group, Peer } from '#model/network.ts';
import { deleted, idParam, ok, readBody, readQuery, type Call, type Handler } from './call.ts';
import { apiError } from './errors.ts';
import { idField, unsupported } from './fields.ts';

const groupRequest = object({
  name: string({ max: 255 }),
  /** The whole list: absent empties the group, as in every other field of a PUT. */
  peers: list(idField<PeerId>(), { default: [], max: 10_000 }),
  resources: unsupported(),
});

const listQuery = object({ name: optional(string({ max: 255 })) });

/** GroupMinimum. */
export function groupMinimum(group: Group): Readonly<Record<string, unknown>> {
  return { id: group.id, name: group.name, peers_count: group.peers.length, resources_count: 0, issued: 'api' };
}

function groupShape(group: Group, peers: ReadonlyMap<PeerId, Peer>): Readonly<Record<string, unknown>> {
  const members = group.peers.map((id) => ({ id, name: peers.get(id)?.name ?? '' }));
  return { ...groupMinimum(group), peers: members, resources: [] };
}

async function peersById(call: Call): Promise<ReadonlyMap<PeerId, Peer>> {
  return new Map((await call.domain.peers.list()).map((peer) => [peer.id, peer]));
}

/** With `name` exactly one group, or 404: an empty list would not be what clients of this API expect. */
export const listGroups: Handler = async (call) => {
  const { name } = readQuery(call, listQuery);
  const all = await call.domain.groups.list();
  const found = name === undefined ? all : all.filter((group) => group.name === name);
  if (name !== undefined && found.length === 0) throw apiError('API_RESOURCE_NOT_FOUND', `group ${name}`);
  const peers = await peersById(call);
  return ok(found.map((group) => groupShape(group, peers)));
};

export const getGroup: Handler = async (call) => ok(groupShape(await call.domain.groups.get(idParam<GroupId>(call)), await peersById(call)));

export const createGroup: Handler = async (call) => {
  const { name, peers } = readBody(call, groupRequest);
  return ok(groupShape(await call.domain.groups.create({ name, peers }, call.actor), await peersById(call)));
};

export const updateGroup: Handler = async (call) => {
  const { name, peers } = readBody(call, groupRequest);
  return ok(groupShape(await call.domain.groups.update(idParam<GroupId>(call), { name, peers }, call.actor), await peersById(call)));
};

export const deleteGroup: Handler = async (call) => {
  await call.domain.groups.delete(idParam<GroupId>(call), call.actor);
  return deleted;
};
