// Encodes small WebAssembly modules: one memory, functions of integers without results. An instruction sequence is a list of bytes, so
// loops in TypeScript unroll code, and its functions are macros. Only what crypto/ needs (WebAssembly core specification, §5).

/** Magic number and version. */
const header = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];

/** Encoded instructions. */
export type Code = readonly number[];

export const valueTypes = { i32: 0x7f, i64: 0x7e, v128: 0x7b } as const;

export type ValueType = keyof typeof valueTypes;

export interface WasmFunction {
  readonly name: string;
  /** How many i32 parameters; they are the first locals. */
  readonly parameters: number;
  /** Whether it leaves an i32. */
  readonly result?: boolean;
  /** Types of the locals behind the parameters, in order. */
  readonly locals: readonly ValueType[];
  readonly body: Code;
}

/** Joins sequences. */
export function seq(...parts: readonly Code[]): Code {
  return parts.flat();
}

/** Pushes a local. */
export function get(local: number): Code {
  return [0x20, ...unsigned(local)];
}

/** Computes `value` and keeps it in a local. */
export function set(local: number, ...value: readonly Code[]): Code {
  return seq(...value, [0x21, ...unsigned(local)]);
}

export function i32Const(value: number): Code {
  return [0x41, ...signed(BigInt(value))];
}

export function i64Const(value: bigint): Code {
  return [0x42, ...signed(value)];
}

/** A SIMD instruction without an immediate. */
export function simd(op: number): Code {
  return [0xfd, ...unsigned(op)];
}

/** A memory instruction at the address on the stack plus `offset`; unaligned addresses are allowed. */
export function memory(op: Code, offset: number): Code {
  return [...op, 0, ...unsigned(offset)];
}

/** Runs `body` where the i32 that `condition` leaves is not 0, else `otherwise`. */
export function when(condition: Code, body: Code, otherwise: Code = []): Code {
  return seq(condition, [0x04, 0x40], body, otherwise.length > 0 ? [0x05] : [], otherwise, [0x0b]);
}

/** Copies within the memory: target, source and length are on the stack. */
export const copyMemory: Code = [0xfc, 0x0a, 0x00, 0x00];

/** Repeats `body` as long as the i32 that it leaves is not 0. */
export function repeatWhile(body: Code): Code {
  return seq([0x03, 0x40], body, [0x0d, 0x00, 0x0b]);
}

/** The module; its memory of `pages` times 64 KiB is exported as `memory`, each function by its name. */
export function encodeModule(functions: readonly WasmFunction[], pages: number): Uint8Array<ArrayBuffer> {
  const types = functions.map(({ parameters, result }) => [
    0x60,
    ...vector(Array.from({ length: parameters }, () => [valueTypes.i32])),
    ...vector(result === true ? [[valueTypes.i32]] : []),
  ]);
  const exported = functions.map(({ name }, index) => [...text(name), 0x00, ...unsigned(index)]);
  const bodies = functions.map(({ locals, body }) => {
    const code = [...vector(locals.map((type) => [0x01, valueTypes[type]])), ...body, 0x0b];
    return [...unsigned(code.length), ...code];
  });
  return Uint8Array.from([
    ...header,
    ...section(1, types),
    ...section(
      3,
      functions.map((_, index) => unsigned(index)),
    ),
    ...section(5, [[0x01, ...unsigned(pages), ...unsigned(pages)]]),
    ...section(7, [[...text('memory'), 0x02, 0x00], ...exported]),
    ...section(10, bodies),
  ]);
}

function section(id: number, items: readonly Code[]): Code {
  const content = vector(items);
  return [id, ...unsigned(content.length), ...content];
}

function vector(items: readonly Code[]): Code {
  return [...unsigned(items.length), ...items.flat()];
}

function text(name: string): Code {
  return [...unsigned(name.length), ...Buffer.from(name, 'latin1')];
}

/** LEB128. */
function unsigned(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    out.push((rest & 0x7f) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  out.push(rest);
  return out;
}

/** Signed LEB128. */
function signed(value: bigint): number[] {
  const out: number[] = [];
  let rest = value;
  for (;;) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    if ((rest === 0n && low < 0x40) || (rest === -1n && low >= 0x40)) {
      out.push(low);
      return out;
    }
    out.push(low | 0x80);
  }
}
