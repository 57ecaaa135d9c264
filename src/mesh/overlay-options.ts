// From the settings of `wireguard.*` to the options of the overlay; the preshared key is read from its file here.
import { readFile, stat } from 'node:fs/promises';
import { keyFromText } from '#crypto/x25519.ts';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { meshError } from './errors.ts';
import type { MeshNodeOptions } from './node.ts';
import type { WireguardSettings } from './settings.ts';

/** Rejects with MESH_PRESHARED_KEY where there should be a key and is none: a peer without it would be a peer that nobody reaches. */
export async function overlayOptions(settings: WireguardSettings, log: Logger): Promise<MeshNodeOptions['overlay']> {
  const { mode, hostPrograms, port, mtu, accelerators, forceRelay, presharedKeyFile, lazy, lazyIdle, exitNodes } = settings;
  return {
    mode,
    hostPrograms,
    listenPort: port,
    mtu,
    accelerators,
    forceRelay,
    lazyIdleMs: lazyIdle,
    ...(exitNodes ? { exitNodes } : {}),
    ...(lazy === 'server' ? {} : { lazy: lazy === 'on' }),
    ...(presharedKeyFile === undefined ? {} : { presharedKey: await readPresharedKey(presharedKeyFile, log) }),
  };
}

async function readPresharedKey(path: string, log: Logger): Promise<Uint8Array> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
    if (((await stat(path)).mode & 0o077) !== 0 && process.platform !== 'win32') log.warn('the preshared key is readable by others', { path });
  } catch (error) {
    throw meshError('MESH_PRESHARED_KEY', describeError(error), error);
  }
  const key = keyFromText(text.trim());
  if (key === undefined) throw meshError('MESH_PRESHARED_KEY', 'not 32 bytes in base64');
  if (key.every((byte) => byte === 0)) throw meshError('MESH_PRESHARED_KEY', 'all zero, which means no key');
  return key;
}
