// The one account and its settings.
import { boolean, integer, list, object, optional, string } from '#lib/schema.ts';
import type { GroupId } from '#model/ids.ts';
import type { AccountSettings } from '../domain/contract.ts';
import { idParam, ok, readBody, type Call, type Handler } from './call.ts';
import { apiError } from './errors.ts';
import { fixedTo, idField, unsupported } from './fields.ts';

/** What other servers of this API can set and this one cannot is taken where it says what is so here, and refused by name else. */
const settingsFields = object({
  peer_login_expiration_enabled: optional(boolean()),
  /** Seconds. */
  peer_login_expiration: optional(integer({ max: 31_536_000 })),
  peer_inactivity_expiration_enabled: unsupported(),
  /** Says nothing while the above is off. */
  peer_inactivity_expiration: optional(integer()),
  regular_users_view_blocked: fixedTo(true),
  groups_propagation_enabled: unsupported(),
  jwt_groups_enabled: unsupported(),
  jwt_groups_claim_name: unsupported(),
  jwt_allow_groups: unsupported(),
  routing_peer_dns_resolution_enabled: optional(boolean()),
  dns_domain: optional(string({ min: 0, max: 255 })),
  network_range: unsupported(),
  network_range_v6: unsupported(),
  peer_expose_enabled: optional(boolean()),
  peer_expose_groups: optional(list(idField<GroupId>(), { max: 500 })),
  // The next three are our own addition.
  peer_expose_public: optional(boolean()),
  peer_expose_domains: optional(list(string({ max: 253 }), { max: 50 })),
  peer_expose_limit: optional(integer({ min: 1, max: 200 })),
  extra: optional(
    object({ peer_approval_enabled: unsupported(), user_approval_required: unsupported(), network_traffic_logs_enabled: unsupported() }),
  ),
  lazy_connection_enabled: optional(boolean()),
  auto_update_version: unsupported(),
  auto_update_always: unsupported(),
  metrics_push_enabled: unsupported(),
  agent_network_only: unsupported(),
  dashboard_features: unsupported(),
  embedded_idp_enabled: fixedTo(true),
  local_auth_disabled: unsupported(),
  local_mfa_enabled: optional(boolean()),
  /** Our own additions: seconds; 0 lets sessions rest as long as they live. */
  session_lifetime: optional(integer({ max: 31_536_000 })),
  session_idle_timeout: optional(integer({ max: 31_536_000 })),
  ipv6_enabled_groups: unsupported(),
});

const updateRequest = object({ settings: settingsFields, onboarding: unsupported() });

async function accountShape(call: Call, settings: AccountSettings): Promise<Readonly<Record<string, unknown>>> {
  const { domain } = call;
  return {
    id: domain.accountId,
    domain: domain.dnsDomain,
    domain_category: 'private',
    settings: {
      dns_domain: domain.dnsDomain,
      embedded_idp_enabled: true,
      local_auth_disabled: false,
      local_mfa_enabled: settings.secondFactorRequired,
      peer_login_expiration_enabled: settings.loginExpirationEnabled,
      peer_login_expiration: Math.round(settings.loginExpirationMs / 1000),
      peer_inactivity_expiration_enabled: false,
      peer_inactivity_expiration: 0,
      regular_users_view_blocked: true,
      jwt_groups_enabled: false,
      groups_propagation_enabled: false,
      routing_peer_dns_resolution_enabled: settings.routingPeerDns,
      peer_expose_enabled: settings.expose.enabled,
      peer_expose_groups: settings.expose.groups,
      peer_expose_public: settings.expose.public,
      peer_expose_domains: settings.expose.domains,
      peer_expose_limit: settings.expose.perPeer,
      lazy_connection_enabled: settings.lazyConnections,
      session_lifetime: Math.round(settings.sessionMaxAgeMs / 1000),
      session_idle_timeout: Math.round(settings.sessionIdleMs / 1000),
    },
  };
}

export const listAccounts: Handler = async (call) => ok([await accountShape(call, await call.domain.settings.get())]);

/** The domain of the network is the server's: it is taken back as it was told, and nothing else. */
export const updateAccount: Handler = async (call) => {
  const { domain } = call;
  if (idParam(call) !== domain.accountId) throw apiError('API_RESOURCE_NOT_FOUND', 'account');
  const { settings: asked } = readBody(call, updateRequest);
  if (asked.dns_domain !== undefined && asked.dns_domain !== '' && asked.dns_domain !== domain.dnsDomain)
    throw apiError('API_SETTING_FIXED', 'dns_domain');
  const { peer_login_expiration_enabled: enabled, peer_login_expiration: seconds } = asked;
  const change = {
    ...(enabled === undefined ? {} : { loginExpirationEnabled: enabled }),
    ...(seconds === undefined ? {} : { loginExpirationMs: seconds * 1000 }),
    ...(asked.routing_peer_dns_resolution_enabled === undefined ? {} : { routingPeerDns: asked.routing_peer_dns_resolution_enabled }),
    ...(asked.local_mfa_enabled === undefined ? {} : { secondFactorRequired: asked.local_mfa_enabled }),
    ...(asked.session_lifetime === undefined ? {} : { sessionMaxAgeMs: asked.session_lifetime * 1000 }),
    ...(asked.session_idle_timeout === undefined ? {} : { sessionIdleMs: asked.session_idle_timeout * 1000 }),
    ...(asked.lazy_connection_enabled === undefined ? {} : { lazyConnections: asked.lazy_connection_enabled }),
  };
  const expose = {
    ...(asked.peer_expose_enabled === undefined ? {} : { enabled: asked.peer_expose_enabled }),
    ...(asked.peer_expose_groups === undefined ? {} : { groups: asked.peer_expose_groups }),
    ...(asked.peer_expose_public === undefined ? {} : { public: asked.peer_expose_public }),
    ...(asked.peer_expose_domains === undefined ? {} : { domains: asked.peer_expose_domains }),
    ...(asked.peer_expose_limit === undefined ? {} : { perPeer: asked.peer_expose_limit }),
  };
  return ok(await accountShape(call, await domain.settings.update({ ...change, expose }, call.actor)));
};
