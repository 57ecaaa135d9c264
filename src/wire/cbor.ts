// CBOR (RFC 8949) as authenticators write it (CTAP2 canonical form): integers, byte and text strings, arrays, maps and simple values, all of
// definite length. Anything else is refused, so that no two readers can see different things.

export type CborKey = number | string;
export type CborValue = number | string | boolean | null | Uint8Array | readonly CborValue[] | ReadonlyMap<CborKey, CborValue>;

/** Arrays and maps within each other. */
const maxDepth = 4;

/** Entries of one array or map. */
const maxEntries = 64;

/** The first value of the bytes and where it ends, or undefined where it is not of this form. */
export function decodeCbor(bytes: Uint8Array, from = 0): { readonly value: CborValue; readonly end: number } | undefined {
  const reader = new Reader(bytes, from);
  const value = reader.value(0);
  return value === undefined ? undefined : { value, end: reader.at };
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  at: number;

  constructor(bytes: Uint8Array, from: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = from;
  }

  value(depth: number): CborValue | undefined {
    const first = this.#bytes[this.at];
    if (first === undefined || depth > maxDepth) return undefined;
    this.at++;
    const major = first >> 5;
    if (major === 7) return simple(first & 31);
    const argument = this.#argument(first & 31);
    if (argument === undefined) return undefined;
    switch (major) {
      case 0:
        return argument;
      case 1:
        return -1 - argument;
      case 2:
        return this.#take(argument);
      case 3:
        return this.#text(argument);
      case 4:
        return this.#array(argument, depth);
      case 5:
        return this.#map(argument, depth);
      default:
        return undefined; // tags
    }
  }

  /** In its shortest form only. */
  #argument(info: number): number | undefined {
    if (info < 24) return info;
    const size = { 24: 1, 25: 2, 26: 4 }[info];
    if (size === undefined || this.at + size > this.#bytes.length) return undefined;
    const at = this.at;
    this.at += size;
    const found = size === 1 ? this.#view.getUint8(at) : size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
    const least = size === 1 ? 24 : size === 2 ? 0x100 : 0x1_0000;
    return found < least ? undefined : found;
  }

  #take(length: number): Uint8Array | undefined {
    if (this.at + length > this.#bytes.length) return undefined;
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }

  #text(length: number): string | undefined {
    const bytes = this.#take(length);
    if (bytes === undefined) return undefined;
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      return undefined;
    }
  }

  #array(length: number, depth: number): readonly CborValue[] | undefined {
    if (length > maxEntries) return undefined;
    const values: CborValue[] = [];
    for (let i = 0; i < length; i++) {
      const value = this.value(depth + 1);
      if (value === undefined) return undefined;
      values.push(value);
    }
    return values;
  }

  #map(length: number, depth: number): ReadonlyMap<CborKey, CborValue> | undefined {
    if (length > maxEntries) return undefined;
    const entries = new Map<CborKey, CborValue>();
    for (let i = 0; i < length; i++) {
      const key = this.value(depth + 1);
      const value = this.value(depth + 1);
      if ((typeof key !== 'number' && typeof key !== 'string') || value === undefined || entries.has(key)) return undefined;
      entries.set(key, value);
    }
    return entries;
  }
}

function simple(info: number): CborValue | undefined {
  return info === 20 ? false : info === 21 ? true : info === 22 ? null : undefined;
}
