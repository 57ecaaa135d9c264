// Which proofs this gateway can check, and whether those of a caller are enough.
import type { AccessPolicy, ProofAlternatives, ProofKind } from '#model/access.ts';

const checked: ReadonlySet<ProofKind> = new Set(['oidc', 'token']);

/** Why nobody may pass, whoever it is: what cannot be checked is not let through. Undefined where somebody can. */
export function policyProblem({ proofs, rules, rateLimits }: AccessPolicy): string | undefined {
  if (rules.length > 0) return 'access rules are not supported by this version of the gateway';
  if (rateLimits.length > 0) return 'rate limits are not supported by this version of the gateway';
  if (proofs.length === 0 || proofs.some((all) => all.every((kind) => checked.has(kind)))) return undefined;
  const missing = new Set(proofs.flat().filter((kind) => !checked.has(kind)));
  return `sign-in by ${[...missing].join(', ')} is not supported by this version of the gateway; enable sign-in by the identity provider`;
}

/** Whether what was proven is one of the alternatives, whole. */
export function sufficient(alternatives: ProofAlternatives, proven: readonly ProofKind[]): boolean {
  return alternatives.some((all) => all.every((kind) => proven.includes(kind)));
}
