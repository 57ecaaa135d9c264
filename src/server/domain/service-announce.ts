// Which services a change elsewhere concerns: their gateways get a new mapping when what a target stands for has changed.
import type { Write } from './context.ts';
import { clustersOf } from './tls-place.ts';

/** Announces every enabled service with a target that is one of these: peers, groups or resources, by id. */
export async function announceTargetsChanged({ tables, changed }: Write, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  const named = new Set(ids);
  for (const service of await tables.services.listNaming(ids)) {
    if (!service.targets.some(({ targetId }) => named.has(targetId))) continue;
    for (const cluster of clustersOf(service)) changed({ kind: 'service-set', serviceId: service.id, cluster });
  }
}
