// Where on a request's way a reason belongs: for figures and for whoever looks for a fault.
import type { AllowReason } from '#model/decision.ts';
import type { OwnReason } from '../pages/reasons.ts';

/** `request`: its grammar; `client`: the client went away; `gateway`: ours. */
export type Stage = 'request' | 'route' | 'access' | 'sign_in' | 'dial' | 'upstream' | 'client' | 'gateway';

/** Reasons of TCP and TLS services beyond those of requests. */
type StreamReason = 'auth_unsupported' | 'too_many_streams' | 'service_changed' | 'broken';

const stages: Readonly<Record<OwnReason | StreamReason | 'client_closed', Stage>> = {
  bad_request: 'request',
  form_foreign: 'access',
  unknown_host: 'route',
  no_route: 'route',
  host_mismatch: 'route',
  not_found: 'route',
  method_not_allowed: 'request',
  ip_denied: 'access',
  country_denied: 'access',
  country_unknown: 'access',
  crowdsec_denied: 'access',
  crowdsec_unavailable: 'access',
  restriction_unsupported: 'access',
  rule_denied: 'access',
  rate_limited: 'access',
  not_signed_in: 'access',
  session_expired: 'access',
  session_revoked: 'access',
  group_not_allowed: 'access',
  issuer_not_allowed: 'access',
  token_invalid: 'access',
  credential_invalid: 'access',
  too_many_attempts: 'access',
  private_service: 'access',
  auth_method_unsupported: 'access',
  auth_unavailable: 'sign_in',
  login_invalid: 'sign_in',
  login_denied: 'sign_in',
  signed_out: 'sign_in',
  upstream_refused: 'dial',
  upstream_unreachable: 'dial',
  upstream_tls: 'dial',
  upstream_expired: 'dial',
  upstream_protocol: 'dial',
  upstream_untrusted: 'dial',
  upstream_wrong_name: 'dial',
  upstream_busy: 'dial',
  service_busy: 'gateway',
  body_too_large: 'request',
  upstream_timeout: 'upstream',
  upstream_bad_answer: 'upstream',
  upstream_closed: 'upstream',
  auth_unsupported: 'access',
  too_many_streams: 'access',
  service_changed: 'route',
  broken: 'upstream',
  loop: 'gateway',
  draining: 'gateway',
  internal_error: 'gateway',
  client_closed: 'client',
};

const passing: Readonly<Record<AllowReason | 'diagnosis' | 'jwks' | 'signed_in' | 'signed_out' | 'done' | 'idle', true>> = {
  public_service: true,
  bypass: true,
  session: true,
  service_token: true,
  mesh_peer: true,
  diagnosis: true,
  credential: true,
  jwks: true,
  signed_in: true,
  signed_out: true,
  done: true,
  idle: true,
};

/** The stage where a request ended before its time; undefined where it got what it asked for. Faults of the grammar have words of their own. */
export function stageOf(reason: string): Stage | undefined {
  if (Object.hasOwn(passing, reason)) return undefined;
  return Object.hasOwn(stages, reason) ? stages[reason as keyof typeof stages] : 'request';
}
