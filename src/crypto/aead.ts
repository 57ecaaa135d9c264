// ChaCha20-Poly1305 (RFC 8439) as WireGuard uses it: a 64-bit counter for the nonce, a key object made once per session, output
// written into the caller's buffer. The interface is small so that a faster provider can stand in for node:crypto.
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { asBuffer } from '#lib/bytes.ts';
import { hchacha20 } from './hchacha20.ts';
import { keyBytes, longNonceBytes, tagBytes } from './constants.ts';
import { cryptoError } from './errors.ts';

/** One key, ready for many messages. Each counter may seal once. */
export interface AeadKey {
  /**
   * Encrypts `source[start, end)` to `target` from `at`: as many bytes, then the tag of 16. `counter` is a whole number below 2^53.
   * Source and target may be the same buffer where `at` equals `start`; otherwise they must not overlap. Returns the bytes written.
   * Throws CRYPTO_BAD_RANGE where either is too short.
   */
  seal(counter: number, associated: Uint8Array, source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number;
  /**
   * Checks and decrypts `source[start, end)`, whose last 16 bytes are the tag, to `target` from `at`. Returns the bytes written, or -1
   * where the message is not genuine; the target's bytes mean nothing then. The same rule about overlap.
   */
  open(counter: number, associated: Uint8Array, source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number;
  /** Forgets the key as far as the platform lets it; the object must not be used again. */
  destroy(): void;
}

export interface AeadProvider {
  /** Makes a key object of 32 bytes, which are copied. */
  (key: Uint8Array): AeadKey;
  /** Memory in which `seal` and `open` work without copying; any other works too. Absent where all memory is alike. */
  readonly alloc?: (bytes: number) => Uint8Array;
  /**
   * The sum of the little-endian 16-bit words in the whole blocks of 16 bytes of `bytes[start, end)`, where they stand in memory of `alloc`
   * and are no more than 64 KiB; -1 elsewhere. Where the provider can do it faster than a loop.
   */
  readonly sumBlocks?: (bytes: Uint8Array, start: number, end: number) => number;
  /** What computes, in one word, for those who look at a running process. */
  readonly cipher: string;
}

/** Throws CRYPTO_BAD_RANGE unless `[start, end)` is in the source, and `room` bytes from `at` are in the target. Also for what is no number. */
export function checkRange(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number, room: number): void {
  if (start >= 0 && start <= end && end <= source.length && at >= 0 && at + room <= target.length) return;
  throw cryptoError('CRYPTO_BAD_RANGE', `${start} to ${end} of ${source.length}, ${room} at ${at} of ${target.length}`);
}

const algorithm = 'chacha20-poly1305';
const options = { authTagLength: tagBytes } as const;
const nothing = new Uint8Array(0);

/** ChaCha20-Poly1305 of node:crypto. */
export const nodeAead: AeadProvider = Object.assign((key: Uint8Array): AeadKey => new NodeAeadKey(key), { cipher: 'node:crypto' });

class NodeAeadKey implements AeadKey {
  readonly #key: Buffer;
  readonly #nonce = Buffer.alloc(12);

  constructor(key: Uint8Array) {
    if (key.length !== keyBytes) throw cryptoError('CRYPTO_BAD_KEY', `AEAD key of ${key.length} bytes`);
    this.#key = Buffer.from(key);
  }

  seal(counter: number, associated: Uint8Array, source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
    checkRange(source, start, end, target, at, end - start + tagBytes);
    const cipher = createCipheriv(algorithm, this.#key, this.#counted(counter), options);
    if (associated.length > 0) cipher.setAAD(associated, { plaintextLength: end - start });
    target.set(cipher.update(source.subarray(start, end)), at);
    cipher.final();
    target.set(cipher.getAuthTag(), at + end - start);
    return end - start + tagBytes;
  }

  open(counter: number, associated: Uint8Array, source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
    const split = end - tagBytes;
    if (split < start) return -1;
    checkRange(source, start, end, target, at, split - start);
    const decipher = createDecipheriv(algorithm, this.#key, this.#counted(counter), options);
    if (associated.length > 0) decipher.setAAD(associated, { plaintextLength: split - start });
    decipher.setAuthTag(source.subarray(split, end));
    const plain = decipher.update(source.subarray(start, split));
    try {
      decipher.final();
    } catch {
      return -1; // the tag is wrong; Node has no other way to say so
    }
    target.set(plain, at);
    return plain.length;
  }

  destroy(): void {
    this.#key.fill(0);
  }

  #counted(counter: number): Buffer {
    this.#nonce.writeUInt32LE(counter % 0x1_0000_0000, 4);
    this.#nonce.writeUInt32LE(Math.floor(counter / 0x1_0000_0000), 8);
    return this.#nonce;
  }
}

/** Encrypts one whole message under a key that is used once: `plain` and the tag in a new array. */
export function sealOnce(provider: AeadProvider, key: Uint8Array, plain: Uint8Array, associated: Uint8Array = nothing): Uint8Array {
  const out = new Uint8Array(plain.length + tagBytes);
  const aead = provider(key);
  aead.seal(0, associated, plain, 0, plain.length, out, 0);
  aead.destroy();
  return out;
}

/** The counterpart of `sealOnce`; undefined where the message is not genuine. */
export function openOnce(provider: AeadProvider, key: Uint8Array, sealed: Uint8Array, associated: Uint8Array = nothing): Uint8Array | undefined {
  if (sealed.length < tagBytes) return undefined;
  const out = new Uint8Array(sealed.length - tagBytes);
  const aead = provider(key);
  const length = aead.open(0, associated, sealed, 0, sealed.length, out, 0);
  aead.destroy();
  return length < 0 ? undefined : out;
}

/** XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with a random nonce of 24 bytes: ciphertext and tag in a new array. */
export function sealExtended(key: Uint8Array, nonce: Uint8Array, plain: Uint8Array, associated: Uint8Array): Uint8Array {
  const cipher = createCipheriv(algorithm, ...extended(key, nonce), options);
  cipher.setAAD(associated, { plaintextLength: plain.length });
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** The counterpart of `sealExtended`; undefined where the message is not genuine. */
export function openExtended(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, associated: Uint8Array): Uint8Array | undefined {
  const split = sealed.length - tagBytes;
  if (split < 0) return undefined;
  const decipher = createDecipheriv(algorithm, ...extended(key, nonce), options);
  decipher.setAAD(associated, { plaintextLength: split });
  decipher.setAuthTag(sealed.subarray(split));
  const plain = decipher.update(sealed.subarray(0, split));
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return plain;
}

/** The one-time key and nonce that stand for a key and a nonce of 24 bytes. */
function extended(key: Uint8Array, nonce: Uint8Array): [key: Buffer, nonce: Buffer] {
  if (key.length !== keyBytes || nonce.length !== longNonceBytes) throw cryptoError('CRYPTO_BAD_KEY', 'XChaCha20 key or nonce size');
  const short = Buffer.alloc(12);
  short.set(nonce.subarray(16), 4);
  return [asBuffer(hchacha20(key, nonce.subarray(0, 16))), short];
}
