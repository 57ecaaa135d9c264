// ChaCha20's block function (RFC 8439 §2.3) for four blocks at a time, one in each lane of sixteen vectors, as WebAssembly code.
import { type Code, get, i32Const, memory, seq, set } from './wasm-encoder.ts';
import { bytes, range, replaceLane32, shuffleLanes, v128, words } from './wasm-ops.ts';

/** Bytes that four blocks make. */
export const stepBytes = 256;

/** The locals that the code works in. */
export interface ChaChaLocals {
  /** Local of word `i`. */
  readonly x: (i: number) => number;
  /** Four for the time between. */
  readonly t: (i: number) => number;
  /** Two that keep the orders of bytes by which a vector's words are rotated by 16 and by 8 bits. */
  readonly order: (bits: 8 | 16) => number;
  /** The i32 that counts blocks. */
  readonly counter: number;
}

/** The quarter round of four words of each lane (RFC 8439 §2.1), in pieces. */
function quarterRound({ x, order }: ChaChaLocals, a: number, b: number, c: number, d: number): readonly Code[] {
  const rotate = (local: number, bits: number): Code => {
    // whole bytes are moved by one instruction
    if (bits === 8 || bits === 16) return set(local, get(local), get(order(bits)), v128.swizzle);
    return set(local, get(local), i32Const(bits), v128.shiftLeft, get(local), i32Const(32 - bits), v128.shiftRight, v128.or);
  };
  const mix = (sum: number, one: number, other: number, bits: number): Code =>
    seq(set(sum, get(sum), get(one), v128.add32), set(other, get(other), get(sum), v128.xor), rotate(other, bits));
  return [mix(x(a), x(b), x(d), 16), mix(x(c), x(d), x(b), 12), mix(x(a), x(b), x(d), 8), mix(x(c), x(d), x(b), 7)];
}

/** One double round of four blocks as 32 pieces, so that other work can stand between them. */
export function doubleRound(locals: ChaChaLocals): readonly Code[] {
  return [
    ...range(4).flatMap((i) => quarterRound(locals, i, 4 + i, 8 + i, 12 + i)),
    ...range(4).flatMap((i) => quarterRound(locals, i, 4 + ((i + 1) & 3), 8 + ((i + 2) & 3), 12 + ((i + 3) & 3))),
  ];
}

/** To be run once before everything else: a constant made in the loop would be made anew each time. */
export function prepareOrders({ order }: ChaChaLocals): Code {
  const orderOf = (bits: number): Code => bytes(range(16).map((i) => (i & ~3) | ((i + 4 - bits / 8) & 3)));
  return seq(set(order(8), orderOf(8)), set(order(16), orderOf(16)));
}

/** Word `i` of the state in all lanes, from the 64 bytes at `stateAt`; the counter is one more in each lane. */
function initial(stateAt: number, { counter }: ChaChaLocals, i: number): Code {
  if (i === 12) return seq(get(counter), v128.splat32, words([0, 1, 2, 3]), v128.add32);
  return seq(i32Const(0), memory(v128.load32Splat, stateAt + 4 * i));
}

export function loadState(stateAt: number, locals: ChaChaLocals): Code {
  return seq(...range(16).map((i) => set(locals.x(i), initial(stateAt, locals, i))));
}

export function addState(stateAt: number, locals: ChaChaLocals): Code {
  return seq(...range(16).map((i) => set(locals.x(i), get(locals.x(i)), initial(stateAt, locals, i), v128.add32)));
}

/** Row `i` of one block's state, whose counter is the local's. */
function initialRow(stateAt: number, { counter }: ChaChaLocals, i: number): Code {
  const row = seq(i32Const(0), memory(v128.load, stateAt + 16 * i));
  return i < 3 ? row : seq(row, get(counter), replaceLane32(0));
}

/** The same for a single block, whose rows stand in x(0) to x(3); for the end of a message. */
export const single = {
  loadState: (stateAt: number, locals: ChaChaLocals): Code => seq(...range(4).map((i) => set(locals.x(i), initialRow(stateAt, locals, i)))),
  doubleRound: (locals: ChaChaLocals): readonly Code[] => {
    const turn = (i: number, by: number): Code =>
      set(locals.x(i), get(locals.x(i)), get(locals.x(i)), shuffleLanes(range(4).map((lane) => (lane + by) & 3)));
    const columns = quarterRound(locals, 0, 1, 2, 3);
    return [...columns, turn(1, 1), turn(2, 2), turn(3, 3), ...columns, turn(1, 3), turn(2, 2), turn(3, 1)];
  },
  addState: (stateAt: number, locals: ChaChaLocals): Code =>
    seq(...range(4).map((i) => set(locals.x(i), get(locals.x(i)), initialRow(stateAt, locals, i), v128.add32))),
  output: ({ x }: ChaChaLocals, at: number): Code => seq(...range(4).map((i) => seq(get(at), get(x(i)), memory(v128.store, 16 * i)))),
};

/** Stores the four blocks at the address in a local, XORed with what stands there or over it. */
export function output({ x, t }: ChaChaLocals, at: number, over: 'xor' | 'replace'): Code {
  const low = [0, 4, 1, 5];
  const high = [2, 6, 3, 7];
  const parts = range(4).map((g) => {
    // lane b of x(4g) to x(4g + 3) is bytes 16g to 16g + 15 of block b
    const [a, b, c, d] = [x(4 * g), x(4 * g + 1), x(4 * g + 2), x(4 * g + 3)] as const;
    const store = (block: number, first: number, second: number, lanes: readonly number[]): Code => {
      const offset = 64 * block + 16 * g;
      const before = over === 'xor' ? seq(get(at), memory(v128.load, offset), v128.xor) : [];
      return seq(get(at), get(first), get(second), shuffleLanes(lanes), before, memory(v128.store, offset));
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
  });
  return seq(...parts);
}
