// How long sessions at a service live and rest.
import type { ServiceRecord } from '../store/service-table.ts';
import { maxSessionMaxAgeMs, minSessionIdleMs, minSessionMaxAgeMs } from './constants.ts';
import type { AccountSettings } from './contract.ts';
import { invalid } from './errors.ts';

/** The limits of a service's sessions; without an idle limit they may rest as long as they live. */
export function sessionTimes(
  { access: { session } }: Pick<ServiceRecord, 'access'>,
  settings: AccountSettings,
): { readonly maxAgeMs: number; readonly idleMs: number | undefined } {
  const idleMs = session.idleMs ?? settings.sessionIdleMs;
  return { maxAgeMs: session.maxAgeMs ?? settings.sessionMaxAgeMs, idleMs: idleMs === 0 ? undefined : idleMs };
}

export type SessionTimes = ReturnType<typeof sessionTimes>;

/** The limits of a session, of the account or of a service; undefined was not said. */
export function checkSessionTimes(maxAgeMs: number | undefined, idleMs: number | undefined): void {
  const within = (ms: number, least: number): boolean => Number.isSafeInteger(ms) && ms >= least && ms <= maxSessionMaxAgeMs;
  if (maxAgeMs !== undefined && !within(maxAgeMs, minSessionMaxAgeMs)) throw invalid('A session lasts from 5 minutes to 90 days.');
  if (idleMs !== undefined && idleMs !== 0 && !within(idleMs, minSessionIdleMs))
    throw invalid('The time without a request is from 5 minutes to 90 days, or 0 for any.');
}
