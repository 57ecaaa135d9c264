// Everything that crypto/ throws. Wrong bytes from outside are mostly no exception here: they are an undefined result.
import { defineErrors } from '#lib/errors.ts';

export const cryptoError = defineErrors('crypto', {
  CRYPTO_BAD_KEY: { text: 'This is not a usable key.', origin: 'input', retry: false, status: 400 },
  CRYPTO_BAD_RANGE: { text: 'A message does not fit the memory that was given for it.', origin: 'internal', retry: false, status: 500 },
  CRYPTO_BAD_HASH: { text: 'A stored password hash is damaged.', origin: 'internal', retry: false, status: 500 },
  CRYPTO_PASSWORD_SIZE: { text: 'The password is empty, too long, or has a character that is none.', origin: 'input', retry: false, status: 400 },
  CRYPTO_BUSY: { text: 'Too many passwords are being checked. Try again in a moment.', origin: 'internal', retry: true, status: 503 },
  CRYPTO_BAD_PREFIX: { text: 'A token prefix must be three lower case letters and an underscore.', origin: 'internal', retry: false, status: 500 },
});
