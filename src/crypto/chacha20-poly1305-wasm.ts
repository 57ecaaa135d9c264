// ChaCha20 and Poly1305 (RFC 8439) as WebAssembly, written out here instruction by instruction: ChaCha20 makes four blocks at a time, one
// in each lane of a 128-bit vector; Poly1305 has its numbers in five limbs of 26 bits. No branch and no address depends on secret bytes.
import { type Code, encodeModule, get, i32Const, i64Const, memory, repeatWhile, seq, set, simd, type WasmFunction } from './wasm-encoder.ts';

/** Where the caller puts ChaCha20's state of 16 little-endian words (RFC 8439 §2.3). Its counter is moved on by the code. */
export const stateAt = 0;
/** Bytes that one step of `chacha` handles. */
export const stepBytes = 256;

const load32Splat = simd(9);
const load128 = simd(0);
const store128 = simd(11);
const or128 = simd(80);
const xor128 = simd(81);
const shiftLeft = simd(171);
const shiftRight = simd(173);
const add32x4 = simd(174);
const i32Load: Code = [0x28];
const i32Store: Code = [0x36];
const i64Load: Code = [0x29];
const i64Load32: Code = [0x35];
const i64Store: Code = [0x37];
const i32Add: Code = [0x6a];
const i32Sub: Code = [0x6b];
const i64LessUnsigned: Code = [0x54];
const i64Add: Code = [0x7c];
const i64Sub: Code = [0x7d];
const i64Mul: Code = [0x7e];
const i64And: Code = [0x83];
const i64Or: Code = [0x84];
const i64Xor: Code = [0x85];
const i64ShiftLeft: Code = [0x86];
const i64ShiftRightSigned: Code = [0x87];
const i64ShiftRight: Code = [0x88];
const i64FromU32: Code = [0xad];

const range = (count: number): readonly number[] => Array.from({ length: count }, (_, i) => i);

/** A constant vector of four words below 128. */
function words(values: readonly number[]): Code {
  return seq(
    simd(12),
    values.flatMap((value) => [value, 0, 0, 0]),
  );
}

/** The bytes of two vectors in another order; 0 to 15 are the first one's. */
function shuffle(order: readonly number[]): Code {
  return seq(simd(13), order);
}

/** The 32-bit lanes of two vectors in another order; 0 to 3 are the first one's. */
function shuffleLanes(lanes: readonly number[]): Code {
  return shuffle(lanes.flatMap((lane) => range(4).map((i) => 4 * lane + i)));
}

/** `chacha(from, to, steps)`: XORs steps × 256 bytes with the key stream. */
function chacha(): WasmFunction {
  const [from, to, steps, round] = [0, 1, 2, 3] as const;
  const x = (i: number): number => 4 + i;
  const t = (i: number): number => 20 + i;

  const rotate = (local: number, bits: number): Code => {
    // Whole bytes are moved by one shuffle.
    if (bits % 8 === 0) {
      const order = range(16).map((i) => (i & ~3) | ((i + 4 - bits / 8) & 3));
      return set(local, get(local), get(local), shuffle(order));
    }
    return set(local, get(local), i32Const(bits), shiftLeft, get(local), i32Const(32 - bits), shiftRight, or128);
  };
  const mix = (a: number, b: number, c: number, bits: number): Code =>
    seq(set(a, get(a), get(b), add32x4), set(c, get(c), get(a), xor128), rotate(c, bits));
  const quarterRound = (a: number, b: number, c: number, d: number): Code =>
    seq(mix(x(a), x(b), x(d), 16), mix(x(c), x(d), x(b), 12), mix(x(a), x(b), x(d), 8), mix(x(c), x(d), x(b), 7));
  const doubleRound = seq(
    ...range(4).map((i) => quarterRound(i, 4 + i, 8 + i, 12 + i)),
    ...range(4).map((i) => quarterRound(i, 4 + ((i + 1) & 3), 8 + ((i + 2) & 3), 12 + ((i + 3) & 3))),
  );
  /** Word `i` of the state in all lanes; the counter is one more in each. */
  const initial = (i: number): Code => seq(i32Const(0), memory(load32Splat, stateAt + 4 * i), i === 12 ? seq(words([0, 1, 2, 3]), add32x4) : []);
  /** Lane b of x(4g) to x(4g+3) is bytes 16g to 16g+15 of block b. */
  const output = (g: number): Code => {
    const [a, b, c, d] = [x(4 * g), x(4 * g + 1), x(4 * g + 2), x(4 * g + 3)] as const;
    const low = [0, 4, 1, 5];
    const high = [2, 6, 3, 7];
    const store = (block: number, first: number, second: number, lanes: readonly number[]): Code => {
      const at = 64 * block + 16 * g;
      return seq(get(to), get(first), get(second), shuffleLanes(lanes), get(from), memory(load128, at), xor128, memory(store128, at));
    };
    return seq(
      set(t(0), get(a), get(b), shuffleLanes(low)),
      set(t(1), get(c), get(d), shuffleLanes(low)),
      set(t(2), get(a), get(b), shuffleLanes(high)),
      set(t(3), get(c), get(d), shuffleLanes(high)),
      store(0, t(0), t(1), [0, 1, 4, 5]),
      store(1, t(0), t(1), [2, 3, 6, 7]),
      store(2, t(2), t(3), [0, 1, 4, 5]),
      store(3, t(2), t(3), [2, 3, 6, 7]),
    );
  };
  const counterAt = stateAt + 4 * 12;
  const step = seq(
    ...range(16).map((i) => set(x(i), initial(i))),
    set(round, i32Const(10)),
    repeatWhile(seq(doubleRound, set(round, get(round), i32Const(1), i32Sub), get(round))),
    ...range(16).map((i) => set(x(i), get(x(i)), initial(i), add32x4)),
    ...range(4).map(output),
    i32Const(0),
    i32Const(0),
    memory(i32Load, counterAt),
    i32Const(4),
    i32Add,
    memory(i32Store, counterAt),
    set(from, get(from), i32Const(stepBytes), i32Add),
    set(to, get(to), i32Const(stepBytes), i32Add),
    set(steps, get(steps), i32Const(1), i32Sub),
    get(steps),
  );
  return { name: 'chacha', parameters: 3, locals: ['i32', ...range(20).map(() => 'v128' as const)], body: repeatWhile(step) };
}

