// The access rules as checks of a request ask them: before it is known who it is, and afterwards.
import type { ProofAlternatives } from '#model/access.ts';
import type { AllowReason } from '#model/decision.ts';
import type { Session } from '#model/identity.ts';
import { challenge, type CheckInput, deny, type Verdict } from '../check.ts';
import type { Caller } from './facts.ts';
import type { Judgement } from './policy.ts';

/** Without a caller it says what has to be proven first. Throws where the service is not known. */
export function judgeRequest(input: CheckInput, caller: Caller | undefined): Judgement {
  const { subject, around } = input;
  const { service, path, method, address } = subject;
  if (service === undefined) throw new TypeError('a request without a service has no policy');
  const judged = service.policy.judge({ path, method, address, now: around.clock.wall(), geo: around.geo }, caller);
  if (judged.observed !== undefined) for (const name of judged.observed) input.observe?.(name);
  return judged;
}

/** Whether the policy lets in who has proven this. What lacks a proof grants nothing (attack row A-12). */
export function admit(input: CheckInput, reason: AllowReason, caller: Caller, session?: Session): Verdict {
  const judged = judgeRequest(input, caller);
  switch (judged.kind) {
    case 'deny':
      return { ...deny('rule_denied', judged.detail), rule: judged.rule };
    case 'ask':
      return { ...challenge('not_signed_in', judged.proofs, session), rule: judged.rule, proven: caller.proofs };
    case 'allow':
      return { kind: 'allow', reason, identity: caller.identity, session, rule: judged.rule, proven: caller.proofs };
  }
}

/** What somebody would have to prove of whom nothing is known. */
export function askedOf(input: CheckInput): ProofAlternatives {
  const judged = judgeRequest(input, undefined);
  return judged.kind === 'ask' ? judged.proofs : [];
}
