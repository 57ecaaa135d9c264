// HChaCha20 (draft-irtf-cfrg-xchacha §2.2): turns a key and half of a long nonce into the key of ChaCha20. Node does not offer it.

const constants = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;

/** Derives 32 bytes from a key of 32 and a nonce of 16. */
export function hchacha20(key: Uint8Array, nonce: Uint8Array): Uint8Array {
  const input = new DataView(new ArrayBuffer(64));
  for (const [i, word] of constants.entries()) input.setUint32(4 * i, word, true);
  for (let i = 0; i < 32; i++) input.setUint8(16 + i, key[i] ?? 0);
  for (let i = 0; i < 16; i++) input.setUint8(48 + i, nonce[i] ?? 0);
  const state = new Uint32Array(16);
  for (let i = 0; i < 16; i++) state[i] = input.getUint32(4 * i, true);
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 4; i++) quarter(state, i, 4 + i, 8 + i, 12 + i);
    for (let i = 0; i < 4; i++) quarter(state, i, 4 + ((i + 1) & 3), 8 + ((i + 2) & 3), 12 + ((i + 3) & 3));
  }
  const out = new DataView(new ArrayBuffer(32));
  for (let i = 0; i < 4; i++) {
    out.setUint32(4 * i, state[i] ?? 0, true);
    out.setUint32(16 + 4 * i, state[12 + i] ?? 0, true);
  }
  return new Uint8Array(out.buffer);
}

/** The ChaCha quarter round (RFC 8439 §2.1). */
function quarter(s: Uint32Array, a: number, b: number, c: number, d: number): void {
  half(s, a, b, d, 16);
  half(s, c, d, b, 12);
  half(s, a, b, d, 8);
  half(s, c, d, b, 7);
}

/** `a += b; d ^= a; d <<<= bits`, one line of the quarter round. */
function half(s: Uint32Array, a: number, b: number, d: number, bits: number): void {
  const sum = ((s[a] ?? 0) + (s[b] ?? 0)) | 0;
  const mixed = (s[d] ?? 0) ^ sum;
  s[a] = sum;
  s[d] = (mixed << bits) | (mixed >>> (32 - bits));
}
