// Routers: the peers that lead into a network.
import type { NetworkId, NetworkRouter, RouterId } from '#model/network-plan.ts';
import type { Tables } from '../store/store.ts';
import { checkLimit } from './checks.ts';
import { write, type Context } from './context.ts';
import { domainError } from './errors.ts';
import { newId } from './ids.ts';
import { foundNetwork } from './networks.ts';
import { checkCarriers, checkMetric } from './plan-checks.ts';
import type { RouterInput, RouterUseCases } from './plan-contract.ts';

export function routerUseCases(context: Context): RouterUseCases {
  const { store, random, limits } = context;
  return {
    async list(networkId) {
      if (networkId === undefined) return await store.tables.routers.list();
      return await store.read(async (tables) => {
        await foundNetwork(tables, networkId);
        return await tables.routers.list({ column: 'network_id', value: networkId });
      });
    },

    async get(networkId, id) {
      return await found(store.tables, networkId, id);
    },

    async create(networkId, request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        const network = await foundNetwork(tables, networkId);
        checkLimit(await tables.routers.count(), limits.routers);
        const router = await check(tables, networkId, newId<RouterId>(random), request);
        await tables.routers.insert(router);
        await audit('network.router.create', actor, router.id, { network: network.name });
        changed({ kind: 'network', peers: undefined });
        return router;
      });
    },

    async update(networkId, id, request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        const network = await foundNetwork(tables, networkId);
        await found(tables, networkId, id);
        const router = await check(tables, networkId, id, request);
        await tables.routers.update(router);
        await audit('network.router.update', actor, id, { network: network.name });
        changed({ kind: 'network', peers: undefined });
        return router;
      });
    },

    async delete(networkId, id, actor) {
      await write(context, async ({ tables, audit, changed }) => {
        const network = await foundNetwork(tables, networkId);
        await found(tables, networkId, id);
        await tables.routers.delete(id);
        await audit('network.router.delete', actor, id, { network: network.name });
        changed({ kind: 'network', peers: undefined });
      });
    },
  };
}

async function found(tables: Tables, networkId: NetworkId, id: RouterId): Promise<NetworkRouter> {
  const router = await tables.routers.find(id);
  if (router === undefined || router.networkId !== networkId) throw domainError('DOMAIN_NOT_FOUND', 'router');
  return router;
}

async function check(tables: Tables, networkId: NetworkId, id: RouterId, request: RouterInput): Promise<NetworkRouter> {
  const { masquerade, enabled } = request;
  return { id, networkId, ...(await checkCarriers(tables, request)), metric: checkMetric(request.metric), masquerade, enabled };
}
