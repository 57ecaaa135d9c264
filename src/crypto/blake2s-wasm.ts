// The compression function of BLAKE2s (RFC 7693 §3.2) as WebAssembly: ten rounds written out, sixteen words in locals.
import { type Code, encodeModule, get, i32Const, memory, seq, set } from './wasm-encoder.ts';
import { i32, range } from './wasm-ops.ts';

// Node has it; the types that go with Node do not say so.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => {
    readonly exports: { readonly memory: { readonly buffer: ArrayBuffer }; compress(low: number, high: number, last: number): void };
  };
};

/** Where the state's 8 words and the block's 64 bytes stand in the module's memory. */
const stateAt = 0;
const blockAt = 32;

/** Mixes a block into a state; `low` and `high` count the bytes so far, `last` is -1 for the last block, else 0. */
export type Compress = (state: Int32Array, block: Uint8Array, low: number, high: number, last: number) => void;

const [low, high, last] = [0, 1, 2] as const;
const v = (i: number): number => 3 + i;
const stateWord = (i: number): Code => seq(i32Const(0), memory(i32.load, stateAt + 4 * i));

/** The mixing function G (RFC 7693 §3.1). */
function mix(a: number, b: number, c: number, d: number, x: number, y: number): Code {
  const half = (word: number, first: number, second: number): Code =>
    seq(
      set(v(a), get(v(a)), get(v(b)), i32.add, i32Const(0), memory(i32.load, blockAt + 4 * word), i32.add),
      set(v(d), get(v(d)), get(v(a)), i32.xor, i32Const(first), i32.rotateRight),
      set(v(c), get(v(c)), get(v(d)), i32.add),
      set(v(b), get(v(b)), get(v(c)), i32.xor, i32Const(second), i32.rotateRight),
    );
  return seq(half(x, 16, 12), half(y, 8, 7));
}

function compressModule(initial: Uint32Array, sigma: Uint8Array): Uint8Array<ArrayBuffer> {
  const word = (i: number): Code => i32Const((initial[i] ?? 0) | 0);
  const round = (s: number): Code => {
    const m = (i: number): number => sigma[s + i] ?? 0;
    return seq(
      ...range(4).map((i) => mix(i, 4 + i, 8 + i, 12 + i, m(2 * i), m(2 * i + 1))),
      ...range(4).map((i) => mix(i, 4 + ((i + 1) & 3), 8 + ((i + 2) & 3), 12 + ((i + 3) & 3), m(8 + 2 * i), m(9 + 2 * i))),
    );
  };
  const body = seq(
    ...range(8).map((i) => seq(set(v(i), stateWord(i)), set(v(8 + i), word(i)))),
    ...[low, high, last].map((local, i) => set(v(12 + i), get(v(12 + i)), get(local), i32.xor)),
    ...range(10).map((i) => round(16 * i)),
    ...range(8).map((i) => seq(i32Const(0), stateWord(i), get(v(i)), i32.xor, get(v(8 + i)), i32.xor, memory(i32.store, stateAt + 4 * i))),
  );
  return encodeModule([{ name: 'compress', parameters: 3, locals: range(16).map(() => 'i32' as const), body }], 1);
}

/** The function with the standard's constants; undefined where this process cannot have WebAssembly. */
export function wasmCompress(initial: Uint32Array, sigma: Uint8Array): Compress | undefined {
  try {
    const { memory: own, compress } = new WebAssembly.Instance(new WebAssembly.Module(compressModule(initial, sigma))).exports;
    const words = new Int32Array(own.buffer, stateAt, 8);
    const bytes = new Uint8Array(own.buffer, blockAt, 64);
    return (state, block, countLow, countHigh, isLast) => {
      for (let i = 0; i < 8; i++) words[i] = state[i] as number;
      for (let i = 0; i < 64; i++) bytes[i] = block[i] as number;
      compress(countLow, countHigh, isLast);
      for (let i = 0; i < 8; i++) state[i] = words[i] as number;
      bytes.fill(0);
    };
  } catch {
    return undefined; // Node was started without a compiler
  }
}
