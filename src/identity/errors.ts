// Everything that the relying-party side throws.
import { defineErrors } from '#lib/errors.ts';

export const identityError = defineErrors('identity', {
  IDENTITY_BAD_KEY: { text: 'The key must have 32 bytes.', origin: 'input', retry: false, status: 500 },
  IDENTITY_BAD_ISSUER: { text: 'The issuer must be an https URL.', origin: 'input', retry: false, status: 500 },
  IDENTITY_PROVIDER_UNREACHABLE: { text: 'The identity provider cannot be reached.', origin: 'peer', retry: true, status: 502 },
  IDENTITY_SIGN_IN_REFUSED: { text: 'The identity provider refused the sign-in.', origin: 'peer', retry: false, status: 403 },
  IDENTITY_CLIENT_REFUSED: { text: 'The identity provider does not accept our client id or secret.', origin: 'peer', retry: false, status: 502 },
  IDENTITY_SIGN_IN_INVALID: { text: 'The answer of the identity provider does not fit this sign-in.', origin: 'peer', retry: false, status: 400 },
  IDENTITY_LOGOUT_INVALID: { text: 'The logout token of the identity provider is not valid.', origin: 'peer', retry: false, status: 400 },
  IDENTITY_AUTHORITY_UNREACHABLE: { text: 'Who you are cannot be checked at the moment.', origin: 'internal', retry: true, status: 503 },
  IDENTITY_KEYS_DAMAGED: { text: 'The stored signing keys cannot be read.', origin: 'internal', retry: false, status: 500 },
  IDENTITY_CLOSED: { text: 'This part is shutting down.', origin: 'internal', retry: true, status: 503 },
});
