// ChaCha20-Poly1305 in WebAssembly behind the interface of aead.ts. node:crypto makes a cipher object for each message, which costs more
// than the cipher itself where messages are packets; here a message costs two calls.
import { type AeadKey, type AeadProvider, nodeAead } from './aead.ts';
import { chachaPolyModule, stateAt, stepBytes } from './chacha20-poly1305-wasm.ts';
import { keyBytes, tagBytes, wasmMessageBytes } from './constants.ts';

// Node has it; the types that go with Node do not say so.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: WasmExports };
};

interface WasmExports {
  readonly memory: { readonly buffer: ArrayBuffer };
  chacha(from: number, to: number, steps: number): void;
  poly(key: number, from: number, blocks: number, tag: number): void;
}

/** Key stream block 0 is for the authenticator, so the message stands behind its place. */
const prefix = 64;
/** Room for the prefix, a message, the block of lengths, and what the last step handles beyond. */
const area = Math.ceil((prefix + wasmMessageBytes + 2 * tagBytes) / stepBytes) * stepBytes;
const inputAt = stepBytes;
const outputAt = inputAt + area;
const tagAt = stateAt + 64;
const pageBytes = 65_536;
/** "expand 32-byte k" */
const constants = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;

interface Engine extends WasmExports {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

let engine: Engine | undefined | 'unavailable';

/** One for all keys of the process: nothing of a message is left to the next but what the next overwrites. */
function loadEngine(): Engine | undefined {
  if (engine === undefined) {
    try {
      const module = new WebAssembly.Module(chachaPolyModule(Math.ceil((outputAt + area) / pageBytes)));
      const { memory, chacha, poly } = new WebAssembly.Instance(module).exports;
      const view = new DataView(memory.buffer);
      for (const [i, word] of constants.entries()) view.setUint32(stateAt + 4 * i, word, true);
      engine = { memory, chacha, poly, bytes: new Uint8Array(memory.buffer), view };
    } catch {
      engine = 'unavailable'; // a processor without vectors, or Node started without a compiler
    }
  }
  return engine === 'unavailable' ? undefined : engine;
}

/** The faster provider for packets: WebAssembly, or node:crypto where this process cannot have it. */
export const packetAead: AeadProvider = (key) => {
  const fallback = nodeAead(key);
  const loaded = loadEngine();
  return loaded === undefined ? fallback : new WasmAeadKey(loaded, key, fallback);
};

class WasmAeadKey implements AeadKey {
  readonly #engine: Engine;
  readonly #key: Uint8Array;
  /** For associated data and long messages, which packets do not have. */
  readonly #fallback: AeadKey;
  #used = false;

  constructor(loaded: Engine, key: Uint8Array, fallback: AeadKey) {
    this.#engine = loaded;
    this.#key = Uint8Array.from(key);
    this.#fallback = fallback;
  }

  seal(counter: number, associated: Uint8Array, source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
    const length = end - start;
    if (associated.length > 0 || length > wasmMessageBytes) return this.#fallback.seal(counter, associated, source, start, end, target, at);
    const { bytes } = this.#engine;
    bytes.set(source.subarray(start, end), inputAt + prefix);
    this.#crypt(counter, length);
    const message = outputAt + prefix;
    this.#authenticate(message, length, message + length);
    target.set(bytes.subarray(message, message + length + tagBytes), at);
    return length + tagBytes;
  }

  open(counter: number, associated: Uint8Array, source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
    const length = end - tagBytes - start;
    if (length < 0) return -1;
    if (associated.length > 0 || length > wasmMessageBytes) return this.#fallback.open(counter, associated, source, start, end, target, at);
    const { bytes } = this.#engine;
    bytes.set(source.subarray(start, start + length), inputAt + prefix);
    this.#crypt(counter, length);
    this.#authenticate(inputAt + prefix, length, tagAt);
    let difference = 0;
    for (let i = 0; i < tagBytes; i++) difference |= (bytes[tagAt + i] as number) ^ (source[start + length + i] as number);
    if (difference !== 0) return -1;
    target.set(bytes.subarray(outputAt + prefix, outputAt + prefix + length), at);
    return length;
  }

  destroy(): void {
    this.#key.fill(0);
    this.#fallback.destroy();
    if (!this.#used) return;
    const { bytes } = this.#engine;
    bytes.fill(0, stateAt + 16, stateAt + 16 + keyBytes);
    bytes.fill(0, inputAt);
  }

  /** From the input to the output: the authenticator's key, then the message. */
  #crypt(counter: number, length: number): void {
    this.#used = true;
    const { bytes, view } = this.#engine;
    bytes.set(this.#key, stateAt + 16);
    view.setUint32(stateAt + 48, 0, true);
    view.setUint32(stateAt + 52, 0, true);
    view.setUint32(stateAt + 56, counter % 0x1_0000_0000, true);
    view.setUint32(stateAt + 60, Math.floor(counter / 0x1_0000_0000), true);
    this.#engine.chacha(inputAt, outputAt, Math.ceil((prefix + length) / stepBytes));
  }

  /** Writes the tag of the ciphertext at `at` (RFC 8439 §2.8): padded with zeros, and followed by the lengths. */
  #authenticate(at: number, length: number, tag: number): void {
    const { bytes, view } = this.#engine;
    const lengths = at + Math.ceil(length / tagBytes) * tagBytes;
    bytes.fill(0, at + length, lengths + tagBytes);
    view.setUint32(lengths + 8, length, true);
    this.#engine.poly(outputAt, at, (lengths + tagBytes - at) / tagBytes, tag);
  }
}
