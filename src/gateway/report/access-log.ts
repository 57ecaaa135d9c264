// Where a gateway's access log goes: to the control plane, and to standard output or a file.
import { join } from 'node:path';
import type { AccessLogRecord } from '#control/types.ts';
import type { Clock } from '#lib/clock.ts';
import { errorCode } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { AccountId, ServiceId } from '#model/ids.ts';
import { createAccessLog, createBatchSink, createLineSink, openFileSink, Spool, type AccessLogSink, type LineFormat } from '#publish/index.ts';

export interface AccessLogDeps {
  readonly send: (records: readonly AccessLogRecord[], signal: AbortSignal) => Promise<void>;
  /** Whose service it is; records of services that are gone are not sent. */
  readonly accountOf: (service: ServiceId) => AccountId | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface AccessLogSettings {
  readonly stateDir: string;
  /** `off`, `stdout` or a file's path. */
  readonly accessLog: string;
  readonly accessLogFormat: LineFormat;
  /** Megabytes; 0 for none. */
  readonly accessLogSpool: number;
}

/** Rejects with PUBLISH_LOG_FILE, PUBLISH_LOG_SPOOL. */
export async function openAccessLog(settings: AccessLogSettings, deps: AccessLogDeps): Promise<AccessLogSink> {
  const { clock, log } = deps;
  const { stateDir, accessLog, accessLogFormat, accessLogSpool } = settings;
  const spool = accessLogSpool === 0 ? undefined : await Spool.open(join(stateDir, 'access-log'), accessLogSpool * megabyte, log);
  const file = accessLog === 'off' || accessLog === 'stdout' ? undefined : await openFileSink(accessLog, accessLogFormat, deps);
  const control = createBatchSink({
    send: (entries, signal) => sendBatch(entries, deps, signal),
    refused: (error) => errorCode(error) === 'RPC_INVALID_ARGUMENT',
    spool,
    clock,
    log,
    random: Math.random,
  });
  if (accessLog === 'off') return createAccessLog([control]);
  return createAccessLog([control, file ?? createLineSink(process.stdout, accessLogFormat)]);
}

const megabyte = 1_048_576;

function sendBatch(entries: readonly AccessLogEntry[], deps: AccessLogDeps, signal: AbortSignal): Promise<void> {
  const records = entries.flatMap((entry) => {
    const accountId = entry.serviceId === undefined ? undefined : deps.accountOf(entry.serviceId);
    return accountId === undefined ? [] : [{ entry, accountId }];
  });
  return deps.send(records, signal);
}
