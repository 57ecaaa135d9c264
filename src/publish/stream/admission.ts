// Who may use a stream service: one decision for a new connection or flow, and the same one again for those that are open.
import { callerNetwork, type IpAddress, parseIp, unmapIp } from '#lib/ip.ts';
import type { DialTarget } from '#lib/net.ts';
import type { DenyReason } from '#model/decision.ts';
import { judgeAddress } from '../access/restrictions.ts';
import type { Caller } from '../access/rules/facts.ts';
import type { Judgement } from '../access/rules/policy.ts';
import type { Surroundings } from '../access/surroundings.ts';
import type { OpenConnections, Place } from './open-connections.ts';
import type { AnyStreamService, StreamTable } from './services.ts';
import type { Unlock, Unlocks } from './unlocks.ts';

export interface AdmissionDeps {
  /** Who has signed in for which service, from where. */
  readonly unlocks: Unlocks;
  readonly around: Surroundings;
  /** What is open at each service. */
  readonly opened: OpenConnections;
}

/** Let in: under whose sign-in, by which rule, and what was only observed. */
export interface Admitted {
  readonly unlock: Unlock | undefined;
  readonly rule: string | undefined;
  readonly observed: readonly string[] | undefined;
}

export type StreamRefusal = DenyReason | 'auth_unsupported';

export interface Refused {
  readonly refused: StreamRefusal;
  readonly rule: string | undefined;
}

/** What is kept of an open connection or flow to decide again. */
export interface Standing {
  readonly address: string;
  readonly unlock: Unlock | undefined;
  /** Which of its service's targets it goes to; undefined while none is chosen. */
  readonly share: DialTarget | undefined;
  /** The version of its service that let it in. */
  letInBy: AnyStreamService;
}

/** Decides about a new connection or flow; the address is counted against its limits. What throws, denies. */
export function admitStream(
  service: AnyStreamService,
  address: string,
  { unlocks, around }: Pick<AdmissionDeps, 'unlocks' | 'around'>,
): Admitted | Refused {
  try {
    if (service.closed !== undefined) return refuse('auth_unsupported');
    const ip = ipOf(address);
    const observed: string[] = [];
    const denied = judgeAddress(service.restrictions, ip, around, (what) => void observed.push(what));
    if (denied !== undefined) return refuse(denied.reason);
    const counted = { service: false, address: callerNetwork(address), identity: undefined };
    if (around.limits.take(service.limits, counted) > 0) return refuse('rate_limited');
    const { judged, unlock } = judgeCaller(service, ip, address, { unlocks, around });
    observed.push(...(judged.observed ?? []));
    if (judged.kind === 'allow') return { unlock, rule: judged.rule, observed: observed.length === 0 ? undefined : observed };
    return refuse(judged.kind === 'ask' ? 'not_signed_in' : 'rule_denied', judged.rule);
  } catch {
    return refuse('internal_error');
  }
}

/**
 * Counts what was let in against the limits of its service and of who it is: of what is open at once, which has its place to be given back at its
 * end, and of how often. Refuses where there are too many.
 */
export function countAdmitted(
  { id, limits, openLimits }: AnyStreamService,
  address: string,
  unlock: Unlock | undefined,
  { around, opened }: AdmissionDeps,
): { readonly place: Place } | { readonly refused: 'too_many_streams' | 'rate_limited' } {
  const identity = unlock?.identity.userId;
  const place = opened.take(id, openLimits, address, identity);
  if (place === undefined) return { refused: 'too_many_streams' };
  if (around.limits.take(limits, { service: true, address: undefined, identity }) === 0) return { place };
  opened.give(place);
  return { refused: 'rate_limited' };
}

/** Counts who has turned out to be the holder of a certificate; its service has been counted. */
export function countIdentity({ limits }: AnyStreamService, { identity }: Unlock, { around }: AdmissionDeps): boolean {
  return around.limits.take(limits, { service: false, address: undefined, identity: identity.userId }) === 0;
}

/** What the policy says of somebody who is known; the address has been judged. What throws, denies. */
export function judgeAs(
  service: AnyStreamService,
  address: string,
  unlock: Unlock,
  around: Surroundings,
): { readonly refused: StreamRefusal | undefined; readonly rule: string | undefined; readonly observed: readonly string[] | undefined } {
  try {
    const { kind, rule, observed } = judge(service, ipOf(address), callerOf(unlock), around);
    return { refused: kind === 'allow' ? undefined : kind === 'ask' ? 'not_signed_in' : 'rule_denied', rule, observed };
  } catch {
    return { refused: 'internal_error', rule: undefined, observed: undefined };
  }
}

/** Why a version of its service does not let in the holder of the unlock from its address, or whoever has none. Asks nobody and counts nothing. */
export function holdRefusal(service: AnyStreamService, address: string, unlock: Unlock | undefined, around: Surroundings): StreamRefusal | undefined {
  try {
    const ip = ipOf(address);
    if (service.closed !== undefined) return 'auth_unsupported';
    const denied = judgeAddress(service.restrictions, ip, around);
    if (denied !== undefined) return denied.reason;
    const { kind } = judge(service, ip, unlock === undefined ? undefined : callerOf(unlock), around);
    return kind === 'allow' ? undefined : kind === 'ask' ? 'not_signed_in' : 'rule_denied';
  } catch {
    return 'internal_error';
  }
}

/** Why what is open has to end under the table, or undefined where it stays. `again` asks even where nothing of its service has changed. */
export function endUnder(
  table: StreamTable,
  standing: Standing & { readonly service: AnyStreamService },
  around: Surroundings,
  again: (service: AnyStreamService) => boolean,
): 'service_changed' | StreamRefusal | undefined {
  const now = table.keeps(standing.service);
  if (now === undefined || now.home !== standing.letInBy.home) return 'service_changed';
  const { share } = standing;
  if (share !== undefined && !now.shares.some(({ host, port }) => host === share.host && port === share.port)) return 'service_changed';
  if (now.access === standing.letInBy.access && !again(now)) return undefined;
  const refusal = holdRefusal(now, standing.address, standing.unlock, around);
  if (refusal === undefined) standing.letInBy = now;
  return refusal;
}

function judgeCaller(
  service: AnyStreamService,
  ip: IpAddress | undefined,
  address: string,
  { unlocks, around }: Pick<AdmissionDeps, 'unlocks' | 'around'>,
): { readonly judged: Judgement; readonly unlock: Unlock | undefined } {
  const unknown = judge(service, ip, undefined, around);
  if (unknown.kind !== 'ask') return { judged: unknown, unlock: undefined };
  let judged: Judgement = unknown;
  const unlock = unlocks.find(service, address, (found) => {
    judged = judge(service, ip, callerOf(found), around);
    return judged.kind === 'allow';
  });
  return { judged, unlock };
}

function judge(service: AnyStreamService, address: IpAddress | undefined, caller: Caller | undefined, { clock, geo }: Surroundings): Judgement {
  return service.policy.judge({ path: undefined, method: undefined, address, now: clock.wall(), geo }, caller);
}

function callerOf({ identity, proofs }: Unlock): Caller {
  return { identity, proofs: proofs ?? [identity.method] };
}

function ipOf(address: string): IpAddress | undefined {
  const ip = parseIp(address);
  return ip === undefined ? undefined : unmapIp(ip);
}

function refuse(refused: StreamRefusal, rule?: string): Refused {
  return { refused, rule };
}
