// What mesh/ throws: the identity on disk, and a start that did not come to an end.
import { defineErrors } from '#lib/errors.ts';

export const meshError = defineErrors('mesh', {
  MESH_IDENTITY_DAMAGED: {
    text: 'The identity file cannot be read. Restore it from a backup, or remove it to become a new peer.',
    origin: 'input',
    retry: false,
    status: 500,
  },
  MESH_PRESHARED_KEY: {
    text: 'The file of wireguard.presharedKeyFile cannot be used. It must be there and hold 32 bytes in base64, as `wg genpsk` writes them.',
    origin: 'input',
    retry: false,
    status: 500,
  },
  MESH_REFUSED: { text: 'The control plane refuses this peer.', origin: 'input', retry: false, status: 403 },
  MESH_START_TIMEOUT: { text: 'The mesh did not come up in time. It goes on trying.', origin: 'peer', retry: true, status: 504 },
  MESH_CLOSED: { text: 'This mesh node was closed.', origin: 'internal', retry: false, status: 499 },
});
