// Where a gateway's access log goes: to the control plane in the proxy service's one call a record, and to standard output or a file.
import type { Clock } from '#lib/clock.ts';
import type { Logger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { AccountId, ServiceId } from '#model/ids.ts';
import { createAccessLog, createBatchSink, createLineSink, openFileSink, type AccessLogSink } from '#publish/index.ts';
import { accessLogInFlight } from '../constants.ts';

export interface AccessLogDeps {
  readonly send: (entry: AccessLogEntry, accountId: AccountId, signal: AbortSignal) => Promise<void>;
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

/** A few calls at once; the control plane takes a record that it has already for the same one, so a batch may be sent again. */
async function sendBatch(entries: readonly AccessLogEntry[], deps: AccessLogDeps, signal: AbortSignal): Promise<void> {
  for (let at = 0; at < entries.length; at += accessLogInFlight) {
    await Promise.all(
      entries.slice(at, at + accessLogInFlight).map((entry) => {
        const account = entry.serviceId === undefined ? undefined : deps.accountOf(entry.serviceId);
        return account === undefined ? undefined : deps.send(entry, account, signal);
      }),
    );
  }
}
