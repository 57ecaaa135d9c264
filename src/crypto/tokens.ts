// Access tokens of NetBird's form: a prefix, 30 random base62 characters and 6 of their CRC32. The checksum lets a mistyped token be
// told from an unknown one without a look at the store; what is stored is the SHA-256 digest.
import { hash, randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { cryptoError } from './errors.ts';

/** `nbx_` is a proxy's access token, `nbp_` a person's. Ours may use others of the same form. */
export const proxyTokenPrefix = 'nbx_';
export const personalTokenPrefix = 'nbp_';
/** Of share links, and of paired devices: our own. */
export const linkTokenPrefix = 'nbl_';
export const deviceTokenPrefix = 'nbd_';

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const secretLength = 30;
const checksumLength = 6;

/** Characters of a whole token. */
export const tokenLength = 4 + secretLength + checksumLength;

/** A new token of 40 characters with 178 bits of randomness. Throws CRYPTO_BAD_PREFIX unless the prefix is like `nbx_`. */
export function generateToken(prefix: string): string {
  if (!/^[a-z]{3}_$/.test(prefix)) throw cryptoError('CRYPTO_BAD_PREFIX', prefix);
  let secret = '';
  for (let i = 0; i < secretLength; i++) secret += alphabet[randomInt(alphabet.length)] ?? '';
  return prefix + secret + checksum(secret);
}

/** Whether the text has the form of a token with this prefix, checksum included. Says nothing about whether it was ever issued. */
export function isToken(text: string, prefix: string): boolean {
  if (text.length !== tokenLength || !text.startsWith(prefix)) return false;
  const secret = text.slice(prefix.length, -checksumLength);
  return /^[0-9A-Za-z]+$/.test(secret) && text.endsWith(checksum(secret));
}

/** The text under which a token is stored and looked up: base64 of its SHA-256. */
export function tokenDigest(token: string): string {
  return hash('sha256', token, 'base64');
}

/** CRC32 (IEEE) of the text in base62, most significant digit first, padded with zeros: 62^6 exceeds 2^32. */
function checksum(secret: string): string {
  let rest = crc32(secret);
  let text = '';
  for (let i = 0; i < checksumLength; i++) {
    text = (alphabet[rest % alphabet.length] ?? '') + text;
    rest = Math.floor(rest / alphabet.length);
  }
  return text;
}
