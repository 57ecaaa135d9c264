// The overlay's errors. Those of streams and dials have Node's codes, so that nobody has to know which network a stream crosses.
import { defineErrors } from '#lib/errors.ts';

export const overlayError = defineErrors('overlay', {
  ECONNREFUSED: { text: 'The peer refused the connection.', origin: 'peer', retry: true, status: 502 },
  ECONNRESET: { text: 'The peer reset the connection.', origin: 'peer', retry: true, status: 502 },
  ETIMEDOUT: { text: 'The peer did not answer in time.', origin: 'peer', retry: true, status: 504 },
  EHOSTUNREACH: { text: 'No peer of the network has that address or name.', origin: 'input', retry: true, status: 502 },
  EAI_AGAIN: {
    text: 'No name server of the network answered for that name. Check the nameserver groups, or the routing peer that has the name.',
    origin: 'peer',
    retry: true,
    status: 504,
  },
  ENETUNREACH: { text: 'The peer has no route to that network.', origin: 'peer', retry: true, status: 502 },
  EADDRNOTAVAIL: { text: 'This peer has no overlay address or port to connect from.', origin: 'internal', retry: true, status: 503 },
  EPIPE: { text: 'The connection was closed before the data was sent.', origin: 'peer', retry: true, status: 502 },
  ENOBUFS: { text: 'Too many connections are open in the overlay.', origin: 'internal', retry: true, status: 503 },
  ABORT_ERR: { text: 'The caller gave up before the connection was made.', origin: 'input', retry: true, status: 504 },
  OVERLAY_UDP_BIND: { text: 'No UDP port can be opened for the overlay.', origin: 'input', retry: true, status: 500 },
  OVERLAY_NATIVE: { text: 'This system does not offer the faster way; the plain one is used.', origin: 'internal', retry: false, status: 500 },
  OVERLAY_TUN: {
    text: 'No TUN device can be made. System mode needs Linux, /dev/net/tun and the right to administer the network (CAP_NET_ADMIN); userspace mode needs nothing.',
    origin: 'input',
    retry: false,
    status: 500,
  },
  OVERLAY_INTERFACE: { text: 'The network interface of system mode cannot be configured.', origin: 'input', retry: false, status: 500 },
  OVERLAY_BAD_KEY: { text: 'The private key must have 32 bytes.', origin: 'input', retry: false, status: 500 },
});
