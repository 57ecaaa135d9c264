// Asks targets how they are, each in its own rhythm, so many at once and no more. What is asked is the caller's business.
import type { Clock, Timer } from '#lib/clock.ts';
import { HEALTH_CHECKS, HEALTH_FIRST_MS, HEALTH_JITTER } from '../constants.ts';
import type { TargetHealth } from './target-health.ts';

/** What is asked, and who is told of it. */
export interface CheckSubject {
  readonly health: TargetHealth;
  readonly check: { readonly intervalMs: number; readonly timeoutMs: number; readonly healthyAfter: number; readonly unhealthyAfter: number };
}

/** What is wrong, undefined where nothing is; `unknown` where it could not be asked for a reason of ours. */
export type CheckResult = { readonly problem: string | undefined } | 'unknown';

export interface HealthCheckDeps<Subject extends CheckSubject> {
  /** Asks the subject. Never rejects; the signal aborts when the time is over, with the reason. */
  readonly ask: (subject: Subject, signal: AbortSignal) => Promise<CheckResult>;
  /** Whether both are asked the same way: the rhythm goes on then. */
  readonly same: (a: Subject, b: Subject) => boolean;
  readonly clock: Clock;
  readonly random: () => number;
}

interface Job<Subject> {
  subject: Subject;
  timer: Timer | undefined;
  abort: AbortController | undefined;
  ended: boolean;
}

export class HealthChecks<Subject extends CheckSubject> {
  readonly #deps: HealthCheckDeps<Subject>;
  readonly #jobs = new Map<string, Job<Subject>>();
  /** Whose turn it is, but too many are under way. */
  readonly #waiting = new Set<Job<Subject>>();
  #underWay = 0;

  constructor(deps: HealthCheckDeps<Subject>) {
    this.#deps = deps;
  }

  /** These are all that are to be checked from now on. What is unchanged keeps its rhythm. */
  follow(targets: ReadonlyMap<string, Subject>): void {
    for (const [key, job] of this.#jobs) {
      const next = targets.get(key);
      if (next !== undefined && this.#deps.same(next, job.subject)) {
        job.subject = next;
      } else {
        this.#end(job);
        this.#jobs.delete(key);
      }
    }
    for (const [key, subject] of targets) {
      if (this.#jobs.has(key)) continue;
      const job: Job<Subject> = { subject, timer: undefined, abort: undefined, ended: false };
      this.#jobs.set(key, job);
      this.#schedule(job, this.#deps.random() * Math.min(HEALTH_FIRST_MS, subject.check.intervalMs));
    }
  }

  close(): void {
    for (const job of this.#jobs.values()) this.#end(job);
    this.#jobs.clear();
  }

  #end(job: Job<Subject>): void {
    job.ended = true;
    job.timer?.cancel();
    job.abort?.abort();
    this.#waiting.delete(job);
  }

  #schedule(job: Job<Subject>, delayMs: number): void {
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
  async #run(job: Job<Subject>): Promise<void> {
    const { clock, random } = this.#deps;
    const abort = new AbortController();
    job.abort = abort;
    const { check } = job.subject;
    const limit = clock.after(check.timeoutMs, () => abort.abort(new DOMException(`no answer within ${check.timeoutMs} ms`, 'TimeoutError')));
    const result = await this.#deps.ask(job.subject, abort.signal);
    limit.cancel();
    job.abort = undefined;
    if (job.ended) return;
    if (result !== 'unknown') job.subject.health.checked(result.problem, check, clock.now());
    this.#schedule(job, check.intervalMs * (1 - HEALTH_JITTER + 2 * HEALTH_JITTER * random()));
  }
}
