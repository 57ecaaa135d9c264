// Trust under which something stays open, asked for again now and then.
import { sessionGraceMs } from '#identity/constants.ts';
import type { Verdict } from './check.ts';

export class StandingTrust {
  /** Monotonic milliseconds. */
  #confirmedAt: number;

  constructor(now: number) {
    this.#confirmedAt = now;
  }

  /** Whether it still stands, with the proof checks' verdict of now. While nobody can be asked, for as long as the session cache would serve. */
  stands(verdict: Verdict | undefined, now: number): boolean {
    if (verdict?.kind === 'allow') this.#confirmedAt = now;
    else if (verdict?.kind !== 'deny' || verdict.reason !== 'auth_unavailable') return false;
    return now - this.#confirmedAt < sessionGraceMs;
  }
}
