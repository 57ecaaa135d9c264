// Rendezvous hashing (highest random weight, Thaler and Ravishankar 1998): every visitor has an order of targets of its own, so that a
// changed list of targets moves only the visitors whose first choice came or went.

/** 64 bits as two halves; of no cryptographic worth. */
export interface Hash {
  readonly a: number;
  readonly b: number;
}

export function hashText(text: string): Hash {
  let a = 0x81_1c_9d_c5;
  let b = 0x9e_37_79_b9;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 0x01_00_01_93);
    b = Math.imul(b ^ code, 0x5b_d1_e9_95) ^ (b >>> 15);
  }
  return { a: mix(a), b: mix(b) };
}

/** How much the visitor wants the target: the larger the weight, the more visitors want it most. */
export function affinity(visitor: Hash, target: Hash, weight: number): number {
  const bits = mix(mix(visitor.a ^ target.a) ^ visitor.b ^ target.b);
  return weight / -Math.log(((bits >>> 0) + 0.5) / 0x1_00_00_00_00);
}

/** The last step of MurmurHash3: every bit of the input changes half of the output's. */
function mix(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85_eb_ca_6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2_b2_ae_35);
  return h ^ (h >>> 16);
}
