// Who may be told why a request failed: administrators who have signed in at this host. To everybody else the answer is neutral (attack row L-6).
import type { Soon } from '../access/backend.ts';
import type { CheckInput, Verdict } from '../access/check.ts';
import { liveSession } from '../access/checks/session.ts';
import { claimedSessionId } from '../access/cookies.ts';
import { runChecks } from '../access/pipeline.ts';

/** `verdict` is the one that the request was decided by, where it came so far. Never rejects; what cannot be asked is a no. */
export function administratorAsks(input: CheckInput | undefined, verdict: Verdict | undefined): Soon<boolean> {
  if (input?.subject.service === undefined || claimedSessionId(input.subject.cookies) === undefined) return false;
  if (verdict?.kind === 'allow') return isAdministrator(verdict);
  const found = runChecks([liveSession], input);
  return found instanceof Promise ? found.then(isAdministrator) : isAdministrator(found);
}

function isAdministrator(verdict: Verdict | undefined): boolean {
  return verdict?.kind === 'allow' && verdict.session !== undefined && verdict.identity?.administrator === true;
}
