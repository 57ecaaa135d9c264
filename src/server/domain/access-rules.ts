// What the access policy of a service must look like. What a gateway could not decide by is refused here, with what to write instead.
import { formatPrefix, maskPrefix, parsePrefix } from '#lib/ip.ts';
import type { AccessCondition, AccessPolicy, AccessRule, ProofAlternatives, ProofKind, TimeWindow } from '#model/access.ts';
import type { ServiceMode } from '#model/service.ts';
import { entriesPerCondition, proofAlternatives, rateLimitsPerService, rulesPerService } from './constants.ts';
import { invalid } from './errors.ts';
import { checkRoutePath } from './target-rules.ts';

/** In its canonical form. */
export function checkAccess(mode: ServiceMode, access: AccessPolicy): AccessPolicy {
  if (access.rules.length > rulesPerService) throw invalid(`A service has at most ${rulesPerService} access rules.`);
  if (access.rateLimits.length > rateLimitsPerService) throw invalid(`A service has at most ${rateLimitsPerService} rate limits.`);
  const names = access.rules.map(({ name }) => name);
  if (new Set(names).size !== names.length) throw invalid('Two access rules have the same name.');
  return { ...access, proofs: checkProofs(mode, access.proofs), rules: access.rules.map((rule) => checkRule(mode, rule)) };
}

function checkRule(mode: ServiceMode, rule: AccessRule): AccessRule {
  const { name, action, when, proofs } = rule;
  if (!/^[\x20-\x7e]{1,64}$/.test(name)) throw invalid('An access rule has a name of 1 to 64 printable characters.');
  if (action !== 'allow' && proofs.length > 0) throw invalid(`The access rule "${name}" asks for proofs, but only allow can.`);
  if (action === 'bypass' && when.users.length + when.groups.length + when.claims.length > 0) {
    throw invalid(`The access rule "${name}" lets in without a proof, so it cannot ask who the caller is: use allow.`);
  }
  if (mode !== 'http' && when.paths.length + when.methods.length > 0) {
    throw invalid(`The access rule "${name}" names paths or methods, which a ${mode} service does not have.`);
  }
  return { ...rule, when: checkCondition(name, when), proofs: checkProofs(mode, proofs) };
}

function checkCondition(name: string, when: AccessCondition): AccessCondition {
  for (const entries of Object.values(when) as readonly (readonly unknown[])[]) {
    if (entries.length > entriesPerCondition) throw invalid(`The access rule "${name}" names more than ${entriesPerCondition} of one kind.`);
  }
  for (const time of when.times) checkTime(name, time);
  for (const method of when.methods) if (!/^[A-Z][A-Z-]{0,31}$/.test(method)) throw invalid(`"${method}" is not a method such as GET.`);
  for (const country of when.countries) if (!/^[A-Z]{2}$/.test(country)) throw invalid(`"${country}" is not a country code of two letters.`);
  return {
    ...when,
    paths: when.paths.map(checkRoutePath),
    addresses: when.addresses.map(checkRange),
    users: when.users.map((user) => user.toLowerCase()),
  };
}

function checkTime(name: string, { days, from, to, timeZone }: TimeWindow): void {
  if (days.some((day) => !Number.isInteger(day) || day < 1 || day > 7))
    throw invalid(`The days of the access rule "${name}" are 1 (Monday) to 7 (Sunday).`);
  if (from < 0 || to < 0 || from >= 1_440 || to > 1_440 || from === to)
    throw invalid(`A time of the access rule "${name}" is from 00:00 to 24:00 and not empty.`);
  try {
    Intl.DateTimeFormat('en', { timeZone });
  } catch {
    throw invalid(`"${timeZone}" is not a time zone such as Europe/Berlin.`);
  }
}

function checkRange(text: string): string {
  const prefix = parsePrefix(text);
  if (prefix === undefined) throw invalid(`"${text}" is not a network such as 192.0.2.0/24.`);
  return formatPrefix(maskPrefix(prefix));
}

/** Proofs of a stream: what is unlocked at its page, or shown while its connection is made. */
const ofStreams: ReadonlySet<ProofKind> = new Set(['oidc', 'token', 'certificate', 'peer', 'device']);

function checkProofs(mode: ServiceMode, alternatives: ProofAlternatives): ProofAlternatives {
  if (alternatives.length > proofAlternatives) throw invalid(`There are at most ${proofAlternatives} alternatives of proofs.`);
  return alternatives.map((all) => {
    if (all.length === 0) throw invalid('An alternative of proofs names none: leave it out.');
    const strange = mode === 'http' ? undefined : all.find((kind) => !ofStreams.has(kind));
    if (strange !== undefined) throw invalid(`A ${mode} service cannot ask for the proof ${strange}.`);
    return [...new Set(all)];
  });
}
