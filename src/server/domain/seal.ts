// Secrets at rest: AES-256-GCM under the master key, bound to the place where they are kept, so that one cannot stand in for another.
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { asBuffer, concatBytes, fromBase64, toBase64 } from '#lib/bytes.ts';
import type { RandomBytes } from './ids.ts';
import { domainError, invalid } from './errors.ts';

const algorithm = 'aes-256-gcm';
const nonceBytes = 12;
const tagBytes = 16;

export class Sealer {
  readonly #key: Buffer;
  readonly #random: RandomBytes;

  /** `masterKey` has 32 bytes, which are copied. */
  constructor(masterKey: Uint8Array, random: RandomBytes) {
    if (masterKey.length !== 32) throw invalid('The master key must have 32 bytes.');
    this.#key = Buffer.from(masterKey);
    this.#random = random;
  }

  /** The text to store: base64 of nonce, ciphertext and tag. `place` is not secret. */
  seal(place: string, plain: Uint8Array): string {
    const nonce = this.#random(nonceBytes);
    const cipher = createCipheriv(algorithm, this.#key, nonce);
    cipher.setAAD(Buffer.from(place));
    return toBase64(concatBytes(nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()));
  }

  /** DOMAIN_SECRET_DAMAGED where the text was not sealed for this place with this key. */
  open(place: string, sealed: string): Uint8Array {
    const bytes = fromBase64(sealed);
    if (bytes === undefined || bytes.length < nonceBytes + tagBytes) throw domainError('DOMAIN_SECRET_DAMAGED', place);
    const end = bytes.length - tagBytes;
    const decipher = createDecipheriv(algorithm, this.#key, bytes.subarray(0, nonceBytes));
    decipher.setAAD(Buffer.from(place));
    decipher.setAuthTag(asBuffer(bytes.subarray(end)));
    try {
      return new Uint8Array(Buffer.concat([decipher.update(bytes.subarray(nonceBytes, end)), decipher.final()]));
    } catch (error) {
      throw domainError('DOMAIN_SECRET_DAMAGED', place, error);
    }
  }
}
