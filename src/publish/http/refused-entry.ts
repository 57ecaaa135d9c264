// What the access log says of a request that never became one.
import type { Clock } from '#lib/clock.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { Client } from './exchange.ts';
import type { IdSource } from './request-id.ts';

/** The record of a request that was refused by its grammar, before there was an exchange. */
export function refusedEntry(
  client: Client,
  reason: string,
  status: number,
  deps: { readonly ids: IdSource; readonly clock: Clock },
): AccessLogEntry {
  return {
    id: deps.ids.next(),
    serviceId: undefined,
    timestamp: deps.clock.wall(),
    protocol: 'http',
    method: '',
    host: client.serverName ?? '',
    path: '',
    durationMs: 0,
    status,
    sourceIp: client.remote.address,
    userId: '',
    authMethod: '',
    authSuccess: false,
    bytesUp: 0,
    bytesDown: 0,
    reason,
  };
}
