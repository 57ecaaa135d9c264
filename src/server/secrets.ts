// One master key on disk; every other secret of the server follows from it, so that a restart changes none of them.
import { hkdfSync, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { fromBase64, toBase64, toBase64Url } from '#lib/bytes.ts';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import { serverError } from './errors.ts';

const keyBytes = 32;

export interface ServerSecrets {
  /** Encrypts what the store keeps secret. */
  readonly masterKey: Uint8Array;
  /** The X25519 private key of the management service's envelopes. */
  readonly envelopeKey: Uint8Array;
  /** Shared with every relay of the deployment. */
  readonly relaySecret: string;
  /** The gateways' secret as a client of the identity provider. */
  readonly gatewayClientSecret: string;
  /** Seals the sign-in state of a cluster's visitors. */
  stateKey(cluster: string): Uint8Array;
}

/** Reads `master.key` (0600) in the state directory, or makes it. Several servers on one database need the same file. */
export async function openSecrets(stateDir: string): Promise<ServerSecrets> {
  const masterKey = await openMasterKey(join(stateDir, 'master.key'));
  // RFC 5869: one expansion a purpose; none tells anything of another.
  const derive = (purpose: string): Uint8Array => new Uint8Array(hkdfSync('sha256', masterKey, '', `meshgate ${purpose}`, keyBytes));
  return {
    masterKey,
    envelopeKey: derive('management envelope'),
    relaySecret: toBase64Url(derive('relay')),
    gatewayClientSecret: toBase64Url(derive('gateway client')),
    stateKey: (cluster) => derive(`sign-in state ${cluster}`),
  };
}

async function openMasterKey(path: string): Promise<Uint8Array> {
  const text = await readFileIfThere(path);
  if (text === undefined) {
    const key = new Uint8Array(randomBytes(keyBytes));
    await writeFileAtomic(path, `${toBase64(key)}\n`);
    return key;
  }
  const key = fromBase64(text.trim());
  if (key?.length !== keyBytes) throw serverError('SERVER_MASTER_KEY_BROKEN', path);
  return key;
}
