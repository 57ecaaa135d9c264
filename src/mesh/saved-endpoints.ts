// Our UDP port and where peers last proved themselves, as JSON text: with the last map, what a restart needs to reach them while there is
// nobody who could introduce them. What cannot be read is treated as none.
import { parsePublicKey } from '#model/ids.ts';
import type { LastEndpoint } from '#overlay/index.ts';
import { Fields } from './saved-fields.ts';
import type { SavedFormat } from './saved-file.ts';

export interface SavedEndpoints {
  /** Taken again where the settings name none: it is what peers, and the NATs before us, know. */
  readonly port: number;
  readonly peers: readonly LastEndpoint[];
}

export const endpointsFormat: SavedFormat<SavedEndpoints> = {
  file: 'last-endpoints.json',
  what: 'addresses of peers',
  text: (saved) => JSON.stringify({ format: 1, ...saved }),
  parse: (text) => {
    try {
      return endpointsFrom(new Fields(JSON.parse(text)));
    } catch {
      return undefined; // unreadable is none
    }
  },
};

function endpointsFrom(file: Fields): SavedEndpoints | undefined {
  if (file.number('format') !== 1) return undefined;
  return { port: portFrom(file), peers: file.list('peers').map((value) => endpointFrom(new Fields(value))) };
}

/** Whether the address may be used is the overlay's to say. */
function endpointFrom(fields: Fields): LastEndpoint {
  const peer = parsePublicKey(fields.text('peer'));
  if (peer === undefined) throw new TypeError('peer');
  return { peer, address: fields.text('address'), port: portFrom(fields) };
}

function portFrom(fields: Fields): number {
  const port = fields.number('port');
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new TypeError('port');
  return port;
}
