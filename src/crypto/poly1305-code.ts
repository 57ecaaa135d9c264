// Poly1305 (RFC 8439 §2.5) as WebAssembly code: numbers in four words of 32 bits and a small rest. That works without more limbs because the
// key r is clamped: its words are below 2^28, so that four products and their carries fit 64 bits, and but for the first they are multiples
// of 4, so that 2^128 · r, which is 5/4 · r modulo 2^130 − 5, is a whole number. No branch and no address depends on secret bytes.
import { type Code, get, i64Const, memory, seq, set } from './wasm-encoder.ts';
import { i64, load64, mask, range } from './wasm-ops.ts';

const word = 0xffff_ffffn;

/** The code, for locals of i64 from `first` on. */
export interface PolyCode {
  /** Takes the one-time key at an address: sets h to 0. */
  readonly begin: (key: number) => Code;
  /** Takes the block at an address plus `offset`, in pieces between which other work can stand. */
  readonly block: (at: number, offset: number) => readonly Code[];
  /** Leaves the two halves of the tag in the locals `low` and `high`. */
  readonly finish: Code;
  readonly low: number;
  readonly high: number;
}

export const polyLocals = 21;

export function polyCode(first: number): PolyCode {
  /** The number: h(0) may be a little above 32 bits between blocks, h(4) is the small rest. */
  const h = (i: number): number => first + i;
  const r = (i: number): number => first + 5 + i;
  /** 5/4 × r, for what wraps around 2^130 − 5. */
  const s = (i: number): number => first + 9 + i;
  const d = (i: number): number => first + 13 + i;
  const carry = first + 18;
  const [padLow, padHigh] = [first + 19, first + 20];

  const load = (at: number, offset: number): Code => seq(get(at), memory(i64.load32, offset));
  const begin = (key: number): Code =>
    seq(
      ...range(4).map((i) => set(r(i), load(key, 4 * i), mask(i === 0 ? 0x0fff_ffffn : 0x0fff_fffcn))),
      ...range(3).map((i) => set(s(i + 1), get(r(i + 1)), get(r(i + 1)), i64Const(2n), i64.shiftRight, i64.add)),
      ...range(5).map((i) => set(h(i), i64Const(0n))),
      set(padLow, load64(key, 16)),
      set(padHigh, load64(key, 24)),
    );
  /** Word `i` of h · r: words of r up to it, and what wraps. */
  const product = (i: number): Code =>
    seq(
      ...range(4).map((j) => seq(get(h(j)), get(j <= i ? r(i - j) : s(4 + i - j)), i64.mul, j === 0 ? [] : i64.add)),
      i === 0 ? [] : seq(get(h(4)), get(s(i)), i64.mul, i64.add),
    );
  /** Takes what is above 32 bits of one number to the next. */
  const carryOver = (from: number, kept: number, to: number): Code =>
    seq(set(to, get(to), get(from), i64Const(32n), i64.shiftRight, i64.add), set(kept, get(from), mask(word)));
  /** Takes what is above 130 bits back to the start, five times. */
  const wrap = (rest: number): Code =>
    seq(set(h(0), get(h(0)), get(rest), i64Const(2n), i64.shiftRight, i64Const(5n), i64.mul, i64.add), set(h(4), get(rest), mask(3n)));
  const block = (at: number, offset: number): readonly Code[] => [
    ...range(4).map((i) => set(h(i), get(h(i)), load(at, offset + 4 * i), i64.add)),
    set(h(4), get(h(4)), i64Const(1n), i64.add),
    ...range(4).map((i) => set(d(i), product(i))),
    set(d(4), get(h(4)), get(r(0)), i64.mul),
    ...range(4).map((i) => carryOver(d(i), h(i), d(i + 1))),
    wrap(d(4)),
  ];
  const settle = seq(...range(4).map((i) => carryOver(h(i), h(i), h(i + 1))));
  const pairOf = (x: (i: number) => number, i: number): Code => seq(get(x(i)), get(x(i + 1)), i64Const(32n), i64.shiftLeft, i64.or);
  const [low, high, less] = [d(0), d(1), d(2)] as const;
  const finish = seq(
    settle,
    wrap(h(4)),
    settle,
    // h + 5 reaches 2^130 where h is not below p = 2^130 − 5, and is then what counts; `carry` is all ones there, else 0
    set(d(0), get(h(0)), i64Const(5n), i64.add),
    ...range(4).map((i) => seq(set(d(i + 1), get(h(i + 1))), carryOver(d(i), d(i), d(i + 1)))),
    set(carry, i64Const(0n), get(d(4)), i64Const(2n), i64.shiftRight, i64.sub),
    ...range(4).map((i) => set(h(i), get(h(i)), get(carry), i64Const(-1n), i64.xor, i64.and, get(d(i)), get(carry), i64.and, i64.or)),
    set(less, pairOf(h, 0)),
    set(low, get(less), get(padLow), i64.add),
    set(high, pairOf(h, 2), get(padHigh), i64.add, get(low), get(less), i64.less, i64.from32, i64.add),
  );
  return { begin, block, finish, low, high };
}
