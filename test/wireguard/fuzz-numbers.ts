// Numbers for fuzzing: repeatable, and fast enough for millions.

/** Numbers from 0 to below `bound`. */
export type Numbers = (bound: number) => number;

export function numbersFrom(seed: number): Numbers {
  let state = seed;
  return (bound) => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) % bound;
  };
}

export function someBytes(random: Numbers, target: Uint8Array): void {
  for (let i = 0; i < target.length; i++) target[i] = random(256);
}
