// ChaCha20-Poly1305 of the OpenSSL inside the Node binary, called through node:ffi: an accelerator for processors on which OpenSSL's own
// code is ahead of ours. One context is kept for each key and direction; a message costs three or four calls.
//
// This is the only file of crypto/ that hands addresses to foreign code. OpenSSL reads and writes nothing but the blocks below, which this
// file made, keeps alive and never resizes: each call's place in them was checked (`checkRange`) before its address was computed.
import { loadFfi } from '#lib/ffi.ts';
import { type AeadKey, type AeadProvider, checkRange, nodeAead } from './aead.ts';
import { blockBytes, keyBytes, tagBytes, wasmMessageBytes } from './constants.ts';
import { cryptoError } from './errors.ts';

interface Evp {
  EVP_CIPHER_fetch(library: bigint, algorithm: bigint, properties: bigint): bigint;
  EVP_CIPHER_CTX_new(): bigint;
  EVP_CIPHER_CTX_free(context: bigint): void;
  EVP_CipherInit_ex2(context: bigint, cipher: bigint, key: bigint, nonce: bigint, encrypt: number, parameters: bigint): number;
  EVP_CipherUpdate(context: bigint, out: bigint, outLength: bigint, bytes: bigint, length: number): number;
  EVP_CipherFinal_ex(context: bigint, out: bigint, outLength: bigint): number;
  EVP_CIPHER_CTX_get_params(context: bigint, parameters: bigint): number;
}

const signatures = {
  EVP_CIPHER_fetch: { arguments: ['pointer', 'pointer', 'pointer'], return: 'pointer' },
  EVP_CIPHER_CTX_new: { arguments: [], return: 'pointer' },
  EVP_CIPHER_CTX_free: { arguments: ['pointer'], return: 'void' },
  EVP_CipherInit_ex2: { arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'int32', 'pointer'], return: 'int32' },
  EVP_CipherUpdate: { arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'int32'], return: 'int32' },
  EVP_CipherFinal_ex: { arguments: ['pointer', 'pointer', 'pointer'], return: 'int32' },
  EVP_CIPHER_CTX_get_params: { arguments: ['pointer', 'pointer'], return: 'int32' },
} as const;

// The control block: what OpenSSL is handed besides messages. Offsets are multiples of 16.
const control = { nonce: 0, tag: 16, key: 32, outLength: 64, parameters: 80, tagName: 176, algorithm: 192, end: 224 } as const;
/** Bytes of one OSSL_PARAM: name, type, data, size, size returned; an array ends with one of zeros. */
const parameterBytes = 40;
const octetString = 5;
const [unchanged, sealing, opening] = [-1, 1, 0] as const;
const nowhere = 0n;
const { copy } = Buffer.prototype;

/** The library and the cipher, once for the process. */
interface Loaded {
  readonly evp: Evp;
  readonly addressOf: (block: ArrayBuffer) => bigint;
  readonly cipher: bigint;
  /** Read by OpenSSL, so it has to live. */
  readonly name: ArrayBuffer;
}

let loaded: Loaded | undefined | 'unavailable';

/** Contexts of keys that were dropped without `destroy`. */
let forgotten: FinalizationRegistry<bigint> | undefined;

function load(): Loaded | undefined {
  if (loaded === undefined) {
    try {
      loaded = open();
    } catch {
      loaded = 'unavailable'; // no node:ffi, not permitted, or a Node that shows no OpenSSL
    }
  }
  return loaded === 'unavailable' ? undefined : loaded;
}

function open(): Loaded | 'unavailable' {
  const ffi = loadFfi();
  // OpenSSL's structures and the sizes of its numbers, as they are where pointers have 64 bits; the order of bytes is ours
  if (ffi === undefined || !['x64', 'arm64'].includes(process.arch) || process.platform === 'win32') return 'unavailable';
  // Node's own library only: a second one in the same process would meet the names of the first
  const evp: Evp = ffi.dlopen(null, signatures).functions;
  const addressOf = (block: ArrayBuffer): bigint => ffi.getRawPointer(block);
  const name = new ArrayBuffer(control.end);
  Buffer.from(name).write('ChaCha20-Poly1305\0', 'latin1');
  const cipher = evp.EVP_CIPHER_fetch(nowhere, addressOf(name), nowhere);
  if (cipher === nowhere) return 'unavailable';
  forgotten = new FinalizationRegistry((context) => evp.EVP_CIPHER_CTX_free(context));
  return { evp, addressOf, cipher, name };
}

