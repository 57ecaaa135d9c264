// What the stack refuses by throwing: mistakes of its caller only. Bytes from the network never throw.
import { defineErrors } from '#lib/errors.ts';

export const netstackError = defineErrors('netstack', {
  NETSTACK_MTU: { text: 'The MTU is outside 1280 to 65535.', origin: 'input', retry: false, status: 500 },
  NETSTACK_PORT: { text: 'A port must be a whole number from 1 to 65535.', origin: 'input', retry: false, status: 500 },
  NETSTACK_PORT_IN_USE: { text: 'The port is in use inside the overlay.', origin: 'input', retry: true, status: 409 },
  NETSTACK_TOO_MANY_SOCKETS: { text: 'No more sockets can be opened inside the overlay.', origin: 'internal', retry: true, status: 503 },
  NETSTACK_HANDLER: { text: 'A connection has a handler already.', origin: 'internal', retry: false, status: 500 },
});
