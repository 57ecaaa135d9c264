// The account's own certificate authorities: keys that never leave the server, sealed like its other secrets. Made at the first start.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { type ClientAuthority, createClientAuthority } from '#crypto/client-authority.ts';
import { fromBase64, utf8 } from '#lib/bytes.ts';
import type { Clock } from '#lib/clock.ts';
import type { Store, Tables } from '../store/store.ts';
import { authorityMs, certificateSkewMs } from './constants.ts';
import { domainError } from './errors.ts';
import type { Sealer } from './seal.ts';

export interface SshAuthority {
  /** 32 bytes of Ed25519. */
  readonly publicKey: Uint8Array;
  sign(bytes: Uint8Array): Uint8Array;
}

export interface Authorities {
  readonly client: ClientAuthority;
  readonly ssh: SshAuthority;
}

/** DOMAIN_SECRET_DAMAGED where what is kept was sealed with another key. */
export async function openAuthorities(store: Store, sealer: Sealer, clock: Clock): Promise<Authorities> {
  const now = clock.wall();
  const keep = async (tables: Tables, name: string, make: () => Promise<string>): Promise<string> => {
    const key = `authority/${name}`;
    const place = `vault ${key}`;
    const kept = await tables.vault.find(key);
    if (kept !== undefined) return Buffer.from(sealer.open(place, kept.value)).toString('utf8');
    const made = await make();
    await tables.vault.set(key, sealer.seal(place, utf8(made)), undefined);
    return made;
  };
  return await store.write(async (tables) => {
    const client = await keep(tables, 'client', async () =>
      JSON.stringify(await createClientAuthority('Meshgate client certificates', now - certificateSkewMs, now + authorityMs)),
    );
    const ssh = await keep(tables, 'ssh', async () => generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }));
    return { client: clientFrom(client), ssh: sshFrom(createPrivateKey(ssh)) };
  });
}

function clientFrom(text: string): ClientAuthority {
  const { certPem, keyPem } = JSON.parse(text) as Partial<ClientAuthority>;
  if (typeof certPem !== 'string' || typeof keyPem !== 'string') throw domainError('DOMAIN_SECRET_DAMAGED', 'authority/client');
  return { certPem, keyPem };
}

function sshFrom(key: KeyObject): SshAuthority {
  const { x = '' } = createPublicKey(key).export({ format: 'jwk' });
  const publicKey = fromBase64(Buffer.from(x, 'base64url').toString('base64'));
  if (publicKey?.length !== 32) throw domainError('DOMAIN_SECRET_DAMAGED', 'authority/ssh');
  return { publicKey, sign: (bytes) => new Uint8Array(sign(null, bytes, key)) };
}
