// Everything that wireguard/ throws. All of it is the caller's doing: bytes from the network never throw, they are dropped.
import { defineErrors } from '#lib/errors.ts';

export const wireguardError = defineErrors('wireguard', {
  WIREGUARD_BAD_PEER: { text: 'A peer has an unusable key, preshared key or keepalive interval.', origin: 'input', retry: false, status: 400 },
  WIREGUARD_SELF_PEER: { text: 'A device cannot be its own peer.', origin: 'input', retry: false, status: 400 },
  WIREGUARD_PEER_LIMIT: { text: 'The device has as many peers as it can hold.', origin: 'input', retry: false, status: 507 },
  WIREGUARD_PREFIX_LIMIT: { text: 'The device has as many allowed prefixes as it can hold.', origin: 'input', retry: false, status: 507 },
});
