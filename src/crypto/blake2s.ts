// BLAKE2s (RFC 7693) in its unkeyed and keyed form, and what WireGuard builds on it: HMAC and the KDF of the Noise framework.
// Our own code because Node offers no keyed mode; it is also faster than Node for messages of a few blocks, most of all in WebAssembly.
import { type Compress, wasmCompress } from './blake2s-wasm.ts';
import { cryptoError } from './errors.ts';

const blockBytes = 64;

/** Longest digest, and longest key, in bytes. */
const blake2sBytes = 32;

const initial = Uint32Array.of(0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);

/** RFC 7693 §2.7: which message word goes where, ten rounds of sixteen. */
const sigma = Uint8Array.from(
  [
    '0123456789abcdef',
    'ea489fd61c02b753',
    'b8c052fdae367194',
    '7931dcbe265a40f8',
    '905724afe1bc683d',
    '2c6a0b834d75fe19',
    'c51fed4a0763928b',
    'db7ec13950f4862a',
    '6fe9b308c2d714a5',
    'a2847615fb9e3cd0',
  ]
    .join('')
    .split(''),
  (digit) => Number.parseInt(digit, 16),
);

/** The mixing function G (RFC 7693 §3.1) over the working vector. */
function mix(v: Int32Array, a: number, b: number, c: number, d: number, x: number, y: number): void {
  let va = ((v[a] ?? 0) + (v[b] ?? 0) + x) | 0;
  let vd = (v[d] ?? 0) ^ va;
  vd = (vd >>> 16) | (vd << 16);
  let vc = ((v[c] ?? 0) + vd) | 0;
  let vb = (v[b] ?? 0) ^ vc;
  vb = (vb >>> 12) | (vb << 20);
  va = (va + vb + y) | 0;
  vd ^= va;
  vd = (vd >>> 8) | (vd << 24);
  vc = (vc + vd) | 0;
  vb ^= vc;
  v[a] = va;
  v[b] = (vb >>> 7) | (vb << 25);
  v[c] = vc;
  v[d] = vd;
}

// One working set serves all computations: each runs to its end before another starts.
const vector = new Int32Array(16);
const words = new Int32Array(16);

/** The compression function in plain code. Exported for the test that holds both against each other. */
export const plainCompress: Compress = (state, block, low, high, last) => {
  for (let i = 0; i < 16; i++) {
    const at = 4 * i;
    words[i] = (block[at] ?? 0) | ((block[at + 1] ?? 0) << 8) | ((block[at + 2] ?? 0) << 16) | ((block[at + 3] ?? 0) << 24);
  }
  for (let i = 0; i < 8; i++) {
    vector[i] = state[i] ?? 0;
    vector[i + 8] = initial[i] ?? 0;
  }
  vector[12] = (vector[12] ?? 0) ^ low;
  vector[13] = (vector[13] ?? 0) ^ high;
  vector[14] = (vector[14] ?? 0) ^ last;
  for (let s = 0; s < 160; s += 16) {
    mix(vector, 0, 4, 8, 12, word(s), word(s + 1));
    mix(vector, 1, 5, 9, 13, word(s + 2), word(s + 3));
    mix(vector, 2, 6, 10, 14, word(s + 4), word(s + 5));
    mix(vector, 3, 7, 11, 15, word(s + 6), word(s + 7));
    mix(vector, 0, 5, 10, 15, word(s + 8), word(s + 9));
    mix(vector, 1, 6, 11, 12, word(s + 10), word(s + 11));
    mix(vector, 2, 7, 8, 13, word(s + 12), word(s + 13));
    mix(vector, 3, 4, 9, 14, word(s + 14), word(s + 15));
  }
  for (let i = 0; i < 8; i++) state[i] = (state[i] ?? 0) ^ (vector[i] ?? 0) ^ (vector[i + 8] ?? 0);
};

/** The one in use. */
export const compress: Compress = wasmCompress(initial, sigma) ?? plainCompress;

