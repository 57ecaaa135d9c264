// Networks: what holds resources and routers together.
import type { Network, NetworkId } from '#model/network-plan.ts';
import type { Tables } from '../store/store.ts';
import { checkLimit, checkName } from './checks.ts';
import { write, type Context } from './context.ts';
import { domainError } from './errors.ts';
import { newId } from './ids.ts';
import { refuseUsedResource } from './network-resources.ts';
import { checkDescription } from './plan-checks.ts';
import type { NetworkUseCases } from './plan-contract.ts';

export function networkUseCases(context: Context): NetworkUseCases {
  const { store, random, limits } = context;
  return {
    async list() {
      return await store.tables.networks.list();
    },

    async get(id) {
      return await foundNetwork(store.tables, id);
    },

    async create(request, actor) {
      return await write(context, async ({ tables, audit }) => {
        checkLimit(await tables.networks.count(), limits.networks);
        const network = checked(newId<NetworkId>(random), request);
        await tables.networks.insert(network);
        await audit('network.create', actor, network.id, { name: network.name });
        return network;
      });
    },

    async update(id, request, actor) {
      return await write(context, async ({ tables, audit }) => {
        await foundNetwork(tables, id);
        const network = checked(id, request);
        await tables.networks.update(network);
        await audit('network.update', actor, id, { name: network.name });
        return network;
      });
    },

    async delete(id, actor) {
      await write(context, async ({ tables, audit, changed }) => {
        const network = await foundNetwork(tables, id);
        for (const resource of await tables.resources.list(id)) await refuseUsedResource(tables, resource);
        await tables.networks.delete(id);
        await audit('network.delete', actor, id, { name: network.name });
        changed({ kind: 'network', peers: undefined });
      });
    },
  };
}

/** The network, or DOMAIN_NOT_FOUND. */
export async function foundNetwork(tables: Tables, id: NetworkId): Promise<Network> {
  const network = await tables.networks.find(id);
  if (network === undefined) throw domainError('DOMAIN_NOT_FOUND', 'network');
  return network;
}

function checked(id: NetworkId, { name, description }: Omit<Network, 'id'>): Network {
  return { id, name: checkName(name, 'The name'), description: checkDescription(description) };
}
