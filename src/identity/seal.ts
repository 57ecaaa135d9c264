// Small secrets that a browser carries for us: AES-256-GCM with a random nonce, bound to what the text is for.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { concatBytes, toBase64Url } from '#lib/bytes.ts';
import { identityError } from './errors.ts';

const algorithm = 'aes-256-gcm';
const nonceBytes = 12;
const tagBytes = 16;

/** Seals text; `context` must be the same to open it. Throws IDENTITY_BAD_KEY unless the key has 32 bytes. */
export function seal(key: Uint8Array, context: string, text: string): string {
  if (key.length !== 32) throw identityError('IDENTITY_BAD_KEY');
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv(algorithm, key, nonce).setAAD(Buffer.from(context));
  const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return toBase64Url(concatBytes(nonce, body, cipher.getAuthTag()));
}

/** The text, or undefined where it was not sealed with this key for this context. */
export function unseal(key: Uint8Array, context: string, sealed: string): string | undefined {
  if (key.length !== 32) throw identityError('IDENTITY_BAD_KEY');
  const bytes = Buffer.from(sealed, 'base64url');
  if (bytes.length < nonceBytes + tagBytes) return undefined;
  const decipher = createDecipheriv(algorithm, key, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes });
  decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(-tagBytes));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]).toString('utf8');
  } catch {
    return undefined; // GCM says only that something differs
  }
}
