// Everything that publish/ throws or rejects with. Refused requests are no errors: they are decisions, see access/.
import { defineErrors } from '#lib/errors.ts';

export const publishError = defineErrors('publish', {
  PUBLISH_CERTIFICATE_DIRECTORY: {
    text: 'The certificate directory cannot be read. Check that it exists and that this user may read it.',
    origin: 'input',
    retry: true,
    status: 500,
  },
  PUBLISH_UPSTREAM_BUSY: { text: 'The service has too many requests in work. Try again in a moment.', origin: 'internal', retry: true, status: 503 },
  PUBLISH_UPSTREAM_CLOSED: { text: 'The publisher is shutting down.', origin: 'internal', retry: true, status: 503 },
  PUBLISH_UPSTREAM_TIMEOUT: { text: 'The service did not accept a connection in time.', origin: 'peer', retry: true, status: 504 },
  PUBLISH_UPSTREAM_TLS: { text: 'The service ended the TLS handshake.', origin: 'peer', retry: true, status: 502 },
  PUBLISH_UPSTREAM_TLS_TERMS: {
    text: 'The CA, client certificate or client key set for the service cannot be used. Check that each is PEM and that key and certificate belong together.',
    origin: 'input',
    retry: false,
    status: 502,
  },
  PUBLISH_UPSTREAM_PROTOCOL: { text: 'The service does not speak the HTTP version set for it.', origin: 'peer', retry: false, status: 502 },
  PUBLISH_TRUSTED_PROXY: { text: 'A trusted proxy is not an address or an address range.', origin: 'input', retry: false, status: 500 },
  PUBLISH_SIGN_IN_NOT_READY: {
    text: 'Sign-in is not set up yet: the control plane has not told how.',
    origin: 'internal',
    retry: true,
    status: 503,
  },
  PUBLISH_LOG_SPOOL: {
    text: 'The folder for access log records that wait cannot be used. Check stateDir and the free space.',
    origin: 'input',
    retry: true,
    status: 500,
  },
  PUBLISH_LOG_FILE: { text: 'The access log cannot be written. Check its path and the free space.', origin: 'input', retry: true, status: 500 },
});
