// An external OpenID Connect issuer whose users may sign in here.
import type { GroupId } from './ids.ts';

/** What NetBird's shape calls the kind of an issuer. All of them are OpenID Connect here; the word is kept for who reads it. */
export const issuerTypes = ['oidc', 'zitadel', 'entra', 'google', 'okta', 'pocketid', 'microsoft', 'adfs'] as const;
export type IssuerType = (typeof issuerTypes)[number];

/** How the client secret is sent where the issuer takes it both ways. */
export type IssuerClientAuth = 'basic' | 'post';

export interface IssuerRules {
  /** Domains that addresses may be at; empty for any. */
  readonly emailDomains: readonly string[];
  /** Whether an address counts of which the issuer does not say that it has verified it. */
  readonly trustsEmail: boolean;
  /** The claim that lists a person's groups there; undefined where groups are given here alone. */
  readonly groupsClaim: string | undefined;
  /** Values of that claim, and the groups here that they stand for. Nobody is in one of these groups except by the claim. */
  readonly groups: readonly { readonly value: string; readonly group: GroupId }[];
  /** Claims that access rules may ask for. */
  readonly claims: readonly string[];
}

export const plainIssuerRules: IssuerRules = { emailDomains: [], trustsEmail: false, groupsClaim: undefined, groups: [], claims: [] };

/** Without its secret. */
export interface Issuer extends IssuerRules {
  /** Part of the redirect URL and of every user that came from it. */
  readonly id: string;
  readonly type: IssuerType;
  /** On the button of the sign-in page. */
  readonly name: string;
  readonly issuer: string;
  readonly clientId: string;
  readonly clientAuth: IssuerClientAuth;
  /** PEM of a private authority of its certificate. */
  readonly ca: string | undefined;
  /** Set in the configuration of the server, and changed only there. */
  readonly configured: boolean;
}
