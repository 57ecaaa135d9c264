// Access log records of gateways: each may tell of its own cluster's services and hosts.
import type { AccessLog } from '#wire/proto/gen/proxy_service_pb.ts';
import type { ManagementDeps, ManagementDomain } from './options.ts';
import { accessLogEntryOf } from './translate-proxy.ts';

/** What is another cluster's is left out rather than refused: a gateway has the records of a service that moved away a moment ago, too. */
export async function addAccessLogs(
  logs: readonly AccessLog[],
  cluster: string,
  { events }: Pick<ManagementDomain, 'events'>,
  { clock, log }: ManagementDeps,
): Promise<void> {
  const now = clock.wall();
  const foreign = await events.addAccess(
    logs.map((record) => accessLogEntryOf(record, now)),
    cluster,
  );
  if (foreign > 0) log.warn('a gateway told of requests to another cluster', { cluster, records: foreign });
}
