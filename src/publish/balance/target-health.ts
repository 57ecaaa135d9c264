// How one target is, as its checks and its requests tell: a state machine without a clock. What nobody has complained of is well.
import type { Ejection, HealthCheck } from '#model/web.ts';
import { EJECT_GROWTH } from '../constants.ts';

type CheckRules = Pick<HealthCheck, 'healthyAfter' | 'unhealthyAfter'>;

export class TargetHealth {
  /** Requests that it has in work now. */
  inFlight = 0;
  #checked: 'unknown' | 'healthy' | 'unhealthy' = 'unknown';
  /** Checks in a row that speak against the state. */
  #against = 0;
  #checkReason = '';
  /** Failed requests in a row. */
  #failures = 0;
  /** Ejections without a time of success between them that is as long. */
  #ejections = 0;
  #ejectedFor = 0;
  #ejectedUntil = -Infinity;
  #ejectReason = '';

  /** Whether it should get requests. */
  available(now: number): boolean {
    return this.#checked !== 'unhealthy' && this.#ejectedUntil <= now;
  }

  /** Why it is not available; empty where it is. */
  problem(now: number): string {
    if (this.#checked === 'unhealthy') return this.#checkReason;
    return this.#ejectedUntil > now ? `left out for ${this.#ejectedFor / 1000} s: ${this.#ejectReason}` : '';
  }

  /** A check's result. The first good one counts at once; all others only `healthyAfter` or `unhealthyAfter` in a row. */
  checked(problem: string | undefined, rules: CheckRules): void {
    const good = problem === undefined;
    if (!good) this.#checkReason = problem;
    if (this.#checked === 'unknown' && good) this.#checked = 'healthy';
    if ((this.#checked === 'unhealthy') !== good) {
      this.#against = 0;
      return;
    }
    this.#against++;
    if (this.#against < (good ? rules.healthyAfter : rules.unhealthyAfter)) return;
    this.#checked = good ? 'healthy' : 'unhealthy';
    this.#against = 0;
    // What the checks have seen well again is not left out for what requests met before.
    if (good) this.#ejectedUntil = -Infinity;
  }

  /** Without checks it is as good as unknown. */
  unchecked(): void {
    this.#checked = 'unknown';
    this.#against = 0;
  }

  /** A request got an answer. */
  succeeded(now: number): void {
    this.#failures = 0;
    if (this.#ejections > 0 && now - this.#ejectedUntil >= this.#ejectedFor) this.#ejections = 0;
  }

  /** A request failed for a reason of the target's own. `spare`: whether others could do without it. */
  failed(now: number, reason: string, ejection: Ejection, spare: boolean): void {
    this.#failures++;
    if (ejection.failures === 0 || this.#failures < ejection.failures || !spare || this.#ejectedUntil > now) return;
    this.#ejectedFor = ejection.ejectMs * 2 ** Math.min(this.#ejections, EJECT_GROWTH);
    this.#ejections++;
    this.#ejectedUntil = now + this.#ejectedFor;
    this.#ejectReason = `${ejection.failures} requests in a row failed, the last one with: ${reason}`;
    // When it is back, one more failure is enough.
    this.#failures = ejection.failures - 1;
  }
}
