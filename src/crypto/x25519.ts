// X25519 (RFC 7748) with raw 32-byte keys over node:crypto. A key is parsed once into an object and used many times.
import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject, randomBytes } from 'node:crypto';
import { fromBase64, toBase64 } from '#lib/bytes.ts';
import { keyBytes } from './constants.ts';
import { cryptoError } from './errors.ts';

/** The other side's key, ready for agreements. */
export class X25519PublicKey {
  /** The 32 bytes as they were given. */
  readonly bytes: Uint8Array;
  #key: KeyObject | undefined;

  /** Throws CRYPTO_BAD_KEY unless it is given 32 bytes. Any 32 bytes are a key; whether it is useful shows at the agreement. */
  constructor(bytes: Uint8Array) {
    if (bytes.length !== keyBytes) throw cryptoError('CRYPTO_BAD_KEY', `public key of ${bytes.length} bytes`);
    this.bytes = bytes.slice();
  }

  /** Node's form of the key, made at its first use: most of a mesh's peers never talk to us. */
  get key(): KeyObject {
    this.#key ??= createPublicKey({ key: Buffer.from(this.bytes), format: 'raw-public', asymmetricKeyType: 'x25519' });
    return this.#key;
  }
}

/** Our own key, ready for agreements. */
export class X25519PrivateKey {
  readonly #key: KeyObject;
  /** The public key that belongs to it, 32 bytes. */
  readonly publicBytes: Uint8Array;

  /** Throws CRYPTO_BAD_KEY unless it is given 32 bytes. Clamping (RFC 7748 §5) happens at use, so unclamped keys work. */
  constructor(bytes: Uint8Array) {
    if (bytes.length !== keyBytes) throw cryptoError('CRYPTO_BAD_KEY', `private key of ${bytes.length} bytes`);
    this.#key = createPrivateKey({ key: Buffer.from(bytes), format: 'raw-private', asymmetricKeyType: 'x25519' });
    this.publicBytes = new Uint8Array(createPublicKey(this.#key).export({ format: 'raw-public' }));
  }

  /** The shared secret of both keys; undefined where it would be all zero (a point of small order, RFC 7748 §6.1). */
  agree(theirs: X25519PublicKey): Uint8Array | undefined {
    let secret: Uint8Array;
    try {
      secret = diffieHellman({ privateKey: this.#key, publicKey: theirs.key });
    } catch {
      return undefined; // OpenSSL refuses an all-zero result itself
    }
    let any = 0;
    for (const byte of secret) any |= byte;
    return any === 0 ? undefined : secret;
  }
}

/** 32 random bytes, clamped as WireGuard's tools write them. */
export function generatePrivateKey(random: (target: Uint8Array) => void = fillRandom): Uint8Array {
  const bytes = new Uint8Array(keyBytes);
  random(bytes);
  bytes[0] = (bytes[0] ?? 0) & 0xf8;
  bytes[31] = ((bytes[31] ?? 0) & 0x7f) | 0x40;
  return bytes;
}

/** The public key of a private key, both raw. */
export function publicFromPrivate(privateKey: Uint8Array): Uint8Array {
  return new X25519PrivateKey(privateKey).publicBytes;
}

/** The base64 text of a key: 44 characters. */
export function keyToText(key: Uint8Array): string {
  return toBase64(key);
}

/** The 32 bytes of a key's base64 text; undefined where the text is anything else. */
export function keyFromText(text: string): Uint8Array | undefined {
  const bytes = fromBase64(text);
  return bytes?.length === keyBytes ? bytes : undefined;
}

function fillRandom(target: Uint8Array): void {
  target.set(randomBytes(target.length));
}
