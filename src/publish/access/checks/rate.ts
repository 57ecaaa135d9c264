// How often an address may ask, whatever it asks for: counted before anybody has to prove anything, so that sign-in is covered too.
import { callerNetwork, formatIp } from '#lib/ip.ts';
import { deny, type Check, type CheckInput, type Verdict } from '../check.ts';

export const addressRate: Check = ({ subject, around }) => {
  const { service, address } = subject;
  if (service === undefined) return deny('internal_error', 'no service');
  if (service.limits.length === 0) return undefined;
  const network = address === undefined ? 'unknown' : callerNetwork(formatIp(address));
  const wait = around.limits.take(service.limits, { service: false, address: network, identity: undefined });
  return wait > 0 ? tooMany('address', wait) : undefined;
};

/**
 * How often the service is used, and by whom, counted where a request has been let in: a stranger's requests take nothing from those who may
 * pass. Undefined where it may go on.
 */
export function admittedRate({ subject, around }: CheckInput, verdict: Verdict): Verdict | undefined {
  const { service } = subject;
  if (verdict.kind !== 'allow' || service === undefined || service.limits.length === 0) return undefined;
  const wait = around.limits.take(service.limits, { service: true, address: undefined, identity: verdict.identity?.userId });
  return wait > 0 ? tooMany('service or identity', wait) : undefined;
}

function tooMany(of: string, retryAfterMs: number): Verdict {
  return { ...deny('rate_limited', `per ${of}`), retryAfterMs };
}
