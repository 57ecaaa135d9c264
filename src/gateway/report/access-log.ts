// Where a gateway's access log goes: to the control plane, and to standard output or a file.
import type { AccessLogRecord } from '#control/types.ts';
import type { Clock } from '#lib/clock.ts';
import type { Logger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { AccountId, ServiceId } from '#model/ids.ts';
import { createAccessLog, createBatchSink, createLineSink, openFileSink, type AccessLogSink } from '#publish/index.ts';

export interface AccessLogDeps {
  readonly send: (records: readonly AccessLogRecord[], signal: AbortSignal) => Promise<void>;
  /** Whose service it is; records of services that are gone are not sent. */
  readonly accountOf: (service: ServiceId) => AccountId | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** `target` is `off`, `stdout` or a file's path. Rejects with PUBLISH_LOG_FILE. */
export async function openAccessLog(target: string, deps: AccessLogDeps): Promise<AccessLogSink> {
  const control = createBatchSink({
    send: (entries, signal) => sendBatch(entries, deps, signal),
    clock: deps.clock,
    log: deps.log,
    random: Math.random,
  });
  if (target === 'off') return createAccessLog([control]);
  return createAccessLog([control, target === 'stdout' ? createLineSink(process.stdout, true) : await openFileSink(target, deps.log)]);
}

function sendBatch(entries: readonly AccessLogEntry[], deps: AccessLogDeps, signal: AbortSignal): Promise<void> {
  const records = entries.flatMap((entry) => {
    const accountId = entry.serviceId === undefined ? undefined : deps.accountOf(entry.serviceId);
    return accountId === undefined ? [] : [{ entry, accountId }];
  });
  return deps.send(records, signal);
}
