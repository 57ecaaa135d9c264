// Which proofs this gateway can check.
import type { AccessPolicy, ProofAlternatives, ProofKind } from '#model/access.ts';
import type { ClientCertificateRule } from '#model/client-certificate.ts';
import type { Session } from '#model/identity.ts';

const checked: ReadonlySet<ProofKind> = new Set(['oidc', 'password', 'pin', 'link', 'header', 'basic', 'token', 'device', 'peer']);

/**
 * Why nobody may pass, whoever it is: what cannot be checked is not let through. Undefined where somebody can. `clients` is what is asked of TLS
 * clients: only of the account's own certificates is it known whose they are.
 */
export function policyProblem({ proofs, rules, otherwise }: AccessPolicy, clients: ClientCertificateRule | undefined): string | undefined {
  const checks = (kind: ProofKind): boolean => checked.has(kind) || (kind === 'certificate' && clients?.account === true);
  const letting = rules.filter(({ action, observe }) => action !== 'deny' && !observe);
  const asked = letting.map((rule) => (rule.action === 'bypass' ? [] : rule.proofs.length === 0 ? proofs : rule.proofs));
  const ways = otherwise === 'allow' ? [proofs, ...asked] : asked;
  // Where nobody is let in at all, that is what was asked for.
  if (ways.length === 0 || ways.some((way) => way.length === 0 || way.some((all) => all.every(checks)))) return undefined;
  const missing = new Set(ways.flat(2).filter((kind) => !checks(kind)));
  return `sign-in by ${[...missing].join(', ')} is not supported by this version of the gateway; enable sign-in by the identity provider`;
}

/** All that the browser of a session has proven. */
export function provenBy({ proofs, identity }: Session): readonly ProofKind[] {
  return proofs ?? [identity.method];
}

/** What a person can do at a page, in the order in which it is offered. */
export const atPage = ['oidc', 'password', 'pin', 'link'] as const satisfies readonly ProofKind[];
export type PageProof = (typeof atPage)[number];

/** Which steps a page can offer to somebody who has proven so much: those of every way in that nothing else is missing of. */
export function stepsLeft(asked: ProofAlternatives, proven: readonly ProofKind[]): readonly PageProof[] {
  const missing = asked.map((all) => all.filter((kind) => !proven.includes(kind)));
  const open = missing.filter((kinds) => kinds.every((kind) => (atPage as readonly ProofKind[]).includes(kind)));
  return atPage.filter((kind) => open.some((kinds) => kinds.includes(kind)));
}
