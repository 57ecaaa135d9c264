// Everything that the API refuses by itself. What the domain refuses comes from its own table.
import { defineErrors } from '#lib/errors.ts';

export const apiError = defineErrors('server/api', {
  API_NOT_FOUND: { text: 'there is no such endpoint', origin: 'input', retry: false, status: 404 },
  API_RESOURCE_NOT_FOUND: { text: 'not found', origin: 'input', retry: false, status: 404 },
  API_METHOD_NOT_ALLOWED: { text: 'this endpoint does not have this method', origin: 'input', retry: false, status: 405 },
  API_URL_TOO_LONG: { text: 'the address of the request is too long', origin: 'input', retry: false, status: 414 },
  API_PATH_INVALID: { text: 'a part of the path is not valid', origin: 'input', retry: false, status: 400 },
  API_BODY_TYPE: { text: 'the body must be application/json in utf-8', origin: 'input', retry: false, status: 415 },
  API_BODY_TOO_LARGE: { text: 'the body is too large', origin: 'input', retry: false, status: 413 },
  API_BODY_TIMEOUT: { text: 'the body did not arrive in time', origin: 'input', retry: true, status: 408 },
  API_BODY_INVALID: { text: 'the body is not json', origin: 'input', retry: false, status: 400 },
  API_UNAUTHENTICATED: { text: 'sign in first: the token is missing, unknown or expired', origin: 'input', retry: false, status: 401 },
  API_USER_BLOCKED: { text: 'the user is blocked', origin: 'input', retry: false, status: 403 },
  API_FORBIDDEN: { text: 'your role does not allow this', origin: 'input', retry: false, status: 403 },
  API_OWN_ACCOUNT: { text: 'nobody can block, delete or change the role of the own user', origin: 'input', retry: false, status: 412 },
  API_OLD_PASSWORD: { text: 'the old password does not match', origin: 'input', retry: false, status: 412 },
  API_NO_PASSWORD: { text: 'this user has no password here', origin: 'input', retry: false, status: 412 },
  API_SETTING_FIXED: {
    text: 'the domain of the network is set in the configuration of the server, as dnsDomain',
    origin: 'input',
    retry: false,
    status: 412,
  },
  API_LIMITED: { text: 'too many requests; try again later', origin: 'input', retry: true, status: 429 },
  API_TIMEOUT: { text: 'the answer took too long; try again later', origin: 'internal', retry: true, status: 503 },
  API_INTERNAL: { text: 'something went wrong inside; the log of the server says what', origin: 'internal', retry: true, status: 500 },
});
