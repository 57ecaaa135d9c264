// Asks targets of web services how they are, on connections of its own over the same dial as requests. Redirects are answers like others: never
// followed (attack row X-2).
import { errorCode } from '#lib/errors.ts';
import type { HealthCheck } from '#model/web.ts';
import { type CheckResult, HealthChecks, type HealthCheckDeps } from '../../balance/health-checks.ts';
import { dialReason } from '../dial-reason.ts';
import type { Upstreams } from '../upstreams.ts';
import type { CheckedTarget } from './balancers.ts';
import { probeTarget } from './target-probe.ts';

export type HttpChecks = HealthChecks<CheckedTarget>;

export function createHttpChecks(
  deps: Pick<HealthCheckDeps<CheckedTarget>, 'clock' | 'random'> & { readonly upstreams: Pick<Upstreams, 'connect'> },
): HttpChecks {
  const { upstreams, clock, random } = deps;
  return new HealthChecks({
    ask: (subject, signal) => ask(upstreams, subject, signal),
    same: (a, b) => a.host === b.host && sameCheck(a.check, b.check),
    clock,
    random,
  });
}

async function ask(upstreams: Pick<Upstreams, 'connect'>, { target, check, host }: CheckedTarget, signal: AbortSignal): Promise<CheckResult> {
  try {
    const status = await probeTarget(upstreams, target, check.path, host, signal);
    const [lowest, highest] = check.statuses;
    return { problem: status >= lowest && status <= highest ? undefined : `the check got status ${status}` };
  } catch (error) {
    const code = errorCode(error);
    // Ours, not the target's: it is too busy to be asked, or we are going.
    if (code === 'PUBLISH_UPSTREAM_BUSY' || code === 'PUBLISH_UPSTREAM_CLOSED') return 'unknown';
    if (signal.aborted) return { problem: `the check got ${(signal.reason as Error).message}` };
    return {
      problem:
        code === undefined ? `the check failed: ${(error as Error).message}` : `the check failed: ${dialReason(error).replace('upstream_', '')}`,
    };
  }
}

function sameCheck(a: HealthCheck, b: HealthCheck): boolean {
  return (
    a.path === b.path &&
    a.intervalMs === b.intervalMs &&
    a.timeoutMs === b.timeoutMs &&
    a.healthyAfter === b.healthyAfter &&
    a.unhealthyAfter === b.unhealthyAfter &&
    a.statuses[0] === b.statuses[0] &&
    a.statuses[1] === b.statuses[1]
  );
}
