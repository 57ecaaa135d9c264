// Asks targets how they are, on connections of its own over the same dial as requests. Redirects are answers like others: never followed
// (attack row X-2).
import type { Clock, Timer } from '#lib/clock.ts';
import { errorCode } from '#lib/errors.ts';
import type { HealthCheck } from '#model/web.ts';
import { HEALTH_CHECKS, HEALTH_FIRST_MS, HEALTH_JITTER } from '../../constants.ts';
import { dialReason } from '../dial-reason.ts';
import type { Upstreams } from '../upstreams.ts';
import type { CheckedTarget } from './balancers.ts';
import { probeTarget } from './target-probe.ts';

export interface HealthCheckDeps {
  readonly upstreams: Pick<Upstreams, 'connect'>;
  readonly clock: Clock;
  readonly random: () => number;
}

interface Job {
  subject: CheckedTarget;
  timer: Timer | undefined;
  abort: AbortController | undefined;
  ended: boolean;
}

export class HealthChecks {
  readonly #deps: HealthCheckDeps;
  readonly #jobs = new Map<string, Job>();
  /** Whose turn it is, but too many are under way. */
  readonly #waiting = new Set<Job>();
  #underWay = 0;

  constructor(deps: HealthCheckDeps) {
    this.#deps = deps;
  }

  /** These are all that are to be checked from now on. What is unchanged keeps its rhythm. */
  follow(targets: ReadonlyMap<string, CheckedTarget>): void {
    for (const [key, job] of this.#jobs) {
      const next = targets.get(key);
      if (next !== undefined && next.host === job.subject.host && sameCheck(next.check, job.subject.check)) {
        job.subject = next;
      } else {
        this.#end(job);
        this.#jobs.delete(key);
      }
    }
    for (const [key, subject] of targets) {
      if (this.#jobs.has(key)) continue;
      const job: Job = { subject, timer: undefined, abort: undefined, ended: false };
      this.#jobs.set(key, job);
      this.#schedule(job, this.#deps.random() * Math.min(HEALTH_FIRST_MS, subject.check.intervalMs));
    }
  }

  close(): void {
    for (const job of this.#jobs.values()) this.#end(job);
    this.#jobs.clear();
  }

  #end(job: Job): void {
    job.ended = true;
    job.timer?.cancel();
    job.abort?.abort();
    this.#waiting.delete(job);
  }

  #schedule(job: Job, delayMs: number): void {
    job.timer = this.#deps.clock.after(delayMs, () => {
      this.#waiting.add(job);
      this.#next();
    });
  }

  #next(): void {
    for (const job of this.#waiting) {
      if (this.#underWay >= HEALTH_CHECKS) return;
      this.#waiting.delete(job);
      this.#underWay++;
      void this.#run(job).finally(() => {
        this.#underWay--;
        this.#next();
      });
    }
  }

  /** Never rejects. */
  async #run(job: Job): Promise<void> {
    const { clock, random } = this.#deps;
    const abort = new AbortController();
    job.abort = abort;
    const { check } = job.subject;
    const limit = clock.after(check.timeoutMs, () => abort.abort(new DOMException(`no answer within ${check.timeoutMs} ms`, 'TimeoutError')));
    const result = await this.#ask(job.subject, abort.signal);
    limit.cancel();
    job.abort = undefined;
    if (job.ended) return;
    if (result !== 'unknown') job.subject.health.checked(result.problem, check);
    this.#schedule(job, check.intervalMs * (1 - HEALTH_JITTER + 2 * HEALTH_JITTER * random()));
  }

  async #ask({ target, check, host }: CheckedTarget, signal: AbortSignal): Promise<{ readonly problem: string | undefined } | 'unknown'> {
    try {
      const status = await probeTarget(this.#deps.upstreams, target, check.path, host, signal);
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
