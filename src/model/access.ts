// Who may use a service, beyond NetBird's shapes: which proofs are asked for together, rules about single requests and flows, and how often.
// The control plane keeps it, gateways decide by it. Stock gateways are never sent a service that would be more open without it.
import type { GroupId } from './ids.ts';

/** The version of our own description of access on the wire. A gateway is not sent a version that it does not know. */
export const accessVersion = 1;

/**
 * What a caller can prove with. `oidc`: signed in at the identity provider. `password`, `pin`, `link` (a share link): shared secrets that open a
 * session. `header`, `basic`: a credential with every request. `token`: a service user's token. `device`: a paired app's credential.
 * `certificate`: a TLS client certificate. `peer`: comes over the mesh as a known peer.
 */
export const proofKinds = ['oidc', 'password', 'pin', 'link', 'header', 'basic', 'token', 'device', 'certificate', 'peer'] as const;
export type ProofKind = (typeof proofKinds)[number];

/** Secrets that open a session. */
export const typedProofs = ['password', 'pin', 'link'] as const satisfies readonly ProofKind[];
export type TypedProof = (typeof typedProofs)[number];

/** Secrets that come with every request. */
export const requestProofs = ['header', 'basic', 'device'] as const satisfies readonly ProofKind[];
export type RequestProof = (typeof requestProofs)[number];

/** Alternatives: one of them suffices, and of it all proofs are needed. Without any alternative no proof is asked for. */
export type ProofAlternatives = readonly (readonly ProofKind[])[];

/** What a service with sign-in at the identity provider asks for: people sign in, machines show a token. */
export const signInProofs: ProofAlternatives = [['oidc'], ['token']];

export const ruleActions = ['allow', 'deny', 'bypass'] as const;

/** Hours of a week, in a time zone of the IANA data base. A window that ends before it begins goes on to the next day. */
export interface TimeWindow {
  /** 1 for Monday to 7 for Sunday (ISO 8601), the day on which it begins; empty for every day. */
  readonly days: readonly number[];
  /** Minutes after midnight, from 0 to 1,440; `to` is outside. */
  readonly from: number;
  readonly to: number;
  readonly timeZone: string;
}

/**
 * What a rule is about. All kinds that are named have to hold, of each kind one entry; what names nothing holds always. Path and method say
 * nothing of streams: a rule that names them is none for TCP, TLS and UDP services.
 */
export interface AccessCondition {
  /** Prefixes that end at a segment. Every reading of an ambiguous path is judged, and the strictest outcome holds. */
  readonly paths: readonly string[];
  /** Upper case. */
  readonly methods: readonly string[];
  readonly addresses: readonly string[];
  /** ISO 3166-1 alpha-2, upper case. */
  readonly countries: readonly string[];
  readonly networks: readonly number[];
  readonly times: readonly TimeWindow[];
  /** Ids or verified e-mail addresses, lower case. */
  readonly users: readonly string[];
  readonly groups: readonly GroupId[];
  readonly claims: readonly { readonly name: string; readonly value: string }[];
}

export const anything: AccessCondition = {
  paths: [],
  methods: [],
  addresses: [],
  countries: [],
  networks: [],
  times: [],
  users: [],
  groups: [],
  claims: [],
};

/**
 * Rules are asked in their order, and the first whose condition holds decides. `deny`: 403, whoever it is. `bypass`: passes without any proof
 * (it cannot ask who the caller is). `allow`: passes with `proofs`, or with the service's where that is empty. What a condition asks for and
 * cannot be told (no geo data base) holds for `deny` and does not hold for the others.
 */
export interface AccessRule {
  /** For log and pages; unique in its service. */
  readonly name: string;
  readonly action: (typeof ruleActions)[number];
  /** Only told in the log, decides nothing. */
  readonly observe: boolean;
  readonly when: AccessCondition;
  /** Of `allow` only. */
  readonly proofs: ProofAlternatives;
}

export const rateKeys = ['service', 'address', 'identity'] as const;

/** How many requests, or new connections and flows of a stream service, one gateway takes: a bucket of `burst` that fills at `count` each `perMs`. */
export interface RateLimit {
  /** `address`: IPv6 by its /64. `identity`: nothing is counted before the caller is known. */
  readonly key: (typeof rateKeys)[number];
  readonly count: number;
  readonly perMs: number;
  readonly burst: number;
}

/** A field whose value is a proof of the kind `header`. */
export interface CredentialHeader {
  /** Lower case. */
  readonly name: string;
  /** Whether the upstream gets it, too. */
  readonly keep: boolean;
}

export interface AccessPolicy {
  /** As kept, empty means: any one of the proofs that the service's `auth` enables. A gateway gets them worked out: empty means none is asked for. */
  readonly proofs: ProofAlternatives;
  readonly rules: readonly AccessRule[];
  /** Where no rule decides: `allow` asks for the service's proofs, `deny` is 403. */
  readonly otherwise: 'allow' | 'deny';
  readonly rateLimits: readonly RateLimit[];
  /** Whether users may pair devices: credentials that stand for them, at this service only. */
  readonly devices: boolean;
  /** Worked out for gateways, from the service's `auth`; kept as none. */
  readonly headers: readonly CredentialHeader[];
  /** Of sessions; undefined for the account's. */
  readonly session: { readonly maxAgeMs: number | undefined; readonly idleMs: number | undefined };
}

export const plainAccess: AccessPolicy = {
  proofs: [],
  rules: [],
  otherwise: 'allow',
  rateLimits: [],
  devices: false,
  headers: [],
  session: { maxAgeMs: undefined, idleMs: undefined },
};

/** Whether some way in asks for this proof. */
export function asksFor({ proofs, rules }: AccessPolicy, kind: ProofKind): boolean {
  return [proofs, ...rules.map((rule) => rule.proofs)].some((alternatives) => alternatives.some((all) => all.includes(kind)));
}

/** Whether what was proven is one of the alternatives, whole. */
export function sufficient(alternatives: ProofAlternatives, proven: readonly ProofKind[]): boolean {
  return alternatives.some((all) => all.every((kind) => proven.includes(kind)));
}
