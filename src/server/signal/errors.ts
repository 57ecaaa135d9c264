// What the signal server answers where a call is not well formed, or is too much.
import { defineErrors } from '#lib/errors.ts';

export const signalError = defineErrors('server/signal', {
  SIGNAL_PEER_ID_MISSING: { text: 'Name the peer in the metadata.', origin: 'peer', retry: false, status: 412 },
  SIGNAL_KEY_INVALID: { text: 'A peer is named by its WireGuard public key in base64.', origin: 'peer', retry: false, status: 400 },
  SIGNAL_STRANGER: { text: 'This key is not in the network. Sign in first.', origin: 'peer', retry: true, status: 403 },
  SIGNAL_BODY_TOO_LARGE: { text: 'The message is too large.', origin: 'peer', retry: false, status: 400 },
  SIGNAL_REPLACED: { text: 'A newer stream of the same peer took over.', origin: 'peer', retry: true, status: 409 },
  SIGNAL_STALLED: { text: 'The stream did not take its messages in time.', origin: 'peer', retry: true, status: 503 },
  SIGNAL_FULL: { text: 'The signal server is full. Try again later.', origin: 'internal', retry: true, status: 429 },
  SIGNAL_TOO_FAST: { text: 'Too many messages. Send more slowly.', origin: 'peer', retry: true, status: 429 },
});
