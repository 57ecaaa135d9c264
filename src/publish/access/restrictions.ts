// From where a service may be used: address ranges, countries, and what CrowdSec says, for requests and for streams alike. What cannot be told denies.
import { hash } from 'node:crypto';
import { parsePrefix, prefixContains, type IpAddress, type IpPrefix } from '#lib/ip.ts';
import type { DenyReason } from '#model/decision.ts';
import type { AccessRestrictions, ServiceMapping } from '#model/service.ts';
import type { Surroundings } from './surroundings.ts';

export interface CompiledRestrictions {
  readonly allowed: readonly IpPrefix[];
  readonly blocked: readonly IpPrefix[];
  readonly allowedCountries: ReadonlySet<string>;
  readonly blockedCountries: ReadonlySet<string>;
  readonly crowdsec: AccessRestrictions['crowdsecMode'];
  /** Set where something is asked for that cannot be read: everything is denied then. */
  readonly unsupported: string | undefined;
  /** Nothing is asked for. */
  readonly none: boolean;
}

/** What makes a service another one, whoever may use it: nothing that was let in to one stays with the other. `domain` is the canonical one. */
export function homeKey({ accountId }: ServiceMapping, domain: string): string {
  return JSON.stringify([accountId, domain]);
}

/** Equal for two versions of a service that let the same in: a digest, as it is kept with every service and what lets in may be long. */
export function accessKey({ accountId, access, restrictions, private: isPrivate, web, stream }: ServiceMapping, domain: string): string {
  return hash(
    'sha256',
    JSON.stringify([accountId, domain, access, restrictions, isPrivate, web.clientCertificate, stream.termination?.clientCertificate]),
    'base64url',
  );
}

/** Worked out once for each version of a service. */
export function compileRestrictions(restrictions: AccessRestrictions): CompiledRestrictions {
  const { allowedCidrs, blockedCidrs, allowedCountries, blockedCountries, crowdsecMode } = restrictions;
  let unsupported: string | undefined;
  const prefixes = (texts: readonly string[]): IpPrefix[] =>
    texts.flatMap((text) => {
      const prefix = parsePrefix(text);
      if (prefix === undefined) unsupported = `${text} is no address range`;
      return prefix === undefined ? [] : [prefix];
    });
  const upper = (codes: readonly string[]): ReadonlySet<string> => new Set(codes.map((code) => code.toUpperCase()));
  const asked = allowedCidrs.length + blockedCidrs.length + allowedCountries.length + blockedCountries.length;
  return {
    allowed: prefixes(allowedCidrs),
    blocked: prefixes(blockedCidrs),
    allowedCountries: upper(allowedCountries),
    blockedCountries: upper(blockedCountries),
    crowdsec: crowdsecMode,
    unsupported,
    none: asked === 0 && crowdsecMode === 'off',
  };
}

interface Refused {
  readonly reason: DenyReason;
  readonly detail: string;
}

/**
 * Why this address may not pass, or undefined where it may. An allow list admits only its members; a block list wins over it. `observed` hears
 * what CrowdSec would have refused where it is only observed.
 */
export function judgeAddress(
  restrictions: CompiledRestrictions,
  address: IpAddress | undefined,
  around: Surroundings,
  observed?: (what: string) => void,
): Refused | undefined {
  if (restrictions.unsupported !== undefined) return { reason: 'restriction_unsupported', detail: restrictions.unsupported };
  if (restrictions.none) return undefined;
  if (address === undefined) return { reason: 'ip_denied', detail: 'the address is not known' };
  return judgeRange(restrictions, address) ?? judgeCountry(restrictions, address, around) ?? judgeReputation(restrictions, address, around, observed);
}

function judgeRange({ allowed, blocked }: CompiledRestrictions, address: IpAddress): Refused | undefined {
  if (blocked.some((prefix) => prefixContains(prefix, address))) return { reason: 'ip_denied', detail: 'blocked' };
  if (allowed.length > 0 && !allowed.some((prefix) => prefixContains(prefix, address))) return { reason: 'ip_denied', detail: 'not allowed' };
  return undefined;
}

function judgeCountry({ allowedCountries, blockedCountries }: CompiledRestrictions, address: IpAddress, { geo }: Surroundings): Refused | undefined {
  if (allowedCountries.size + blockedCountries.size === 0) return undefined;
  const country = geo.country(address);
  if (country === undefined) return { reason: 'country_unknown', detail: geo.problem('countries') };
  if (blockedCountries.has(country)) return { reason: 'country_denied', detail: `${country} is blocked` };
  if (allowedCountries.size > 0 && !allowedCountries.has(country)) return { reason: 'country_denied', detail: `${country} is not allowed` };
  return undefined;
}

function judgeReputation(
  { crowdsec }: CompiledRestrictions,
  address: IpAddress,
  { reputation, geo }: Surroundings,
  observed: ((what: string) => void) | undefined,
): Refused | undefined {
  if (crowdsec === 'off') return undefined;
  const problem = reputation.problem();
  const banned = problem === '' ? reputation.banned(address, geo) : undefined;
  if (crowdsec === 'observe') {
    if (banned !== undefined) observed?.(`crowdsec: ${banned}`);
    return undefined;
  }
  if (problem !== '') return { reason: 'crowdsec_unavailable', detail: problem };
  return banned === undefined ? undefined : { reason: 'crowdsec_denied', detail: banned };
}
