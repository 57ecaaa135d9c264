// Resources: hosts, subnets and domains in a network, granted by policies.
import type { NetworkId, NetworkResource, ResourceId } from '#model/network-plan.ts';
import type { Tables } from '../store/store.ts';
import { checkGroups, checkLimit, checkName } from './checks.ts';
import { write, type Context } from './context.ts';
import { domainError, domainErrorNaming } from './errors.ts';
import { newId } from './ids.ts';
import { checkAddress, checkDescription } from './plan-checks.ts';
import type { ResourceInput, ResourceUseCases } from './plan-contract.ts';
import { announceTargetsChanged } from './service-announce.ts';

export function resourceUseCases(context: Context): ResourceUseCases {
  const { store, random, limits } = context;
  return {
    async list(networkId) {
      return await store.read(async (tables) => {
        if (networkId !== undefined) await known(tables, networkId);
        return await tables.resources.list(networkId);
      });
    },

    async get(networkId, id) {
      return await store.read((tables) => found(tables, networkId, id));
    },

    async create(networkId, request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        await known(tables, networkId);
        checkLimit(await tables.resources.count(), limits.resources);
        const resource = await check(tables, networkId, newId<ResourceId>(random), request);
        await tables.resources.insert(resource);
        await audit('network.resource.create', actor, resource.id, { name: resource.name, address: resource.address });
        changed({ kind: 'network', peers: undefined });
        return resource;
      });
    },

    async update(networkId, id, request, actor) {
      return await write(context, async (write) => {
        const { tables, audit, changed } = write;
        await found(tables, networkId, id);
        const resource = await check(tables, networkId, id, request);
        await tables.resources.update(resource);
        await audit('network.resource.update', actor, id, { name: resource.name, address: resource.address });
        changed({ kind: 'network', peers: undefined });
        await announceTargetsChanged(write, [id]);
        return resource;
      });
    },

    async delete(networkId, id, actor) {
      await write(context, async ({ tables, audit, changed }) => {
        const resource = await found(tables, networkId, id);
        await refuseUsedResource(tables, resource);
        await tables.resources.delete(id);
        await audit('network.resource.delete', actor, id, { name: resource.name, address: resource.address });
        changed({ kind: 'network', peers: undefined });
      });
    },
  };
}

/** DOMAIN_RESOURCE_IN_USE where a policy or a service names the resource itself. */
export async function refuseUsedResource(tables: Tables, { id, name }: NetworkResource): Promise<void> {
  const users: string[] = [];
  for (const policy of await tables.policies.list()) {
    const names = policy.rules.some((rule) => rule.destinationResource?.type !== 'peer' && rule.destinationResource?.id === id);
    if (names) users.push(`policy "${policy.name}"`);
  }
  for (const service of await tables.services.list()) {
    if (service.targets.some(({ targetId }) => targetId === id)) users.push(`service "${service.name}"`);
  }
  if (users.length > 0) throw domainErrorNaming('DOMAIN_RESOURCE_IN_USE', `"${name}" is used by ${users.slice(0, 5).join(', ')}.`);
}

async function known(tables: Tables, networkId: NetworkId): Promise<void> {
  if ((await tables.networks.find(networkId)) === undefined) throw domainError('DOMAIN_NOT_FOUND', 'network');
}

async function found(tables: Tables, networkId: NetworkId, id: ResourceId): Promise<NetworkResource> {
  const resource = await tables.resources.find(id);
  if (resource === undefined || resource.networkId !== networkId) throw domainError('DOMAIN_NOT_FOUND', 'resource');
  return resource;
}

async function check(tables: Tables, networkId: NetworkId, id: ResourceId, request: ResourceInput): Promise<NetworkResource> {
  return {
    id,
    networkId,
    name: checkName(request.name, 'The name'),
    description: checkDescription(request.description),
    ...checkAddress(request.address),
    enabled: request.enabled,
    groups: await checkGroups(tables, request.groups, true),
  };
}
