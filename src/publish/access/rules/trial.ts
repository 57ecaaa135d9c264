// Asks a policy without a request, as `meshgate policy test` does: the same rules as at the door, and nothing else of it (no restrictions, no limits).
import { parseIp } from '#lib/ip.ts';
import { type AccessPolicy, type ProofAlternatives, proofKinds } from '#model/access.ts';
import { asId, type GroupId, type UserId } from '#model/ids.ts';
import type { ServiceMode } from '#model/service.ts';
import type { Caller } from './facts.ts';
import { CompiledPolicy } from './policy.ts';

/** Whoever it is said to be. Words that are no kind of proof prove nothing. */
export interface TrialCaller {
  readonly user: string;
  readonly email: string;
  /** Ids. */
  readonly groups: readonly string[];
  /** Undefined where they cannot be told. */
  readonly claims: Readonly<Record<string, readonly string[]>> | undefined;
  readonly proofs: readonly string[];
}

export interface Trial {
  readonly path: string;
  readonly method: string;
  /** Undefined where it cannot be told. */
  readonly address: string | undefined;
  readonly country: string | undefined;
  readonly network: number | undefined;
  /** Wall-clock milliseconds. */
  readonly at: number;
  /** Undefined for a stranger. */
  readonly caller: TrialCaller | undefined;
}

export interface TrialResult {
  /** `bypass` passes without a proof; `ask` has to prove one of `proofs` first. */
  readonly outcome: 'allow' | 'bypass' | 'ask' | 'deny';
  /** The rule that decides; undefined where none does. */
  readonly rule: string | undefined;
  readonly observed: readonly string[];
  readonly proofs: ProofAlternatives;
}

/** A policy with its proofs worked out, as a gateway has it. Returns how each trial ends. */
export function policyTrials(mode: ServiceMode, policy: AccessPolicy): (trial: Trial) => TrialResult {
  const compiled = new CompiledPolicy(mode, policy);
  return ({ path, method, address, country, network, at, caller }) => {
    const geo = { country: () => country, network: () => network, problem: () => '' };
    const web = mode === 'http';
    const ip = address === undefined ? undefined : parseIp(address);
    const facts = { path: web ? path : undefined, method: web ? method : undefined, address: ip, now: at, geo };
    // As at the door: who passes without a proof is not asked for one.
    const unknown = compiled.judge(facts, undefined);
    const judged = unknown.kind === 'ask' ? compiled.judge(facts, caller === undefined ? undefined : callerOf(caller)) : unknown;
    const observed = judged.observed ?? [];
    if (judged.kind === 'ask') return { outcome: 'ask', rule: judged.rule, observed, proofs: judged.proofs };
    const outcome = judged.kind === 'deny' ? 'deny' : judged.anonymous ? 'bypass' : 'allow';
    return { outcome, rule: judged.rule, observed, proofs: [] };
  };
}

function callerOf({ user, email, groups, claims, proofs }: TrialCaller): Caller {
  const proven = proofKinds.filter((kind) => proofs.includes(kind));
  const groupIds = groups.map((id) => asId<GroupId>(id));
  const identity = { userId: asId<UserId>(user), email, name: user, groups: [], groupIds, claims, method: proven[0] ?? 'oidc' } as const;
  return { identity, proofs: proven };
}
