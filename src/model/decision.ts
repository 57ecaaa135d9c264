// The outcome of the access checks: allow or deny, always with a reason from a closed list that log and pages show.
import type { Identity } from './identity.ts';

export type DenyReason =
  | 'unknown_host'
  | 'no_route'
  | 'host_mismatch'
  | 'method_not_allowed'
  | 'ip_denied'
  | 'country_denied'
  | 'country_unknown'
  | 'crowdsec_denied'
  | 'crowdsec_unavailable'
  | 'restriction_unsupported'
  | 'rule_denied'
  | 'rate_limited'
  | 'not_signed_in'
  | 'session_expired'
  | 'session_revoked'
  | 'group_not_allowed'
  | 'issuer_not_allowed'
  | 'token_invalid'
  | 'credential_invalid'
  | 'too_many_attempts'
  | 'auth_unavailable'
  | 'private_service'
  | 'auth_method_unsupported'
  | 'internal_error';

export type AllowReason = 'public_service' | 'bypass' | 'session' | 'service_token' | 'credential' | 'mesh_peer';

export type Decision =
  | { readonly kind: 'allow'; readonly reason: AllowReason; readonly identity: Identity | undefined }
  /** `detail` is for the log. */
  | { readonly kind: 'deny'; readonly reason: DenyReason; readonly detail: string }
  /** The caller has to sign in first; only a caller that accepts HTML is sent there. */
  | { readonly kind: 'challenge'; readonly reason: DenyReason };
