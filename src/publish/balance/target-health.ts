// How one target is, as its checks and its requests tell: a state machine without a clock. What nobody has complained of is well.
import type { Ejection, HealthCheck } from '#model/web.ts';
import { EJECT_GROWTH, SLOW_START_SHARE } from '../constants.ts';

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
  /** When it came, or was well again. */
  #risenAt: number;

  /** `since`: when it came to others that were there before; left out, it is as old as they are. */
  constructor(since = -Infinity) {
    this.#risenAt = since;
  }

  /** Whether it should get requests. */
  available(now: number): boolean {
    return this.#checked !== 'unhealthy' && this.#ejectedUntil <= now;
  }

  /** How much of its share of the load it should get at a slow start: 1 where that is over, or there is none. */
  share(now: number, slowStartMs: number): number {
    if (slowStartMs === 0) return 1;
    return Math.min(1, Math.max(SLOW_START_SHARE, (now - Math.max(this.#risenAt, this.#ejectedUntil)) / slowStartMs));
  }

  /** Why it is not available; empty where it is. */
  problem(now: number): string {
    if (this.#checked === 'unhealthy') return this.#checkReason;
    return this.#ejectedUntil > now ? `left out for ${this.#ejectedFor / 1000} s: ${this.#ejectReason}` : '';
  }

  /** A check's result. The first good one counts at once; all others only `healthyAfter` or `unhealthyAfter` in a row. */
  checked(problem: string | undefined, rules: CheckRules, now: number): void {
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
    if (!good) return;
    this.#ejectedUntil = -Infinity;
    this.#risenAt = now;
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
