// The peer's key pair on disk: made once, readable by its owner only, never replaced by us. Losing it means becoming another peer.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { generatePrivateKey, keyFromText, keyToText, publicFromPrivate } from '#crypto/x25519.ts';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import type { Logger } from '#lib/log.ts';
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import { meshError } from './errors.ts';

export interface MeshIdentity {
  /** 32 bytes. */
  readonly privateKey: Uint8Array;
  readonly publicKey: PublicKey;
}

/** Name of the file in the state folder. */
const identityFile = 'identity.json';

/** The identity in the folder, or a new one that is stored there first. Throws MESH_IDENTITY_DAMAGED, and Node's file errors. */
export async function loadIdentity(folder: string, log: Logger): Promise<MeshIdentity> {
  const path = join(folder, identityFile);
  const text = await readFileIfThere(path);
  if (text !== undefined) {
    if (((await stat(path)).mode & 0o077) !== 0 && process.platform !== 'win32') log.warn('the identity file is readable by others', { path });
    return identityOf(parse(text));
  }
  const privateKey = generatePrivateKey();
  await writeFileAtomic(path, `${JSON.stringify({ wireguardPrivateKey: keyToText(privateKey) }, undefined, 2)}\n`);
  log.info('made a new identity', { path });
  return identityOf(privateKey);
}

function parse(text: string): Uint8Array {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw meshError('MESH_IDENTITY_DAMAGED', 'not JSON', error);
  }
  const stored = typeof value === 'object' && value !== null && 'wireguardPrivateKey' in value ? value.wireguardPrivateKey : undefined;
  const key = typeof stored === 'string' ? keyFromText(stored) : undefined;
  if (key === undefined) throw meshError('MESH_IDENTITY_DAMAGED', 'no key inside');
  return key;
}

function identityOf(privateKey: Uint8Array): MeshIdentity {
  const publicKey = parsePublicKey(keyToText(publicFromPrivate(privateKey)));
  if (publicKey === undefined) throw meshError('MESH_IDENTITY_DAMAGED', 'no public key');
  return { privateKey, publicKey };
}
