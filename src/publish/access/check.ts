// What a check is: it looks at the subject and decides, or leaves the decision to the next one.
import type { ProofAlternatives, ProofKind } from '#model/access.ts';
import type { AllowReason, Decision, DenyReason } from '#model/decision.ts';
import type { Identity, Session } from '#model/identity.ts';
import type { AccessBackend, Soon } from './backend.ts';
import type { Subject } from './subject.ts';
import type { Surroundings } from './surroundings.ts';

export interface CheckInput {
  readonly subject: Subject;
  readonly backend: AccessBackend;
  readonly around: Surroundings;
  readonly signal: AbortSignal;
  /** Set by the check of credentials where they do not suffice alone: what the request has proven besides its session. */
  proven?: { readonly proofs: readonly ProofKind[]; readonly trustKeys: readonly string[] } | undefined;
  /** Hears of rules, and of other checks, that would have decided, were they not only observed. */
  observe?(what: string): void;
}

/** A decision, with the session that it rests on: what was opened under it ends with it. */
export type Verdict = Decision & {
  /** Of a challenge: what the browser has proven so far. */
  readonly session?: Session | undefined;
  /** Of a challenge: the ways in. */
  readonly asked?: ProofAlternatives | undefined;
  /** All that the caller has proven who was let in, or has to prove more. */
  readonly proven?: readonly ProofKind[] | undefined;
  /** The credentials that it rests on, by the names under which their end is told. */
  readonly trustKeys?: readonly string[] | undefined;
  /** The access rule that decided; undefined where none did. */
  readonly rule?: string | undefined;
  /** Of a refusal that is over after some time, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
};

/** Undefined leaves the decision to the next check. What throws or rejects, denies. */
export type Check = (input: CheckInput) => Soon<Verdict | undefined>;

export function allow(reason: AllowReason, identity: Identity | undefined, session?: Session): Verdict {
  return { kind: 'allow', reason, identity, session };
}

export function deny(reason: DenyReason, detail: string): Verdict {
  return { kind: 'deny', reason, detail };
}

/** `asked` are the ways in, `session` is what has been proven of them so far. */
export function challenge(reason: DenyReason, asked: ProofAlternatives, session?: Session): Verdict {
  return { kind: 'challenge', reason, asked, session };
}
