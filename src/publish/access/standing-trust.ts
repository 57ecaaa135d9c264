// Trust under which something stays open, asked for again now and then.
import { sessionGraceMs } from '#identity/constants.ts';
import type { DenyReason } from '#model/decision.ts';
import type { CheckInput, Verdict } from './check.ts';
import { runChecks, standingChecks } from './pipeline.ts';
import { judgeRequest } from './rules/admit.ts';

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

/** Why what was let in would not be now, by its service as the input has it, with what was proven for it. Asks nobody; what throws, denies. */
export function standingRefusal(input: CheckInput, verdict: Verdict | undefined): DenyReason | undefined {
  if (verdict?.kind !== 'allow') return 'internal_error';
  const denied = runChecks(standingChecks, input);
  if (denied !== undefined) return 'kind' in denied && denied.kind === 'deny' ? denied.reason : 'internal_error';
  const { identity, proven } = verdict;
  try {
    const { kind } = judgeRequest(input, identity === undefined || proven === undefined ? undefined : { identity, proofs: proven });
    return kind === 'allow' ? undefined : kind === 'ask' ? 'not_signed_in' : 'rule_denied';
  } catch {
    return 'internal_error';
  }
}