/** One computation: `update` as often as needed, then `digest` once. */
export class Blake2s {
  readonly #state = new Int32Array(8);
  readonly #block = new Uint8Array(blockBytes);
  readonly #length: number;
  #filled = 0;
  /** Bytes compressed so far; messages of 2^53 bytes and more do not occur. */
  #count = 0;

  /** `length` is the digest's, 1–32; a key of 1–32 bytes makes it a MAC (RFC 7693 §2.9). Throws CRYPTO_BAD_KEY for other sizes. */
  constructor(length = blake2sBytes, key?: Uint8Array) {
    const keyLength = key?.length ?? 0;
    if (length < 1 || length > blake2sBytes || keyLength > blake2sBytes)
      throw cryptoError('CRYPTO_BAD_KEY', `BLAKE2s digest of ${length}, key of ${keyLength}`);
    this.#length = length;
    this.#state.set(initial);
    this.#state[0] = (initial[0] ?? 0) ^ 0x01010000 ^ (keyLength << 8) ^ length;
    if (key !== undefined && keyLength > 0) {
      this.#block.set(key);
      this.#filled = blockBytes;
    }
  }

  update(data: Uint8Array): this {
    let at = 0;
    while (at < data.length) {
      // a full block is kept until more comes, since the last one is compressed differently
      if (this.#filled === blockBytes) {
        this.#count += blockBytes;
        this.#compress(0);
        this.#filled = 0;
      }
      const take = Math.min(blockBytes - this.#filled, data.length - at);
      for (let i = 0; i < take; i++) this.#block[this.#filled + i] = data[at + i] ?? 0;
      this.#filled += take;
      at += take;
    }
    return this;
  }

  /** The digest, in a new array of its own. */
  digest(): Uint8Array {
    this.#count += this.#filled;
    this.#block.fill(0, this.#filled);
    this.#compress(-1);
    const out = new Uint8Array(this.#length);
    for (let i = 0; i < out.length; i++) out[i] = (this.#state[i >>> 2] ?? 0) >>> (8 * (i & 3));
    this.#block.fill(0);
    return out;
  }

  #compress(last: 0 | -1): void {
    compress(this.#state, this.#block, this.#count | 0, Math.floor(this.#count / 0x1_0000_0000), last);
  }
}

function word(at: number): number {
  return words[sigma[at] ?? 0] ?? 0;
}

/** BLAKE2s-256 of the parts as one message. */
export function blake2s(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = new Blake2s();
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** Keyed BLAKE2s with a digest of `length` bytes: WireGuard's MAC with 16. */
export function blake2sMac(length: number, key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = new Blake2s(length, key);
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** HMAC (RFC 2104) over BLAKE2s-256; keys above 64 bytes are hashed first. */
export function hmacBlake2s(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const short = key.length > blockBytes ? blake2s(key) : key;
  const pad = new Uint8Array(blockBytes).fill(0x36);
  for (let i = 0; i < short.length; i++) pad[i] = 0x36 ^ (short[i] ?? 0);
  const inner = blake2s(pad, ...parts);
  for (let i = 0; i < blockBytes; i++) pad[i] = (pad[i] ?? 0) ^ 0x36 ^ 0x5c;
  return blake2s(pad, inner);
}

const one = Uint8Array.of(1);
const two = Uint8Array.of(2);
const three = Uint8Array.of(3);

/** WireGuard's KDF with one output (whitepaper §5.4): HKDF with the chaining key as salt and no info. */
export function kdf1(key: Uint8Array, input: Uint8Array): Uint8Array {
  return hmacBlake2s(hmacBlake2s(key, input), one);
}

export function kdf2(key: Uint8Array, input: Uint8Array): readonly [Uint8Array, Uint8Array] {
  const secret = hmacBlake2s(key, input);
  const first = hmacBlake2s(secret, one);
  return [first, hmacBlake2s(secret, first, two)];
}

export function kdf3(key: Uint8Array, input: Uint8Array): readonly [Uint8Array, Uint8Array, Uint8Array] {
  const secret = hmacBlake2s(key, input);
  const first = hmacBlake2s(secret, one);
  const second = hmacBlake2s(secret, first, two);
  return [first, second, hmacBlake2s(secret, second, three)];
}
