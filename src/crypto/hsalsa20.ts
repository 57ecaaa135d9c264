// HSalsa20 (Bernstein, "Extending the Salsa20 nonce", §2): turns an X25519 agreement into the key of a NaCl box.

const constants = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;

/** Where the words of the output stand in the final state. */
const output = [0, 5, 10, 15, 6, 7, 8, 9] as const;

/** Derives 32 bytes from a key of 32 and an input of 16. */
export function hsalsa20(key: Uint8Array, input: Uint8Array): Uint8Array {
  const keyView = new DataView(key.buffer, key.byteOffset, 32);
  const inputView = new DataView(input.buffer, input.byteOffset, 16);
  const state = new Uint32Array(16);
  for (let i = 0; i < 4; i++) {
    state[5 * i] = constants[i] ?? 0;
    state[1 + i] = keyView.getUint32(4 * i, true);
    state[6 + i] = inputView.getUint32(4 * i, true);
    state[11 + i] = keyView.getUint32(16 + 4 * i, true);
  }
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 4; i++) quarter(state, 5 * i, (5 * i + 4) & 15, (5 * i + 8) & 15, (5 * i + 12) & 15);
    for (let i = 0; i < 4; i++) quarter(state, 5 * i, 4 * i + ((i + 1) & 3), 4 * i + ((i + 2) & 3), 4 * i + ((i + 3) & 3));
  }
  const out = new DataView(new ArrayBuffer(32));
  for (const [i, place] of output.entries()) out.setUint32(4 * i, state[place] ?? 0, true);
  return new Uint8Array(out.buffer);
}

/** The Salsa20 quarter round: each word takes the rotated sum of the two before it. */
function quarter(s: Uint32Array, a: number, b: number, c: number, d: number): void {
  step(s, b, a, d, 7);
  step(s, c, b, a, 9);
  step(s, d, c, b, 13);
  step(s, a, d, c, 18);
}

function step(s: Uint32Array, target: number, x: number, y: number, bits: number): void {
  const sum = ((s[x] ?? 0) + (s[y] ?? 0)) | 0;
  s[target] = (s[target] ?? 0) ^ ((sum << bits) | (sum >>> (32 - bits)));
}
