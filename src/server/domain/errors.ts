// Everything that domain/ throws. `text` is what the person at the API or on the login page reads.
import { defineErrors, MeshgateError, type ErrorRow } from '#lib/errors.ts';

function row(status: number, text: string, retry = false): ErrorRow {
  return { text, origin: status >= 500 ? 'internal' : 'input', retry, status };
}

const table = {
  DOMAIN_INVALID: row(422, 'The request is not valid.'),
  DOMAIN_NOT_FOUND: row(404, 'There is no such object.'),
  DOMAIN_LIMIT: row(422, 'The account holds as many of these as it may.'),
  DOMAIN_MASTER_KEY_WRONG: row(500, 'The master key is not the one that this database was made with.'),
  DOMAIN_SECRET_DAMAGED: row(500, 'A stored secret cannot be opened.'),

  DOMAIN_PEER_UNKNOWN: row(403, 'The peer is not registered. Register it with a setup key or by signing in.'),
  DOMAIN_PEER_KEY_TAKEN: row(409, 'The key belongs to another peer.'),
  DOMAIN_PEER_OTHER_USER: row(403, 'The peer belongs to another user. Remove it there first, or give this machine a new key.'),
  // Stock clients look for the words "peer login has expired" (netbird-wire §2.1).
  DOMAIN_LOGIN_EXPIRED: row(403, 'The peer login has expired, please log in once more.'),
  DOMAIN_LOGIN_TOKEN_USED: row(401, 'The sign-in token has been used. Sign in again.'),
  DOMAIN_SESSION_NOT_EXPIRING: row(412, 'The login of this peer does not expire.'),
  DOMAIN_NETWORK_FULL: row(409, 'The network has no free address. Remove peers that are no longer used.'),
  DOMAIN_PROXY_TOKEN_INVALID: row(403, 'The one-time token is unknown, used, expired, or made for another service.'),
  DOMAIN_PROXY_TOKEN_ELSEWHERE: row(
    403,
    'The gateway token belongs to another cluster. Make one for this cluster (meshgate proxy-token create NAME --cluster CLUSTER), or set the cluster of the gateway to that of its token.',
  ),
  DOMAIN_PROXY_TAKEN: row(409, 'A gateway of this name is connected with another token. Give each gateway its own state directory.', true),
  DOMAIN_SETUP_KEY_INVALID: row(403, 'There is no such setup key.'),
  DOMAIN_SETUP_KEY_EXPIRED: row(403, 'The setup key has expired.'),
  DOMAIN_SETUP_KEY_REVOKED: row(403, 'The setup key was revoked.'),
  DOMAIN_SETUP_KEY_USED_UP: row(403, 'The setup key has been used as often as it may.'),

  DOMAIN_GROUP_NAME_TAKEN: row(409, 'A group with this name exists.'),
  DOMAIN_GROUP_SYSTEM: row(422, 'The group All cannot be changed.'),
  DOMAIN_GROUP_UNKNOWN: row(422, 'A group in the request does not exist.'),
  DOMAIN_RESOURCE_IN_USE: row(409, 'The resource is in use.'),
  DOMAIN_RESOURCE_UNKNOWN: row(422, 'A resource or peer in the request does not exist.'),
  DOMAIN_ROUTE_TAKEN: row(409, 'Another route leads there through this peer.'),
  DOMAIN_NAME_TAKEN: row(409, 'The name is taken.'),
  DOMAIN_ZONE_TAKEN: row(409, 'Another zone has this domain.'),
  DOMAIN_POSTURE_UNKNOWN: row(422, 'A posture check in the request does not exist.'),
  DOMAIN_POSTURE_IN_USE: row(409, 'The posture check is in use.'),
  DOMAIN_GROUP_IN_USE: row(409, 'The group is in use.'),

  DOMAIN_SETUP_DONE: row(412, 'The first user exists already.'),
  DOMAIN_SETUP_CODE_WRONG: row(403, 'The set-up code is wrong.'),
  DOMAIN_TOO_MANY_ATTEMPTS: row(429, 'Too many wrong attempts. Wait a minute and try again.', true),
  DOMAIN_USER_EMAIL_TAKEN: row(409, 'A user with this e-mail address exists.'),
  DOMAIN_USER_BLOCKED: row(403, 'The user is blocked.'),
  DOMAIN_USER_LAST_OWNER: row(409, 'This is the last owner. Make another user an owner first.'),
  DOMAIN_USER_NO_PASSWORD: row(422, 'This user signs in without a password.'),

  DOMAIN_ISSUER_UNKNOWN: row(422, 'There is no such issuer.'),
  DOMAIN_ISSUER_CONFIGURED: row(409, 'This issuer is set in the configuration of the server and is changed there.'),
  DOMAIN_ISSUER_FIXED: row(409, 'Users have signed in through this issuer, so its URL stays. Make another issuer, and delete this one.'),
  DOMAIN_ISSUER_IN_USE: row(409, 'The issuer is in use.'),

  DOMAIN_FACTOR_LOCKED: row(429, 'Too many wrong codes. Use a recovery code, or ask your administrator to reset your second factor.'),
  DOMAIN_FACTOR_NONE: row(409, 'There is no second factor.'),
  DOMAIN_FACTOR_NEEDED: row(409, 'A second factor is required here. Set up another one first.'),
  DOMAIN_PASSKEY_TAKEN: row(409, 'This passkey is registered already.'),

  DOMAIN_SERVICE_UNKNOWN: row(404, 'There is no such service, or it is switched off.'),
  DOMAIN_SERVICE_NO_CERTIFICATES: row(409, 'No certificates are made for this service.'),
  DOMAIN_SERVICE_NO_SIGN_IN: row(403, 'Nobody signs in at this service.'),
  DOMAIN_SERVICE_DOMAIN_TAKEN: row(409, 'Another service has this domain.'),
  DOMAIN_SERVICE_CLUSTER_UNKNOWN: row(422, 'The domain is not at or below the address of a known cluster or a validated custom domain.'),
  DOMAIN_SERVICE_DOMAIN_NOT_VALIDATED: row(422, 'The custom domain has not been validated yet.'),
  DOMAIN_SERVICE_TARGET_UNKNOWN: row(422, 'A target does not exist, or is not of the type given.'),
  DOMAIN_SERVICE_MODE_FIXED: row(422, 'The mode of a service cannot be changed. Make a new service.'),
  DOMAIN_SERVICE_PORT_TAKEN: row(409, 'Another service of the cluster listens on this port.'),
  DOMAIN_SERVICE_NO_PORT: row(409, 'The cluster has no free port left.'),
  DOMAIN_AGENT_NO_SERVICE: {
    text: 'No service that is switched on has its TLS end at this peer. Publish one with tls_at agent.',
    origin: 'input',
    retry: false,
    status: 403,
  },
  DOMAIN_SERVICE_EXPOSED: row(
    409,
    'A peer publishes this service itself and decides what it is like. Delete it, or publish it as a service of its own.',
  ),

  DOMAIN_EXPOSE_OFF: row(403, 'Peers may not publish services in this network. An administrator permits it: meshgate expose allow --group GROUP.'),
  DOMAIN_EXPOSE_NOT_ALLOWED: row(403, 'This peer is in none of the groups whose peers may publish services.'),
  DOMAIN_EXPOSE_PUBLIC: row(403, 'Peers may not publish services that anybody can open. Ask for sign-in, a password or a PIN.'),
  DOMAIN_EXPOSE_NAME: row(403, 'Peers may not choose names there, only get random ones.'),
  DOMAIN_EXPOSE_HOST: row(403, 'No policy lets this peer reach that host and port, so it may not publish it.'),
  DOMAIN_EXPOSE_LIMIT: row(429, 'This peer publishes as many services as it may.'),
  DOMAIN_EXPOSE_NO_CLUSTER: row(412, 'No gateway is connected that could publish it.'),
  DOMAIN_EXPOSE_LAPSED: row(404, 'There is no such exposed service. It has lapsed or ended.'),
  DOMAIN_EXPOSE_WITHDRAWN: row(412, 'An administrator took this exposed service away.'),
  DOMAIN_ISSUER_NOT_ALLOWED: row(403, 'The service asks for a sign-in at another place.'),
  DOMAIN_GROUP_NOT_ALLOWED: row(403, 'The user is in none of the groups that may use the service.'),

  DOMAIN_LEASE_LOST: row(409, 'Another gateway of the cluster orders this certificate.'),
  DOMAIN_CLUSTER_IN_USE: row(409, 'The cluster is in use.'),
  DOMAIN_DOMAIN_TAKEN: row(409, 'The domain exists already.'),
  DOMAIN_DOMAIN_IN_USE: row(409, 'The domain is in use.'),
  DOMAIN_DNS_UNAVAILABLE: row(503, 'The name could not be looked up. Try again later.', true),
} as const satisfies Readonly<Record<string, ErrorRow>>;

export type DomainErrorCode = keyof typeof table;

export const domainError = defineErrors<DomainErrorCode>('domain', table);

/** An error of the table that also says, in public, what exactly: `DOMAIN_INVALID` never comes without. */
export function domainErrorNaming(code: DomainErrorCode, what: string): MeshgateError {
  const base = table[code];
  const text = code === 'DOMAIN_INVALID' ? what : `${base.text} ${what}`;
  return new MeshgateError(code, { ...base, text }, what, undefined);
}

/** What is wrong with a request, in the words of a rule of the model, which come without capital and full stop. */
export function invalidBy(problem: string): MeshgateError {
  return invalid(`${problem.slice(0, 1).toUpperCase()}${problem.slice(1)}.`);
}

/** What is wrong with a request, as a whole sentence. */
export function invalid(what: string): MeshgateError {
  return domainErrorNaming('DOMAIN_INVALID', what);
}
