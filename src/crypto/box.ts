// NaCl box, the envelope around NetBird's management and signal messages: nonce (24) ‖ tag (16) ‖ ciphertext.
import nacl from 'tweetnacl';
import { randomBytes } from 'node:crypto';
import { longNonceBytes, tagBytes } from './constants.ts';
import { cryptoError } from './errors.ts';
import { hsalsa20 } from './hsalsa20.ts';
import { X25519PrivateKey, X25519PublicKey } from './x25519.ts';

const noInput = new Uint8Array(16);

/** Bytes that a box adds to its content. */
export const boxOverhead = longNonceBytes + tagBytes;

/** Encrypts for the recipient and proves the sender. Throws CRYPTO_BAD_KEY for keys that are not 32 bytes or agree on nothing. */
export function sealBox(plain: Uint8Array, recipientPublic: Uint8Array, ownPrivate: Uint8Array): Uint8Array {
  return sealShared(plain, sharedBoxKey(recipientPublic, ownPrivate));
}

/** Opens a box from the sender; undefined where it is not genuine. Throws CRYPTO_BAD_KEY for keys that are not 32 bytes or agree on nothing. */
export function openBox(box: Uint8Array, senderPublic: Uint8Array, ownPrivate: Uint8Array): Uint8Array | undefined {
  return openShared(box, sharedBoxKey(senderPublic, ownPrivate));
}

/**
 * The key that two parties share in both directions. It is most of a small box's cost, so keep it per correspondent. Made with Node's
 * X25519, which takes a tenth of the time of tweetnacl's. Throws CRYPTO_BAD_KEY as above.
 */
export function sharedBoxKey(theirPublic: Uint8Array, ownPrivate: Uint8Array): Uint8Array {
  const agreed = new X25519PrivateKey(ownPrivate).agree(new X25519PublicKey(theirPublic));
  if (agreed === undefined) throw cryptoError('CRYPTO_BAD_KEY', 'box key of small order');
  return hsalsa20(agreed, noInput);
}

/** `sealBox` with a key of `sharedBoxKey`. The nonce is random; only tests give one. */
export function sealShared(plain: Uint8Array, sharedKey: Uint8Array, nonce: Uint8Array = randomBytes(longNonceBytes)): Uint8Array {
  const sealed = nacl.box.after(plain, nonce, sharedKey);
  const out = new Uint8Array(longNonceBytes + sealed.length);
  out.set(nonce);
  out.set(sealed, longNonceBytes);
  return out;
}

/** `openBox` with a key of `sharedBoxKey`. */
export function openShared(box: Uint8Array, sharedKey: Uint8Array): Uint8Array | undefined {
  if (box.length < boxOverhead) return undefined;
  return nacl.box.open.after(box.subarray(longNonceBytes), box.subarray(0, longNonceBytes), sharedKey) ?? undefined;
}
