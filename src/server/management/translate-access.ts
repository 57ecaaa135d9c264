// Who may use a service, as our own gateways are told, as a message.
import { isDeepStrictEqual } from 'node:util';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { accessVersion, plainAccess, type AccessRule, type ProofAlternatives, type ProofKind } from '#model/access.ts';
import type { ServiceMapping } from '#model/service.ts';
import type { AccessExtensionSchema, AccessRuleSchema, ProofSetSchema } from '#wire/proto/gen/meshgate_access_pb.ts';

const netbirdProofs: ReadonlySet<ProofKind> = new Set(['oidc', 'password', 'pin', 'header']);

/**
 * Whether a gateway that knows only NetBird's mapping would let in other callers than the service is meant for. It asks for the alternatives that
 * are one of NetBird's proofs each, and where there is none, for nothing at all.
 */
export function needsAccessExtension({ access }: ServiceMapping): boolean {
  const { proofs, rules, otherwise, rateLimits } = access;
  const plain = { rules: plainAccess.rules, otherwise: plainAccess.otherwise, rateLimits: plainAccess.rateLimits };
  const asked = proofs.length === 0 || proofs.some(([kind, second]) => kind !== undefined && second === undefined && netbirdProofs.has(kind));
  return !asked || !isDeepStrictEqual({ rules, otherwise, rateLimits }, plain);
}

export function accessExtensionOf({ access }: ServiceMapping): MessageInitShape<typeof AccessExtensionSchema> {
  const { proofs, rules, otherwise, rateLimits, devices, headers, session } = access;
  return {
    version: accessVersion,
    proofs: proofSetsOf(proofs),
    rules: rules.map(ruleOf),
    otherwiseDeny: otherwise === 'deny',
    rateLimits: rateLimits.map(({ key, count, perMs, burst }) => ({ key, count, perMs: BigInt(perMs), burst })),
    devices,
    headers: headers.map(({ name, keep }) => ({ name, keep })),
    ...(session.maxAgeMs === undefined ? {} : { sessionMaxAgeMs: BigInt(session.maxAgeMs) }),
    ...(session.idleMs === undefined ? {} : { sessionIdleMs: BigInt(session.idleMs) }),
  };
}

function ruleOf({ name, action, observe, when, proofs }: AccessRule): MessageInitShape<typeof AccessRuleSchema> {
  return {
    name,
    action,
    observe,
    paths: [...when.paths],
    methods: [...when.methods],
    addresses: [...when.addresses],
    countries: [...when.countries],
    networks: [...when.networks],
    times: when.times.map(({ days, from, to, timeZone }) => ({ days: [...days], from, to, timeZone })),
    users: [...when.users],
    groups: [...when.groups],
    claims: when.claims.map(({ name: claim, value }) => ({ name: claim, value })),
    proofs: proofSetsOf(proofs),
  };
}

function proofSetsOf(alternatives: ProofAlternatives): MessageInitShape<typeof ProofSetSchema>[] {
  return alternatives.map((proofs) => ({ proofs: [...proofs] }));
}
