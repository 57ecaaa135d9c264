// The audit log and the access log.
import type { AccessLogEntry } from '#model/access-log.ts';
import type { ServiceId } from '#model/ids.ts';
import { accessBatch, accessPageSize, auditPage } from './constants.ts';
import { write, type Context } from './context.ts';
import { clustersByHost } from './service-places.ts';
import type { AccessLogQuery, EventUseCases } from './contract.ts';
import type { AccessFilter } from '../store/event-table.ts';
import type { ServiceRecord } from '../store/service-table.ts';
import type { Tables } from '../store/store.ts';
import { invalid } from './errors.ts';
import { doorOf, isAgentCluster } from './tls-place.ts';

/** The first status that is a failure. */
const firstFailure = 400;

export function eventUseCases(context: Context): EventUseCases {
  const { store } = context;
  return {
    async audit() {
      const records = await store.tables.events.audit(auditPage);
      return records.map(({ id, at, code, activity, initiatorId, initiatorName, initiatorEmail, targetId, meta }) => ({
        id,
        timestamp: at,
        activityCode: code,
        activity,
        initiatorId,
        initiatorName,
        initiatorEmail,
        targetId,
        meta,
      }));
    },

    async record(activityCode, actor, targetId, meta) {
      await write(context, ({ audit }) => audit(activityCode, actor, targetId, meta));
    },

    async addAccess(entries, cluster) {
      if (entries.length > accessBatch) throw invalid(`At most ${accessBatch} entries at one time.`);
      if (entries.length === 0) return 0;
      return await store.write(async (tables) => {
        const own = await entriesOf(tables, entries, cluster);
        if (own.length > 0) await tables.events.addAccess(own);
        return entries.length - own.length;
      });
    },

    async accessLog(query) {
      const { page, pageSize } = query;
      if (!Number.isSafeInteger(page) || page < 1) throw invalid('Pages count from 1.');
      if (!Number.isSafeInteger(pageSize) || pageSize < 1 || pageSize > accessPageSize) throw invalid(`A page has 1 to ${accessPageSize} entries.`);
      return await store.read(async (tables) => {
        const filters = await filtersOf(tables, query);
        const entries = await tables.events.access(filters, pageSize, (page - 1) * pageSize);
        return { entries, total: await tables.events.countAccess(filters) };
      });
    },
  };
}

/** Those that a gateway of the cluster may have seen. A service that is gone meanwhile was anybody's, so the host decides too. */
async function entriesOf(tables: Tables, entries: readonly AccessLogEntry[], cluster: string): Promise<readonly AccessLogEntry[]> {
  const ofHost = await clustersByHost(tables);
  const ofService = new Map<ServiceId, ServiceRecord | undefined>();
  for (const { serviceId } of entries) {
    if (serviceId !== undefined && !ofService.has(serviceId)) ofService.set(serviceId, await tables.services.find(serviceId));
  }
  return entries.filter(({ serviceId, host }) => {
    const service = serviceId === undefined ? undefined : ofService.get(serviceId);
    // An agent has no names of its own.
    if (isAgentCluster(cluster)) return service !== undefined && doorOf(service) === cluster && host === service.domain;
    return (service?.cluster ?? cluster) === cluster && (ofHost(host) ?? cluster) === cluster;
  });
}

async function filtersOf(tables: Tables, query: AccessLogQuery): Promise<readonly AccessFilter[]> {
  const filters: AccessFilter[] = [];
  const equals = (column: 'source_ip' | 'user_id' | 'method' | 'service_id' | 'status', value: string | number | undefined): void => {
    if (value !== undefined) filters.push({ kind: 'equals', column, value });
  };
  if (query.search !== undefined) filters.push({ kind: 'contains', columns: ['id', 'host', 'path', 'source_ip', 'reason'], value: query.search });
  if (query.host !== undefined) filters.push({ kind: 'contains', columns: ['host'], value: query.host });
  if (query.path !== undefined) filters.push({ kind: 'contains', columns: ['path'], value: query.path });
  equals('source_ip', query.sourceIp);
  equals('user_id', query.userId);
  equals('method', query.method);
  equals('service_id', query.serviceId);
  equals('status', query.statusCode);
  if (query.userEmail !== undefined) {
    const users = await tables.users.listByEmail(query.userEmail.trim().toLowerCase());
    filters.push({ kind: 'one-of', column: 'user_id', values: users.map((user) => user.id) });
  }
  if (query.outcome === 'success') filters.push({ kind: 'range', column: 'status', from: undefined, before: firstFailure });
  if (query.outcome === 'failed') filters.push({ kind: 'range', column: 'status', from: firstFailure, before: undefined });
  if (query.from !== undefined || query.to !== undefined) {
    filters.push({ kind: 'range', column: 'at', from: query.from, before: query.to === undefined ? undefined : query.to + 1 });
  }
  return filters;
}
