// Routes of the older kind: a destination of its own, carried by peers and distributed to groups.
import { haGroup } from '#model/routes.ts';
import { parsePrefix } from '#lib/ip.ts';
import type { PlannedRoute, RouteId } from '#model/network-plan.ts';
import type { Tables } from '../store/store.ts';
import { checkGroups, checkLimit, checkName } from './checks.ts';
import { domainsPerRoute, routeNameLength } from './constants.ts';
import { write, type Context } from './context.ts';
import { domainError, invalid } from './errors.ts';
import { newId } from './ids.ts';
import { checkCarriers, checkDescription, checkDomainName, checkMetric, checkPrefix } from './plan-checks.ts';
import type { RouteUseCases } from './plan-contract.ts';

export function routeUseCases(context: Context): RouteUseCases {
  const { store, random, limits } = context;
  return {
    async list() {
      return await store.tables.routes.list();
    },

    async get(id) {
      return found(await store.tables.routes.find(id));
    },

    async create(request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        checkLimit(await tables.routes.count(), limits.routes);
        const route = await check(tables, newId<RouteId>(random), request);
        await tables.routes.insert(route);
        await audit('route.add', actor, route.id, { name: route.netId, ...(route.network === undefined ? {} : { network: route.network }) });
        changed({ kind: 'network', peers: undefined });
        return route;
      });
    },

    async update(id, request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        found(await tables.routes.find(id));
        const route = await check(tables, id, request);
        await tables.routes.update(route);
        await audit('route.update', actor, id, { name: route.netId });
        changed({ kind: 'network', peers: undefined });
        return route;
      });
    },

    async delete(id, actor) {
      await write(context, async ({ tables, audit, changed }) => {
        const route = found(await tables.routes.find(id));
        await tables.routes.delete(id);
        await audit('route.delete', actor, id, { name: route.netId });
        changed({ kind: 'network', peers: undefined });
      });
    },
  };
}

function found(route: PlannedRoute | undefined): PlannedRoute {
  if (route === undefined) throw domainError('DOMAIN_NOT_FOUND', 'route');
  return route;
}

async function check(tables: Tables, id: RouteId, request: Omit<PlannedRoute, 'id'>): Promise<PlannedRoute> {
  const netId = checkName(request.netId, 'The name of the network');
  if (netId.length > routeNameLength) throw invalid(`The name of the network has at most ${routeNameLength} characters.`);
  if ((request.network === undefined) === (request.domains.length === 0)) throw invalid('A route leads either to a network or to domains.');
  if (request.domains.length > domainsPerRoute) throw invalid(`A route has at most ${domainsPerRoute} domains.`);
  if (request.groups.length === 0) throw invalid('A route needs the groups that get it.');
  const route: PlannedRoute = {
    id,
    netId,
    description: checkDescription(request.description),
    enabled: request.enabled,
    network: request.network === undefined ? undefined : checkPrefix(request.network),
    domains: [...new Set(request.domains.map(checkDomainName))],
    ...(await checkCarriers(tables, request)),
    metric: checkMetric(request.metric),
    masquerade: request.masquerade,
    groups: await checkGroups(tables, request.groups),
    keepRoute: request.keepRoute,
    accessControlGroups: await checkGroups(tables, request.accessControlGroups),
    skipAutoApply: request.skipAutoApply,
  };
  await refuseTwice(tables, route);
  return route;
}

/** One peer, or one group, carries a destination of one name once: two would be two names for one way. */
async function refuseTwice(tables: Tables, route: PlannedRoute): Promise<void> {
  const place = placeOf(route);
  for (const other of await tables.routes.list()) {
    if (other.id === route.id || placeOf(other) !== place) continue;
    const samePeer = route.peer !== undefined && other.peer === route.peer;
    if (samePeer || other.peerGroups.some((group) => route.peerGroups.includes(group))) throw domainError('DOMAIN_ROUTE_TAKEN', other.id);
  }
}

function placeOf({ netId, network, domains }: PlannedRoute): string {
  const prefix = network === undefined ? undefined : parsePrefix(network);
  return haGroup({ netId, destination: prefix === undefined ? { kind: 'domains', domains } : { kind: 'prefix', prefix } });
}
