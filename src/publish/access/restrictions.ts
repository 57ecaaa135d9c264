// From where a service may be used: address ranges, for requests and for streams alike. What cannot be checked denies.
import { parsePrefix, prefixContains, type IpAddress, type IpPrefix } from '#lib/ip.ts';
import type { DenyReason } from '#model/decision.ts';
import type { AccessRestrictions, ServiceMapping } from '#model/service.ts';

export interface CompiledRestrictions {
  readonly allowed: readonly IpPrefix[];
  readonly blocked: readonly IpPrefix[];
  /** Set where something is asked for that cannot be checked: everything is denied then. */
  readonly unsupported: string | undefined;
}

const unrestricted: CompiledRestrictions = { allowed: [], blocked: [], unsupported: undefined };

/** Equal for two versions of a service that let the same in; `domain` is the canonical one. */
export function accessKey({ accountId, access, restrictions, private: isPrivate }: ServiceMapping, domain: string): string {
  return JSON.stringify([accountId, domain, access, restrictions, isPrivate]);
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
  const allowed = prefixes(allowedCidrs);
  const blocked = prefixes(blockedCidrs);
  if (allowedCountries.length + blockedCountries.length > 0) unsupported = 'countries cannot be checked by this gateway';
  if (crowdsecMode === 'enforce') unsupported = 'CrowdSec cannot be asked by this gateway';
  return allowed.length + blocked.length === 0 && unsupported === undefined ? unrestricted : { allowed, blocked, unsupported };
}

/** Why this address may not pass, or undefined where it may. An allow list admits only its members; a block list wins over it. */
export function judgeAddress(
  { allowed, blocked, unsupported }: CompiledRestrictions,
  address: IpAddress | undefined,
): { readonly reason: DenyReason; readonly detail: string } | undefined {
  if (unsupported !== undefined) return { reason: 'restriction_unsupported', detail: unsupported };
  if (allowed.length === 0 && blocked.length === 0) return undefined;
  if (address === undefined) return { reason: 'ip_denied', detail: 'the address is not known' };
  if (blocked.some((prefix) => prefixContains(prefix, address))) return { reason: 'ip_denied', detail: 'blocked' };
  if (allowed.length > 0 && !allowed.some((prefix) => prefixContains(prefix, address))) return { reason: 'ip_denied', detail: 'not allowed' };
  return undefined;
}
