// The instance itself: whether it is set up, its version, the first set-up, and what account there is.
import { boolean, integer, object, string } from '#lib/schema.ts';
import { ok, readBody, type Handler, type OpenHandler } from './call.ts';

/** Passwords are hashed, so the upper limit is only a bound on the work. */
export const passwordField = (): ReturnType<typeof string> => string({ min: 8, max: 256 });
export const emailField = (): ReturnType<typeof string> => string({ max: 254, pattern: /^[^\s@]+@[^\s@]+$/, hint: 'must be an e-mail address' });

const setupRequest = object({
  /** Our own addition: without the code from the server's log, whoever is first at the port would own the network. */
  code: string({ max: 128 }),
  email: emailField(),
  password: passwordField(),
  name: string({ max: 255 }),
  create_pat: boolean({ default: false }),
  pat_expire_in: integer({ min: 1, max: 365, default: 1 }),
});

export const getInstance: OpenHandler = async ({ domain }) => ok({ setup_required: await domain.users.setupRequired() });

export const getVersion: Handler = async ({ version }) => ok({ management_current_version: version, management_update_available: false });

/** Makes the owner. The domain checks the code and counts wrong ones. */
export const postSetup: OpenHandler = async (call) => {
  const { code, email, password, name, ...pat } = readBody(call, setupRequest);
  const user = await call.domain.users.setup({ code, email, password, name });
  if (!pat.create_pat) return ok({ user_id: user.id, email: user.email });
  const { plain } = await call.domain.tokens.create(user.id, 'setup', pat.pat_expire_in, { kind: 'user', id: user.id });
  return ok({ user_id: user.id, email: user.email, personal_access_token: plain });
};

/** The one account. Settings that this server does not have are told as off, which they are. */
export const listAccounts: Handler = async ({ domain }) =>
  ok([
    {
      id: domain.accountId,
      domain: domain.dnsDomain,
      domain_category: 'private',
      settings: {
        dns_domain: domain.dnsDomain,
        embedded_idp_enabled: true,
        local_auth_disabled: false,
        local_mfa_enabled: false,
        peer_login_expiration_enabled: false,
        peer_login_expiration: 0,
        peer_inactivity_expiration_enabled: false,
        peer_inactivity_expiration: 0,
        regular_users_view_blocked: true,
        jwt_groups_enabled: false,
        groups_propagation_enabled: false,
        routing_peer_dns_resolution_enabled: false,
        peer_expose_enabled: false,
        lazy_connection_enabled: false,
      },
    },
  ]);
