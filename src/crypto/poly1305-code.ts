// Poly1305 (RFC 8439 §2.5) as WebAssembly code: numbers in five limbs of 26 bits. Two blocks are taken at once, h ← (h + a)·r² + b·r, so
// that carries are handled once for both and half of the products wait for nothing. No branch and no address depends on secret bytes.
import { type Code, get, i64Const, memory, seq, set } from './wasm-encoder.ts';
import { i64, load64, mask, range } from './wasm-ops.ts';

const limb = 0x3ffffffn;
const clamp = [0x3ffffffn, 0x3ffff03n, 0x3ffc0ffn, 0x3f03fffn, 0x00fffffn] as const;

/** The code, for locals of i64 from `first` on. */
export interface PolyCode {
  /** Takes the one-time key at an address: sets h to 0. */
  readonly begin: (key: number) => Code;
  /** Takes the two blocks at an address, in pieces between which other work can stand. */
  readonly pair: (at: number) => readonly Code[];
  /** Takes the block at an address. */
  readonly block: (at: number) => Code;
  /** Leaves the two halves of the tag in the locals `low` and `high`. */
  readonly finish: Code;
  readonly low: number;
  readonly high: number;
}

export const polyLocals = 38;

export function polyCode(first: number): PolyCode {
  const h = (i: number): number => first + i;
  const r = (i: number): number => first + 5 + i;
  /** 5 × r, for what wraps around 2^130 − 5. */
  const s = (i: number): number => first + 10 + i;
  /** r², and 5 × r². */
  const r2 = (i: number): number => first + 15 + i;
  const s2 = (i: number): number => first + 20 + i;
  const d = (i: number): number => first + 25 + i;
  const m = (i: number): number => first + 30 + i;
  const carry = first + 35;
  const [padLow, padHigh] = [first + 36, first + 37];

  /** Limb `i` of the 16 bytes at an address: bits 26i to 26i + 25. */
  const load = (at: number, offset: number, i: number): Code => {
    const word = seq(get(at), memory(i64.load32, offset + 3 * i));
    return i === 0 ? seq(word, mask(limb)) : seq(word, i64Const(BigInt(2 * i)), i64.shiftRight, i === 4 ? [] : mask(limb));
  };
  /** The bit behind a whole block. */
  const mark = (i: number): Code => (i === 4 ? seq(i64Const(1n << 24n), i64.add) : []);
  const times = (a: (i: number) => number, b: (i: number) => number, fives: (i: number) => number, i: number): Code =>
    seq(...range(5).map((j) => seq(get(a(j)), get(j <= i ? b(i - j) : fives(5 + i - j)), i64.mul, j === 0 ? [] : i64.add)));
  /** Takes what is above 26 bits from one number and adds it, times `factor`, to another. */
  const carryOver = (source: number, kept: number, target: number, factor: bigint): Code =>
    seq(
      set(carry, get(source), i64Const(26n), i64.shiftRight),
      set(kept, get(source), mask(limb)),
      set(target, get(target), get(carry), factor === 1n ? [] : seq(i64Const(factor), i64.mul), i64.add),
    );
  const carries: readonly Code[] = [
    ...range(4).map((i) => carryOver(d(i), h(i), d(i + 1), 1n)),
    carryOver(d(4), h(4), h(0), 5n),
    carryOver(h(0), h(0), h(1), 1n),
  ];
  const fives = (from: (i: number) => number, to: (i: number) => number): Code =>
    seq(...range(4).map((i) => set(to(i + 1), get(from(i + 1)), i64Const(5n), i64.mul)));

  const begin = (key: number): Code =>
    seq(
      ...range(5).map((i) => set(r(i), load(key, 0, i), mask(clamp[i] ?? 0n))),
      fives(r, s),
      ...range(5).map((i) => set(d(i), times(r, r, s, i))),
      ...carries,
      ...range(5).map((i) => seq(set(r2(i), get(h(i))), set(h(i), i64Const(0n)))),
      fives(r2, s2),
      set(padLow, load64(key, 16)),
      set(padHigh, load64(key, 24)),
    );
  const pair = (at: number): readonly Code[] => [
    ...range(5).map((i) => set(m(i), load(at, 16, i), mark(i))),
    ...range(5).map((i) => set(d(i), times(m, r, s, i))),
    ...range(5).map((i) => set(h(i), get(h(i)), load(at, 0, i), mark(i), i64.add)),
    ...range(5).map((i) => set(d(i), get(d(i)), times(h, r2, s2, i), i64.add)),
    ...carries,
  ];
  const block = (at: number): Code =>
    seq(
      ...range(5).map((i) => set(h(i), get(h(i)), load(at, 0, i), mark(i), i64.add)),
      ...range(5).map((i) => set(d(i), times(h, r, s, i))),
      ...carries,
    );
  // h − p, which is what counts where it is not negative; `carry` is then 0, else all ones
  const reduce = seq(
    ...range(3).map((i) => carryOver(h(i + 1), h(i + 1), h(i + 2), 1n)),
    carryOver(h(4), h(4), h(0), 5n),
    carryOver(h(0), h(0), h(1), 1n),
    set(d(0), get(h(0)), i64Const(5n), i64.add),
    ...range(4).map((i) => seq(set(d(i + 1), get(h(i + 1))), carryOver(d(i), d(i), d(i + 1), 1n))),
    set(d(4), get(d(4)), i64Const(1n << 26n), i64.sub),
    set(carry, get(d(4)), i64Const(63n), i64.shiftRightSigned),
    ...range(5).map((i) => set(h(i), get(h(i)), get(carry), i64.and, get(d(i)), get(carry), i64Const(-1n), i64.xor, i64.and, i64.or)),
  );
  const shifted = (i: number, bits: bigint): Code =>
    bits >= 0n ? seq(get(h(i)), i64Const(bits), i64.shiftLeft) : seq(get(h(i)), i64Const(-bits), i64.shiftRight);
  const [low, high, sum] = [d(0), d(1), d(2)] as const;
  const finish = seq(
    reduce,
    set(sum, shifted(0, 0n), shifted(1, 26n), i64.or, shifted(2, 52n), i64.or),
    set(high, shifted(2, -12n), shifted(3, 14n), i64.or, shifted(4, 40n), i64.or),
    set(low, get(sum), get(padLow), i64.add),
    set(high, get(high), get(padHigh), i64.add, get(low), get(sum), i64.less, i64.from32, i64.add),
  );
  return { begin, pair, block, finish, low, high };
}
