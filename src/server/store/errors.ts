// Everything that store/ throws. What the database itself said is in the detail, for the log.
import { defineErrors } from '#lib/errors.ts';

export const storeError = defineErrors('store', {
  STORE_URL_INVALID: { text: 'The store must be given as sqlite:PATH or postgres://….', origin: 'input', retry: false, status: 500 },
  STORE_UNAVAILABLE: { text: 'The database cannot be reached. Try again in a moment.', origin: 'internal', retry: true, status: 503 },
  STORE_IN_USE: { text: 'Another process has this database file open. Stop it first.', origin: 'input', retry: true, status: 503 },
  STORE_FAILED: { text: 'The database refused a statement.', origin: 'internal', retry: false, status: 500 },
  STORE_FULL: {
    text: 'The disk of the database is full: nothing can be changed until there is space again.',
    origin: 'internal',
    retry: true,
    status: 503,
  },
  STORE_BUSY: { text: 'Too many changes are waiting for the database. Try again in a moment.', origin: 'internal', retry: true, status: 503 },
  STORE_CLOSED: { text: 'The server is stopping.', origin: 'internal', retry: true, status: 503 },
  STORE_TOO_NEW: { text: 'The database was written by a newer Meshgate. Update this server.', origin: 'input', retry: false, status: 500 },
  STORE_DAMAGED: { text: 'A stored record does not have its form.', origin: 'internal', retry: false, status: 500 },
});
