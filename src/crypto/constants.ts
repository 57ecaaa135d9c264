// Sizes that the primitives fix, and the limits of what crypto/ holds at one time.

/** Bytes of an X25519 key, a BLAKE2s-256 digest and a ChaCha20 key. */
export const keyBytes = 32;

/** Bytes of a Poly1305 tag. */
export const tagBytes = 16;

/** Bytes of an XChaCha20 nonce and of a NaCl box nonce. */
export const longNonceBytes = 24;

/** Password hashes computed at one time; each holds 128·N·r bytes and one thread of Node's pool of four. */
export const passwordConcurrency = 2;

/** Password hashes that may wait for their turn; more are refused as busy. */
export const passwordWaiting = 64;

/** Longest password in UTF-8 bytes. */
export const passwordBytes = 1024;

/** Most memory that a stored hash may ask for, in bytes: a damaged record must not exhaust the process. */
export const passwordMemory = 256 * 1024 * 1024;

/** Memory of one device's WebAssembly cipher: what it gives as arenas; the system backs what is used. */
export const wasmMemoryBytes = 4 * 1024 * 1024;

/** Memory of one device's OpenSSL cipher, of the same use. */
export const blockBytes = 1024 * 1024;

/** How long two ciphers are held against each other at most before one is chosen. */
export const selfTestMs = 60;

/** Longest message that the WebAssembly cipher and OpenSSL's take; longer ones go to node:crypto. Any UDP datagram is shorter. */
export const wasmMessageBytes = 65_536;
