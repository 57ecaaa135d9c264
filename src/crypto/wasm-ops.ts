// The WebAssembly instructions that the cipher is made of, by name, and the few forms in which its code uses them.
import { type Code, get, i32Const, i64Const, memory, seq, set, simd } from './wasm-encoder.ts';

export const i32 = {
  load: [0x28],
  store: [0x36],
  equalsZero: [0x45],
  less: [0x48],
  atLeast: [0x4f],
  add: [0x6a],
  sub: [0x6b],
  and: [0x71],
  xor: [0x73],
  shiftRight: [0x76],
  rotateRight: [0x78],
} as const satisfies Record<string, Code>;

export const i64 = {
  load: [0x29],
  load32: [0x35],
  store: [0x37],
  equalsZero: [0x50],
  less: [0x54],
  add: [0x7c],
  sub: [0x7d],
  mul: [0x7e],
  and: [0x83],
  or: [0x84],
  xor: [0x85],
  shiftLeft: [0x86],
  shiftRightSigned: [0x87],
  shiftRight: [0x88],
  from32: [0xad],
} as const satisfies Record<string, Code>;

export const v128 = {
  load: simd(0),
  load32Splat: simd(9),
  store: simd(11),
  swizzle: simd(14),
  splat32: simd(17),
  or: simd(80),
  xor: simd(81),
  shiftLeft: simd(171),
  shiftRight: simd(173),
  add32: simd(174),
} as const satisfies Record<string, Code>;

export const range = (count: number): readonly number[] => Array.from({ length: count }, (_, i) => i);

/** Puts the i32 on the stack into a lane of the vector below it. */
export function replaceLane32(lane: number): Code {
  return seq(simd(28), [lane]);
}

/** A constant vector of sixteen bytes. */
export function bytes(values: readonly number[]): Code {
  return seq(simd(12), values);
}

/** A constant vector of four words below 256. */
export function words(values: readonly number[]): Code {
  return bytes(values.flatMap((value) => [value, 0, 0, 0]));
}

/** The 32-bit lanes of two vectors in another order; 0 to 3 are the first one's. */
export function shuffleLanes(lanes: readonly number[]): Code {
  return seq(
    simd(13),
    lanes.flatMap((lane) => range(4).map((i) => 4 * lane + i)),
  );
}

/** Adds to an i32 local. */
export function step(local: number, by: number): Code {
  return set(local, get(local), i32Const(by), i32.add);
}

/** Copies the value of one local to another. */
export function copy(from: number, to: number): Code {
  return set(to, get(from));
}

/** Pushes the difference of two i32 locals. */
export function difference(a: number, b: number): Code {
  return seq(get(a), get(b), i32.sub);
}

/** Loads 8 bytes at a local's address plus `offset`. */
export function load64(at: number, offset: number): Code {
  return seq(get(at), memory(i64.load, offset));
}

/** Masks the i64 on the stack. */
export function mask(bits: bigint): Code {
  return seq(i64Const(bits), i64.and);
}
