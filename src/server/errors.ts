// What can go wrong while the control plane starts; each text says what to do.
import { defineErrors } from '#lib/errors.ts';

const input = { origin: 'input', retry: false, status: 500 } as const;

export const serverError = defineErrors('server', {
  SERVER_TLS_MISSING: {
    text: 'The control plane needs a certificate: set tls.certFile and tls.keyFile, or tls.insecure behind a proxy that does TLS.',
    ...input,
  },
  SERVER_TURN_SECRET: { text: 'TURN servers are configured without turn.secret, from which peers’ passwords are made.', ...input },
  SERVER_FILE_UNREADABLE: { text: 'A file that the configuration names cannot be read.', ...input },
  SERVER_PORT_IN_USE: { text: 'The port of the control plane is in use. Stop the program that holds it, or change listen.', ...input },
  SERVER_PORT_FORBIDDEN: {
    text: 'This user may not open the port of the control plane. Choose a port above 1023, or grant CAP_NET_BIND_SERVICE.',
    ...input,
  },
  SERVER_PORT_FAILED: { text: 'The port of the control plane cannot be opened. Check the address in listen.', ...input },
  SERVER_MASTER_KEY_BROKEN: {
    text: 'The file master.key in the state directory is damaged. Restore it from a backup: without it the secrets in the database cannot be read.',
    ...input,
  },
});
