// ChaCha20-Poly1305 in WebAssembly behind the interface of aead.ts: one call for a message, and no copy of it where it stands in memory
// that the provider gave. It is safe memory all the same: the code cannot leave its own 4 MiB.
import { type AeadKey, type AeadProvider, checkRange, nodeAead } from './aead.ts';
import { chachaPolyModule, freeAt, stateAt } from './chacha20-poly1305-wasm.ts';
import { keyBytes, tagBytes, wasmMemoryBytes, wasmMessageBytes } from './constants.ts';
import { cryptoError } from './errors.ts';

// Node has it; the types that go with Node do not say so.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: WasmExports };
};

interface WasmExports {
  readonly memory: { readonly buffer: ArrayBuffer };
  seal(at: number, length: number): void;
  open(at: number, length: number): number;
  sum(at: number, end: number): number;
}

const pageBytes = 65_536;
const cacheLine = 64;
/** "expand 32-byte k" */
const constants = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;
const keyWord = stateAt / 4 + 4;
const nonceWord = stateAt / 4 + 13;
/** Where messages from other memory are worked on. */
const scratchAt = freeAt;
const { copy } = Buffer.prototype;

/** Functions of one instance and views of its memory. */
class Engine {
  readonly buffer: ArrayBuffer;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly seal: WasmExports['seal'];
  readonly open: WasmExports['open'];
  readonly sum: WasmExports['sum'];
  #free = scratchAt + wasmMessageBytes + tagBytes + cacheLine;

  constructor(module: object) {
    const { memory, seal, open, sum } = new WebAssembly.Instance(module).exports;
    this.buffer = memory.buffer;
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.seal = seal;
    this.open = open;
    this.sum = sum;
    this.words.set(constants, stateAt / 4);
  }

  /** Memory of this instance; plain memory once it is used up. */
  alloc(bytes: number): Uint8Array {
    const at = Math.ceil(this.#free / cacheLine) * cacheLine;
    if (at + bytes > this.bytes.length) return new Uint8Array(bytes);
    this.#free = at + bytes;
    return this.bytes.subarray(at, at + bytes);
  }
}

let compiled: object | undefined | 'unavailable';

/** Compiled once; undefined on a processor without vectors, or where Node was started without a compiler. */
function loadModule(): object | undefined {
  if (compiled === undefined) {
    try {
      compiled = new WebAssembly.Module(chachaPolyModule(wasmMemoryBytes / pageBytes));
    } catch {
      compiled = 'unavailable';
    }
  }
  return compiled === 'unavailable' ? undefined : compiled;
}

/** A provider with memory of its own, to be used by one device; undefined where this process cannot have WebAssembly's vectors. */
export function wasmAead(): AeadProvider | undefined {
  const module = loadModule();
  if (module === undefined) return undefined;
  let engine: Engine | undefined;
  const load = (): Engine => (engine ??= new Engine(module));
  return Object.assign((key: Uint8Array): AeadKey => new WasmAeadKey(load(), key), {
    cipher: 'webassembly',
    alloc: (bytes: number) => load().alloc(bytes),
    sumBlocks: (bytes: Uint8Array, start: number, end: number) => {
      const { buffer, sum } = load();
      if (bytes.buffer !== buffer || !(start >= 0 && start <= end && end <= bytes.length && end - start <= wasmMessageBytes)) return -1;
      return sum(bytes.byteOffset + start, bytes.byteOffset + end);
    },
  });
}

/** The provider that needs nothing special, with memory of its own: WebAssembly, or node:crypto where this process cannot have it. */
export function packetAead(): AeadProvider {
  return wasmAead() ?? nodeAead;
}

class WasmAeadKey implements AeadKey {
  readonly #engine: Engine;
  /** Small enough to live on the heap, as a view of a buffer would not. */
  readonly #key = new Int32Array(keyBytes / 4);
  /** For associated data and long messages, which packets do not have. */
  #fallback: AeadKey | undefined;

  constructor(engine: Engine, key: Uint8Array) {
    if (key.length !== keyBytes) throw cryptoError('CRYPTO_BAD_KEY', `AEAD key of ${key.length} bytes`);
    this.#engine = engine;
    const words = this.#key;
    for (let i = 0; i < keyBytes; i++) words[i >> 2] = (words[i >> 2] as number) | ((key[i] as number) << (8 * (i & 3)));
  }

  seal(counter: number, associated: Uint8Array, source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
    const length = end - start;
    if (associated.length > 0 || length > wasmMessageBytes) return this.#other().seal(counter, associated, source, start, end, target, at);
    checkRange(source, start, end, target, at, length + tagBytes);
    const engine = this.#engine;
    const inside = target.buffer === engine.buffer;
    const place = inside ? target.byteOffset + at : scratchAt;
    if (source.buffer !== engine.buffer) copy.call(source, engine.bytes, place, start, end);
    else if (source.byteOffset + start !== place) engine.bytes.copyWithin(place, source.byteOffset + start, source.byteOffset + end);
    this.#prepare(counter);
    engine.seal(place, length);
    if (!inside) copy.call(engine.bytes, target, at, place, place + length + tagBytes);
    return length + tagBytes;
  }

  open(counter: number, associated: Uint8Array, source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
    const length = end - tagBytes - start;
    if (length < 0) return -1;
    if (associated.length > 0 || length > wasmMessageBytes) return this.#other().open(counter, associated, source, start, end, target, at);
    checkRange(source, start, end, target, at, length);
    const engine = this.#engine;
    // the tag comes along to where the message is worked on, so there has to be room for it
    const inside = target.buffer === engine.buffer && (at + length + tagBytes <= target.length || isAt(source, start, target, at));
    const place = inside ? target.byteOffset + at : scratchAt;
    if (source.buffer !== engine.buffer) copy.call(source, engine.bytes, place, start, end);
    else if (source.byteOffset + start !== place) engine.bytes.copyWithin(place, source.byteOffset + start, source.byteOffset + end);
    this.#prepare(counter);
    if (engine.open(place, length) === 0) return -1;
    if (!inside) copy.call(engine.bytes, target, at, place, place + length);
    return length;
  }

  destroy(): void {
    this.#key.fill(0);
    this.#fallback?.destroy();
    // what may be left of the last message: its key, its key stream, and its bytes if they came from elsewhere
    const { words, bytes } = this.#engine;
    words.fill(0, keyWord, keyWord + keyBytes / 4);
    bytes.fill(0, stateAt + 64, freeAt);
    bytes.fill(0, scratchAt, scratchAt + keyBytes);
  }

  #prepare(counter: number): void {
    const { words } = this.#engine;
    const key = this.#key;
    for (let i = 0; i < keyBytes / 4; i++) words[keyWord + i] = key[i] as number;
    words[nonceWord] = 0;
    words[nonceWord + 1] = counter % 0x1_0000_0000;
    words[nonceWord + 2] = Math.floor(counter / 0x1_0000_0000);
  }

  #other(): AeadKey {
    this.#fallback ??= nodeAead(new Uint8Array(this.#key.buffer));
    return this.#fallback;
  }
}

function isAt(source: Uint8Array, start: number, target: Uint8Array, at: number): boolean {
  return source.buffer === target.buffer && source.byteOffset + start === target.byteOffset + at;
}
