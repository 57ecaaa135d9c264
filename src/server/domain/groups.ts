// Groups of peers and of resources, and who uses them.
import type { GroupId, PeerId } from '#model/ids.ts';
import type { Group } from '#model/network.ts';
import type { Network, ResourceId } from '#model/network-plan.ts';
import type { Tables } from '../store/store.ts';
import { checkLimit, checkName } from './checks.ts';
import { write, type Context } from './context.ts';
import type { GroupUseCases } from './contract.ts';
import { domainError, domainErrorNaming, invalid } from './errors.ts';
import { newId } from './ids.ts';
import { readDnsSettings } from './nameservers.ts';
import { readSettings } from './saved-settings.ts';
import { announceTargetsChanged } from './service-announce.ts';

/** The name of the group that every peer is in. */
export const allGroupName = 'All';

export function groupUseCases(context: Context): GroupUseCases {
  const { store, random, limits } = context;
  return {
    async list() {
      return await store.tables.groups.list();
    },

    async get(id) {
      return found(await store.read((tables) => tables.groups.find(id)));
    },

    async create(request, actor) {
      const name = checkName(request.name, 'The name');
      return await write(context, async ({ tables, audit, changed }) => {
        checkLimit(await tables.groups.count(), limits.groups);
        if ((await tables.groups.findByName(name)) !== undefined) throw domainError('DOMAIN_GROUP_NAME_TAKEN');
        const resources = await checkResources(tables, request.resources ?? []);
        const group: Group = { id: newId<GroupId>(random), name, peers: await checkMembers(tables, request.peers), resources, system: false };
        await tables.groups.insert(group);
        for (const resource of resources) await tables.resources.addToGroup(group.id, resource);
        await audit('group.add', actor, group.id, { name });
        changed({ kind: 'network', peers: undefined });
        return group;
      });
    },

    async update(id, request, actor) {
      const name = checkName(request.name, 'The name');
      return await write(context, async (write) => {
        const { tables, audit, changed } = write;
        const old = found(await tables.groups.find(id));
        if (old.system) throw domainError('DOMAIN_GROUP_SYSTEM');
        const holder = await tables.groups.findByName(name);
        if (holder !== undefined && holder !== id) throw domainError('DOMAIN_GROUP_NAME_TAKEN');
        const peers = await checkMembers(tables, request.peers);
        if (name !== old.name) await tables.groups.setName(id, name);
        const [before, after] = [new Set(old.peers), new Set(peers)];
        for (const peer of before) if (!after.has(peer)) await tables.groups.removeMember(id, peer);
        for (const peer of after) if (!before.has(peer)) await tables.groups.addMember(id, peer);
        const resources = request.resources === undefined ? old.resources : await checkResources(tables, request.resources);
        for (const resource of old.resources) if (!resources.includes(resource)) await tables.resources.removeFromGroup(id, resource);
        for (const resource of resources) await tables.resources.addToGroup(id, resource);
        await audit('group.update', actor, id, { name });
        changed({ kind: 'network', peers: undefined });
        if (before.size !== after.size || peers.some((peer) => !before.has(peer))) await announceTargetsChanged(write, [id]);
        return { ...old, name, peers, resources };
      });
    },

    async delete(id, actor) {
      await write(context, async ({ tables, audit, changed }) => {
        const old = found(await tables.groups.find(id));
        if (old.system) throw domainError('DOMAIN_GROUP_SYSTEM');
        const users = await usersOfGroup(tables, id);
        if (users.length > 0) throw domainErrorNaming('DOMAIN_GROUP_IN_USE', `Used by ${users.slice(0, 5).join(', ')}.`);
        await tables.groups.delete(id);
        await audit('group.delete', actor, id, { name: old.name });
        changed({ kind: 'network', peers: undefined });
      });
    },
  };
}

function found(group: Group | undefined): Group {
  if (group === undefined) throw domainError('DOMAIN_NOT_FOUND', 'group');
  return group;
}

/** That all of them are peers that may be in a group; each once. */
async function checkMembers(tables: Tables, ids: readonly PeerId[]): Promise<readonly PeerId[]> {
  if (ids.length === 0) return [];
  const members = new Set((await tables.peers.list()).filter((peer) => peer.proxyCluster === undefined).map((peer) => peer.id));
  const unknown = ids.find((id) => !members.has(id));
  if (unknown !== undefined) throw invalid(`There is no peer ${unknown} that could be in a group.`);
  return [...new Set(ids)];
}

/** That all of them are resources of networks; each once. */
async function checkResources(tables: Tables, ids: readonly ResourceId[]): Promise<readonly ResourceId[]> {
  for (const id of ids) if ((await tables.resources.find(id)) === undefined) throw domainErrorNaming('DOMAIN_RESOURCE_UNKNOWN', id);
  return [...new Set(ids)];
}

/** What would be left with a group that does not exist, in words. */
async function usersOfGroup(tables: Tables, id: GroupId): Promise<readonly string[]> {
  const words: string[] = [];
  for (const policy of await tables.policies.list()) {
    if (policy.rules.some((rule) => rule.sources.includes(id) || rule.destinations.includes(id))) words.push(`policy "${policy.name}"`);
  }
  for (const key of await tables.setupKeys.list()) if (key.autoGroups.includes(id)) words.push(`setup key "${key.name}"`);
  for (const user of await tables.users.list()) if (user.autoGroups.includes(id)) words.push(`user "${user.email || user.name}"`);
  for (const service of await tables.services.list()) {
    const targeted = service.targets.some(({ targetType, targetId }) => targetType === 'group' && targetId === id);
    if (
      targeted ||
      service.auth.oidc.groups.includes(id) ||
      service.accessGroups.includes(id) ||
      service.access.rules.some(({ when }) => when.groups.includes(id))
    )
      words.push(`service "${service.name}"`);
  }
  for (const { name } of await networksRoutedBy(tables, id)) words.push(`network "${name}"`);
  for (const route of await tables.routes.list()) {
    if ([route.groups, route.peerGroups, route.accessControlGroups].some((groups) => groups.includes(id))) words.push(`route "${route.netId}"`);
  }
  for (const servers of await tables.nameservers.list()) if (servers.groups.includes(id)) words.push(`name servers "${servers.name}"`);
  for (const zone of await tables.zones.list()) if (zone.distributionGroups.includes(id)) words.push(`DNS zone "${zone.name}"`);
  if ((await readSettings(tables)).expose.groups.includes(id)) words.push('the settings of who may expose services');
  if ((await readDnsSettings(tables)).disabledManagementGroups.includes(id)) words.push('the DNS settings');
  return words;
}

async function networksRoutedBy(tables: Tables, id: GroupId): Promise<readonly Network[]> {
  const routed = new Set((await tables.routers.list()).filter((router) => router.peerGroups.includes(id)).map((router) => router.networkId));
  return routed.size === 0 ? [] : (await tables.networks.list()).filter((network) => routed.has(network.id));
}
