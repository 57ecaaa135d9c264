// Why the STUN server does not start.
import { defineErrors } from '#lib/errors.ts';

export const stunServerError = defineErrors('server/stun', {
  SERVER_STUN_BIND: { text: 'The STUN port cannot be opened; another process may hold it.', origin: 'input', retry: true, status: 500 },
});
