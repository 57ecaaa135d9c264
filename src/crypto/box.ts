// NaCl box, the envelope around NetBird's management and signal messages: nonce (24) ‖ tag (16) ‖ ciphertext.
import nacl from 'tweetnacl';
import { randomBytes } from 'node:crypto';
import { keyBytes, longNonceBytes, tagBytes } from './constants.ts';
import { cryptoError } from './errors.ts';

/** Bytes that a box adds to its content. */
export const boxOverhead = longNonceBytes + tagBytes;

/** Encrypts for the recipient and proves the sender. Throws CRYPTO_BAD_KEY for keys that are not 32 bytes. */
export function sealBox(plain: Uint8Array, recipientPublic: Uint8Array, ownPrivate: Uint8Array): Uint8Array {
  return sealShared(plain, sharedBoxKey(recipientPublic, ownPrivate));
}

/** Opens a box from the sender; undefined where it is not genuine. Throws CRYPTO_BAD_KEY for keys that are not 32 bytes. */
export function openBox(box: Uint8Array, senderPublic: Uint8Array, ownPrivate: Uint8Array): Uint8Array | undefined {
  return openShared(box, sharedBoxKey(senderPublic, ownPrivate));
}

/** The key that two parties share in both directions. It is most of a small box's cost, so keep it per correspondent. */
export function sharedBoxKey(theirPublic: Uint8Array, ownPrivate: Uint8Array): Uint8Array {
  if (theirPublic.length !== keyBytes || ownPrivate.length !== keyBytes) throw cryptoError('CRYPTO_BAD_KEY', 'box key size');
  return nacl.box.before(theirPublic, ownPrivate);
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