/** `poly(key, from, blocks, tag)`: the authenticator of at least one whole block of 16 bytes under the one-time key of 32 bytes. */
function poly(): WasmFunction {
  const [key, from, blocks, tag] = [0, 1, 2, 3] as const;
  const h = (i: number): number => 4 + i;
  const r = (i: number): number => 9 + i;
  /** 5 × r, for what wraps around 2^130 − 5. */
  const s = (i: number): number => 14 + i;
  const d = (i: number): number => 19 + i;
  const g = (i: number): number => 24 + i;
  const carry = 29;
  const limb = 0x3ffffffn;

  /** Limb `i` of the 16 bytes at an address: bits 26i to 26i + 25. */
  const load = (at: number, i: number): Code =>
    seq(get(at), memory(i64Load32, i === 0 ? 0 : 3 * i), i64Const(BigInt(2 * i)), i64ShiftRight, i64Const(limb), i64And);
  const clamp = [0x3ffffffn, 0x3ffff03n, 0x3ffc0ffn, 0x3f03fffn, 0x00fffffn] as const;
  /** Takes what is above 26 bits from one number and adds it, times `factor`, to another. */
  const carryOver = (source: number, kept: number, target: number, factor: bigint): Code =>
    seq(
      set(carry, get(source), i64Const(26n), i64ShiftRight),
      set(kept, get(source), i64Const(limb), i64And),
      set(target, get(target), get(carry), factor === 1n ? [] : seq(i64Const(factor), i64Mul), i64Add),
    );
  const product = (i: number): Code =>
    seq(...range(5).map((j) => seq(get(h(j)), get(j <= i ? r(i - j) : s(5 + i - j)), i64Mul, j === 0 ? [] : i64Add)));
  const block = seq(
    ...range(4).map((i) => set(h(i), get(h(i)), load(from, i), i64Add)),
    set(h(4), get(h(4)), load(from, 4), i64Add, i64Const(1n << 24n), i64Add),
    ...range(5).map((i) => set(d(i), product(i))),
    ...range(4).map((i) => carryOver(d(i), h(i), d(i + 1), 1n)),
    carryOver(d(4), h(4), h(0), 5n),
    carryOver(h(0), h(0), h(1), 1n),
    set(from, get(from), i32Const(16), i32Add),
    set(blocks, get(blocks), i32Const(1), i32Sub),
    get(blocks),
  );
  // h − p, which is what counts where it is not negative; `carry` is then 0, else all ones.
  const reduce = seq(
    ...range(3).map((i) => carryOver(h(i + 1), h(i + 1), h(i + 2), 1n)),
    carryOver(h(4), h(4), h(0), 5n),
    carryOver(h(0), h(0), h(1), 1n),
    set(g(0), get(h(0)), i64Const(5n), i64Add),
    ...range(4).map((i) => seq(set(g(i + 1), get(h(i + 1))), carryOver(g(i), g(i), g(i + 1), 1n))),
    set(g(4), get(g(4)), i64Const(1n << 26n), i64Sub),
    set(carry, get(g(4)), i64Const(63n), i64ShiftRightSigned),
    ...range(5).map((i) => set(h(i), get(h(i)), get(carry), i64And, get(g(i)), get(carry), i64Const(-1n), i64Xor, i64And, i64Or)),
  );
  const shifted = (i: number, bits: bigint): Code =>
    bits >= 0n ? seq(get(h(i)), i64Const(bits), i64ShiftLeft) : seq(get(h(i)), i64Const(-bits), i64ShiftRight);
  const finish = seq(
    set(d(0), shifted(0, 0n), shifted(1, 26n), i64Or, shifted(2, 52n), i64Or),
    set(d(1), shifted(2, -12n), shifted(3, 14n), i64Or, shifted(4, 40n), i64Or),
    set(d(2), get(d(0)), get(key), memory(i64Load, 16), i64Add),
    set(d(1), get(d(1)), get(key), memory(i64Load, 24), i64Add, get(d(2)), get(d(0)), i64LessUnsigned, i64FromU32, i64Add),
    get(tag),
    get(d(2)),
    memory(i64Store, 0),
    get(tag),
    get(d(1)),
    memory(i64Store, 8),
  );
  const body = seq(
    ...range(5).map((i) => set(r(i), load(key, i), i64Const(clamp[i] ?? 0n), i64And)),
    ...range(5).map((i) => set(s(i), get(r(i)), i64Const(5n), i64Mul)),
    repeatWhile(block),
    reduce,
    finish,
  );
  return { name: 'poly', parameters: 4, locals: range(26).map(() => 'i64' as const), body };
}

/** The module with both functions and so many pages of memory. */
export function chachaPolyModule(pages: number): Uint8Array<ArrayBuffer> {
  return encodeModule([chacha(), poly()], pages);
}
