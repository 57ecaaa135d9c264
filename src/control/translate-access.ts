// Our own control plane's words for who may use a service, as the model's. What cannot be read whole makes the service unusable: a rule or a proof
// that was lost would leave it more open than it is meant to be.
import {
  accessVersion,
  type AccessPolicy,
  type AccessRule,
  type ProofAlternatives,
  proofKinds,
  type RateLimit,
  rateKeys,
  ruleActions,
} from '#model/access.ts';
import { asId, type GroupId } from '#model/ids.ts';
import type { AccessExtension, AccessRule as RuleMessage, ProofSet } from '#wire/proto/gen/meshgate_access_pb.ts';

/** The policy, or why it cannot be used. */
export function accessFrom(message: AccessExtension): AccessPolicy | { readonly unusable: string } {
  if (message.version !== accessVersion) return { unusable: `version ${message.version} of its access policy is not known` };
  if (message.$unknown !== undefined && message.$unknown.length > 0) return { unusable: 'its access policy has parts that are not known' };
  if (message.headers.some(({ name, $unknown }) => !/^[!#-'*+.^-z|~-]{1,128}$/.test(name) || ($unknown !== undefined && $unknown.length > 0)))
    return { unusable: 'one of the headers that it asks for cannot be read' };
  const proofs = alternativesFrom(message.proofs);
  if (proofs === undefined) return { unusable: 'a proof of an unknown kind' };
  const rules: AccessRule[] = [];
  for (const rule of message.rules) {
    const read = ruleFrom(rule);
    if (read === undefined) return { unusable: `its access rule ${rule.name} cannot be read` };
    rules.push(read);
  }
  const rateLimits: RateLimit[] = [];
  for (const { key: word, count, perMs, burst } of message.rateLimits) {
    const key = rateKeys.find((known) => known === word);
    if (key === undefined || count === 0 || perMs === 0n || burst === 0) return { unusable: 'one of its rate limits cannot be read' };
    rateLimits.push({ key, count, perMs: Number(perMs), burst });
  }
  return {
    proofs,
    rules,
    otherwise: message.otherwiseDeny ? 'deny' : 'allow',
    rateLimits,
    devices: message.devices,
    headers: message.headers.map(({ name, keep }) => ({ name, keep })),
    session: { maxAgeMs: millisecondsFrom(message.sessionMaxAgeMs), idleMs: millisecondsFrom(message.sessionIdleMs) },
  };
}

function ruleFrom(message: RuleMessage): AccessRule | undefined {
  const action = ruleActions.find((known) => known === message.action);
  const proofs = alternativesFrom(message.proofs);
  const unknown = [message, ...message.times, ...message.claims].some(({ $unknown }) => $unknown !== undefined && $unknown.length > 0);
  if (action === undefined || proofs === undefined || unknown) return undefined;
  const { name, observe, paths, methods, addresses, countries, networks, users } = message;
  return {
    name,
    action,
    observe,
    when: {
      paths,
      methods,
      addresses,
      countries,
      networks,
      times: message.times.map(({ days, from, to, timeZone }) => ({ days, from, to, timeZone })),
      users,
      groups: message.groups.map((id) => asId<GroupId>(id)),
      claims: message.claims.map(({ name: claim, value }) => ({ name: claim, value })),
    },
    proofs,
  };
}

/** Undefined where a proof is not known, or a set of proofs is empty: that would be no proof at all. */
function alternativesFrom(sets: readonly ProofSet[]): ProofAlternatives | undefined {
  const alternatives = sets.map(({ proofs }) => proofs.map((word) => proofKinds.find((known) => known === word)));
  const known = alternatives.map((all) => all.filter((kind) => kind !== undefined));
  return known.some((all, i) => all.length === 0 || all.length !== alternatives[i]?.length) ? undefined : known;
}

function millisecondsFrom(value: bigint | undefined): number | undefined {
  return value === undefined || value === 0n ? undefined : Number(value);
}