/** A provider with memory of its own, to be used by one device; undefined where this process has no OpenSSL to call. */
export function opensslAead(): AeadProvider | undefined {
  const library = load();
  if (library === undefined) return undefined;
  const engine = new Engine(library);
  return Object.assign((key: Uint8Array): AeadKey => new OpensslKey(engine, key), {
    cipher: 'openssl',
    alloc: (bytes: number) => engine.alloc(bytes),
  });
}

/** The memory that one device's messages stand in, and the calls on it. */
class Engine {
  readonly library: Loaded;
  readonly block = new ArrayBuffer(blockBytes);
  readonly bytes = new Uint8Array(this.block);
  readonly #base: bigint;
  readonly #controlBlock = new ArrayBuffer(control.end);
  readonly #control = Buffer.from(this.#controlBlock);
  readonly #controlAt: bigint;
  /** Addresses within the control block. */
  readonly #nonce: bigint;
  readonly #tag: bigint;
  readonly #outLength: bigint;
  readonly #parameters: bigint;
  #free = wasmMessageBytes + tagBytes;

  constructor(library: Loaded) {
    this.library = library;
    this.#base = library.addressOf(this.block);
    this.#controlAt = library.addressOf(this.#controlBlock);
    this.#nonce = this.#controlAt + BigInt(control.nonce);
    this.#tag = this.#controlAt + BigInt(control.tag);
    this.#outLength = this.#controlAt + BigInt(control.outLength);
    this.#parameters = this.#controlAt + BigInt(control.parameters);
    const { parameters } = control;
    this.#control.write('tag\0', control.tagName, 'latin1');
    this.#control.writeBigUInt64LE(this.#controlAt + BigInt(control.tagName), parameters);
    this.#control.writeUInt32LE(octetString, parameters + 8);
    this.#control.writeBigUInt64LE(this.#tag, parameters + 16);
    this.#control.writeBigUInt64LE(BigInt(tagBytes), parameters + 24);
    this.#control.fill(0, parameters + parameterBytes, control.tagName);
  }

