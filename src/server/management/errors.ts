// What the management services answer beyond the domain's own errors. The status decides the gRPC code (rpc/status.ts).
import { defineErrors } from '#lib/errors.ts';

export const managementError = defineErrors('server/management', {
  MANAGEMENT_KEY_INVALID: { text: 'The peer must name itself by its WireGuard public key.', origin: 'peer', retry: false, status: 400 },
  MANAGEMENT_META_MISSING: { text: 'The peer must describe itself.', origin: 'peer', retry: false, status: 412 },
  MANAGEMENT_PEER_REMOVED: {
    text: 'This peer was removed from the network. Register it again to come back.',
    origin: 'input',
    retry: false,
    status: 403,
  },
  MANAGEMENT_LOGIN_EXPIRED: { text: 'The peer login has expired, please log in once more.', origin: 'input', retry: false, status: 403 },
  MANAGEMENT_TOKEN_MISSING: { text: 'A sign-in token is needed.', origin: 'peer', retry: false, status: 400 },
  MANAGEMENT_SYNC_REPLACED: { text: 'A newer stream of the same peer took over.', origin: 'peer', retry: true, status: 409 },
  MANAGEMENT_BUSY: { text: 'Too many peers connect at once. Try again in a moment.', origin: 'internal', retry: true, status: 429 },
  MANAGEMENT_STRANGERS: {
    text: 'Too many peers that are not known here ask from this address. Try again in a moment.',
    origin: 'peer',
    retry: true,
    status: 429,
  },
  MANAGEMENT_SIGN_IN_OFF: {
    text: 'This server does not accept sign-in tokens from peers. Use a setup key.',
    origin: 'input',
    retry: false,
    status: 400,
  },
  MANAGEMENT_SECRET_TOO_LONG: { text: 'The setup key or token is too long to be one.', origin: 'input', retry: false, status: 400 },
  MANAGEMENT_FLOW_UNKNOWN: { text: 'This server does not offer this way to sign in.', origin: 'input', retry: false, status: 404 },
  MANAGEMENT_TOKEN_INVALID: { text: 'The gateway token is missing, unknown, expired or revoked.', origin: 'input', retry: false, status: 401 },
  MANAGEMENT_TOKEN_FAILURES: { text: 'Too many wrong gateway tokens from this address. Wait a minute.', origin: 'input', retry: true, status: 429 },
  MANAGEMENT_PROXY_INVALID: { text: 'A gateway must name itself and the address of its cluster.', origin: 'input', retry: false, status: 400 },
  MANAGEMENT_PROXY_REPLACED: { text: 'A newer stream of the same gateway took over.', origin: 'peer', retry: true, status: 409 },
  MANAGEMENT_PROXY_TAKEN: {
    text: 'A gateway of this name is connected with another token. Give each gateway its own state directory.',
    origin: 'input',
    retry: true,
    status: 409,
  },
  MANAGEMENT_PROXY_SLOW: { text: 'The gateway did not keep up. It has to start again with a snapshot.', origin: 'peer', retry: true, status: 503 },
  MANAGEMENT_ACCOUNT_WRONG: { text: 'This account is not served here.', origin: 'input', retry: false, status: 403 },
  MANAGEMENT_LOGS_TOO_MANY: { text: 'Too many access log records in one call.', origin: 'input', retry: false, status: 400 },
  MANAGEMENT_METHOD_NONE: { text: 'This server signs people in at its identity provider only.', origin: 'input', retry: false, status: 501 },
  MANAGEMENT_REPORT_STRANGER: { text: 'Only a connected peer may report its paths.', origin: 'peer', retry: true, status: 412 },
  MANAGEMENT_REPORT_SOON: { text: 'The last report of this peer came a moment ago.', origin: 'peer', retry: true, status: 429 },
  MANAGEMENT_REPORT_TOO_LONG: { text: 'The report is too long to be one.', origin: 'peer', retry: false, status: 400 },
  MANAGEMENT_KEY_PAIR: { text: 'The server key must be 32 bytes.', origin: 'internal', retry: false, status: 500 },
});
