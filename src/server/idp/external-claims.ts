// What an external issuer says of a person, held against what is allowed: an address counts only where the issuer has verified it, and its
// domain is what stands behind its one `@` (attack row A-7).
import { domainToASCII } from 'node:url';
import type { GroupId } from '#model/ids.ts';
import type { IssuerRules } from '#model/issuer.ts';
import type { ExternalSignIn } from '../domain/contract.ts';
import { claimLength, claimValues } from './constants.ts';
import { idpError } from './errors.ts';

type Claims = Readonly<Record<string, unknown>>;

/** Throws IDP_CONNECTOR_EMAIL and IDP_CONNECTOR_DOMAIN. */
export function externalSignIn(connector: string, rules: IssuerRules, claims: Claims & { readonly sub: string }): ExternalSignIn {
  const email = verifiedEmail(rules, claims);
  const said = claims['name'];
  return {
    connector,
    subject: claims.sub,
    email,
    name: typeof said === 'string' && said !== '' ? said : email,
    groups: groupsOf(rules, claims),
    claims: Object.fromEntries(rules.claims.flatMap((name) => (claims[name] === undefined ? [] : [[name, textsOf(claims[name])]]))),
  };
}

function verifiedEmail({ trustsEmail, emailDomains }: IssuerRules, claims: Claims): string {
  const email = claims['email'];
  const verified = claims['email_verified'];
  // Some issuers write it as text. Where they say nothing, somebody here has to have said that they may be believed.
  const counts = verified === true || verified === 'true' || (verified === undefined && trustsEmail);
  if (typeof email !== 'string' || !counts) throw idpError('IDP_CONNECTOR_EMAIL');
  const domain = domainOf(email);
  if (domain === undefined) throw idpError('IDP_CONNECTOR_EMAIL');
  if (emailDomains.length > 0 && !emailDomains.includes(domain)) throw idpError('IDP_CONNECTOR_DOMAIN');
  return email;
}

/** The domain in ASCII and lower case, or undefined where the address has not exactly one `@`, or a quoted or otherwise strange local part. */
export function domainOf(email: string): string | undefined {
  const match = /^[\p{L}\p{N}.!#$%&'*+/=?^_`{|}~-]+@([^@\s"]+)$/u.exec(email.trim());
  const domain = match === null ? '' : domainToASCII(match[1] ?? '').toLowerCase();
  return domain === '' || domain.endsWith('.') || !domain.includes('.') ? undefined : domain;
}

function groupsOf({ groupsClaim, groups }: IssuerRules, claims: Claims): ExternalSignIn['groups'] {
  if (groupsClaim === undefined) return undefined;
  const said = new Set(textsOf(claims[groupsClaim]));
  const unique = (list: readonly GroupId[]): readonly GroupId[] => [...new Set(list)];
  return {
    managed: unique(groups.map(({ group }) => group)),
    member: unique(groups.filter(({ value }) => said.has(value)).map(({ group }) => group)),
  };
}

/** A claim as texts: one, or a list of them. What is neither, is too long, or is too much is left out. */
function textsOf(value: unknown): readonly string[] {
  return [value]
    .flat()
    .flatMap((one) => (typeof one === 'string' ? [one] : typeof one === 'number' || typeof one === 'boolean' ? [String(one)] : []))
    .filter((text) => text.length <= claimLength)
    .slice(0, claimValues);
}
