// Everything that the identity provider throws or shows for a failure of its own.
import { defineErrors } from '#lib/errors.ts';

export const idpError = defineErrors('idp', {
  IDP_BAD_ISSUER: {
    text: 'The issuer must be an https URL without query and fragment whose path is /oauth2.',
    origin: 'input',
    retry: false,
    status: 500,
  },
  IDP_BAD_CLIENT: { text: 'The gateway client needs an id and a secret of at least 32 characters.', origin: 'input', retry: false, status: 500 },
  IDP_BAD_CONNECTOR: { text: 'A connector needs a unique id of lower case letters, digits and dashes.', origin: 'input', retry: false, status: 500 },
  IDP_VAULT_DAMAGED: { text: 'A stored record of the identity provider cannot be read.', origin: 'internal', retry: false, status: 500 },
  IDP_REQUEST_TOO_LONG: { text: 'The address is too long.', origin: 'peer', retry: false, status: 414 },
  IDP_FORM_TOO_LARGE: { text: 'The form is too large.', origin: 'peer', retry: false, status: 413 },
  IDP_FORM_SLOW: { text: 'The form did not arrive in time.', origin: 'peer', retry: true, status: 408 },
  IDP_FORM_INVALID: { text: 'The form could not be read.', origin: 'peer', retry: false, status: 400 },
  IDP_FORM_FOREIGN: { text: 'The form was sent from another site.', origin: 'peer', retry: false, status: 403 },
  IDP_SIGN_IN_GONE: {
    text: 'This sign-in has expired, or was started in another browser. Go back to the page that you wanted to open and try again.',
    origin: 'peer',
    retry: false,
    status: 400,
  },
  IDP_CONNECTOR_FAILED: { text: 'Signing in with the external account did not work. Try again.', origin: 'peer', retry: true, status: 502 },
  IDP_CONNECTOR_AWAY: {
    text: 'The external sign-in does not answer. Try again in a few minutes, or ask your administrator.',
    origin: 'peer',
    retry: true,
    status: 502,
  },
  IDP_CONNECTOR_CLIENT: {
    text: 'The external sign-in does not accept this server. Ask your administrator: the client id or the client secret is wrong.',
    origin: 'peer',
    retry: false,
    status: 502,
  },
  IDP_CONNECTOR_DENIED: { text: 'The external sign-in was cancelled or refused there.', origin: 'peer', retry: false, status: 403 },
  IDP_CONNECTOR_EMAIL: {
    text: 'The external account has no verified e-mail address, which is needed here. Ask your administrator.',
    origin: 'peer',
    retry: false,
    status: 403,
  },
  IDP_CONNECTOR_DOMAIN: {
    text: 'Addresses of this domain may not sign in here. Ask your administrator.',
    origin: 'peer',
    retry: false,
    status: 403,
  },
  IDP_ISSUER_NOT_ALLOWED: {
    text: 'The service that you want to open asks for another way to sign in.',
    origin: 'peer',
    retry: false,
    status: 403,
  },
  IDP_TOO_MANY: { text: 'Too many attempts from your address. Wait a moment and try again.', origin: 'peer', retry: true, status: 429 },
  IDP_TOKEN_INVALID: { text: 'The token is not valid here.', origin: 'peer', retry: false, status: 401 },
  IDP_LOGIN_TOKEN_INVALID: { text: 'The sign-in token is not one of this server.', origin: 'peer', retry: false, status: 400 },
  IDP_LOGIN_TOKEN_ENDED: { text: 'The sign-in token has expired or was revoked. Sign in again.', origin: 'peer', retry: false, status: 401 },
  IDP_CLOSED: { text: 'The identity provider is shutting down.', origin: 'internal', retry: true, status: 503 },
});