  /** Memory of this engine; plain memory once it is used up. */
  alloc(bytes: number): Uint8Array {
    const at = Math.ceil(this.#free / 64) * 64;
    if (at + bytes > this.bytes.length) return new Uint8Array(bytes);
    this.#free = at + bytes;
    return this.bytes.subarray(at, at + bytes);
  }

  /** A context for one key and one direction. */
  makeContext(key: Uint8Array, direction: 0 | 1): bigint {
    const { evp, cipher } = this.library;
    const context = evp.EVP_CIPHER_CTX_new();
    this.#control.set(key, control.key);
    const made =
      context !== nowhere && evp.EVP_CipherInit_ex2(context, cipher, this.#controlAt + BigInt(control.key), this.#nonce, direction, nowhere) === 1;
    this.#control.fill(0, control.key, control.key + keyBytes);
    if (!made) throw cryptoError('CRYPTO_BAD_KEY', 'no context');
    return context;
  }

  /** Seals `length` bytes at `at` of the block; the tag goes behind them. Both were checked to be within the block. */
  seal(context: bigint, counter: number, at: number, length: number): void {
    const { evp } = this.library;
    this.#count(counter);
    const message = this.#base + BigInt(at);
    const done =
      evp.EVP_CipherInit_ex2(context, nowhere, nowhere, this.#nonce, unchanged, nowhere) === 1 &&
      (length === 0 || evp.EVP_CipherUpdate(context, message, this.#outLength, message, length) === 1) &&
      evp.EVP_CipherFinal_ex(context, this.#tag, this.#outLength) === 1 &&
      evp.EVP_CIPHER_CTX_get_params(context, this.#parameters) === 1;
    if (!done) throw cryptoError('CRYPTO_BAD_KEY', 'a context failed');
    this.bytes.set(this.#control.subarray(control.tag, control.tag + tagBytes), at + length);
  }

  /** Opens `length` bytes at `at` of the block, with the tag behind them; whether it was right. Both were checked to be within the block. */
  open(context: bigint, counter: number, at: number, length: number): boolean {
    const { evp } = this.library;
    this.#count(counter);
    copy.call(this.bytes, this.#control, control.tag, at + length, at + length + tagBytes);
    const message = this.#base + BigInt(at);
    return (
      evp.EVP_CipherInit_ex2(context, nowhere, nowhere, this.#nonce, unchanged, this.#parameters) === 1 &&
      (length === 0 || evp.EVP_CipherUpdate(context, message, this.#outLength, message, length) === 1) &&
      evp.EVP_CipherFinal_ex(context, this.#tag, this.#outLength) === 1
    );
  }

  #count(counter: number): void {
    this.#control.writeUInt32LE(counter % 0x1_0000_0000, control.nonce + 4);
    this.#control.writeUInt32LE(Math.floor(counter / 0x1_0000_0000), control.nonce + 8);
  }
}

class OpensslKey implements AeadKey {
  readonly #engine: Engine;
  readonly #key: Uint8Array;
  #sealing = nowhere;
  #opening = nowhere;
  /** For associated data and long messages, which packets do not have. */
  #fallback: AeadKey | undefined;
  #destroyed = false;

  constructor(engine: Engine, key: Uint8Array) {
    if (key.length !== keyBytes) throw cryptoError('CRYPTO_BAD_KEY', `AEAD key of ${key.length} bytes`);
    this.#engine = engine;
    this.#key = Uint8Array.from(key);
  }

  seal(counter: number, associated: Uint8Array, source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
    const length = end - start;
    if (associated.length > 0 || length > wasmMessageBytes) return this.#other().seal(counter, associated, source, start, end, target, at);
    checkRange(source, start, end, target, at, length + tagBytes);
    const engine = this.#engine;
    const inside = target.buffer === engine.block;
    const place = inside ? target.byteOffset + at : 0;
    if (this.#sealing === nowhere) this.#sealing = this.#context(sealing);
    if (source.buffer !== engine.block || source.byteOffset + start !== place) copy.call(source, engine.bytes, place, start, end);
    engine.seal(this.#sealing, counter, place, length);
    if (!inside) copy.call(engine.bytes, target, at, place, place + length + tagBytes);
    return length + tagBytes;
  }

  open(counter: number, associated: Uint8Array, source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
    const length = end - tagBytes - start;
    if (length < 0) return -1;
    if (associated.length > 0 || length > wasmMessageBytes) return this.#other().open(counter, associated, source, start, end, target, at);
    checkRange(source, start, end, target, at, length);
    const engine = this.#engine;
    const sameBytes = source.buffer === target.buffer && source.byteOffset + start === target.byteOffset + at;
    const inside = target.buffer === engine.block && (sameBytes || at + length + tagBytes <= target.length);
    const place = inside ? target.byteOffset + at : 0;
    if (this.#opening === nowhere) this.#opening = this.#context(opening);
    if (!inside || !sameBytes) copy.call(source, engine.bytes, place, start, end);
    if (!engine.open(this.#opening, counter, place, length)) return -1;
    if (!inside) copy.call(engine.bytes, target, at, place, place + length);
    return length;
  }

  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#key.fill(0);
    this.#fallback?.destroy();
    forgotten?.unregister(this);
    for (const context of [this.#sealing, this.#opening]) {
      if (context !== nowhere) this.#engine.library.evp.EVP_CIPHER_CTX_free(context);
    }
    this.#sealing = nowhere;
    this.#opening = nowhere;
  }

  /** A freed context must never be used, whatever the caller does. */
  #context(direction: 0 | 1): bigint {
    if (this.#destroyed) throw cryptoError('CRYPTO_BAD_KEY', 'a key that was destroyed');
    const context = this.#engine.makeContext(this.#key, direction);
    forgotten?.register(this, context, this);
    return context;
  }

  #other(): AeadKey {
    this.#fallback ??= nodeAead(this.#key);
    return this.#fallback;
  }
}
