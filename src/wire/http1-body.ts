// Bodies of HTTP/1.1 messages: by length, chunked (RFC 9112 §7.1) or until the connection closes. Payload is handed on as slices, uncopied.
import { emptyFields, readFields, type Fields } from './http1-fields.ts';
import type { Framing, Http1Fault } from './http1-head.ts';
import { CHUNK_EXTENSION_BYTES, CHUNK_SIZE_DIGITS, TRAILER_BYTES, TRAILER_FIELDS } from './http1-limits.ts';

const SIZE = 0;
const EXTENSION = 1;
const SIZE_LF = 2;
const DATA = 3;
const DATA_CR = 4;
const DATA_LF = 5;
const TRAILER = 6;

// oxlint-disable-next-line no-control-regex -- controls are what this looks for
const forbiddenInTrailer = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|[^\r]\n|^\n/;

/** Reads one body. After `done`, the bytes that follow belong to the next message. */
export class BodyReader {
  readonly #kind: Framing['kind'];
  #state = SIZE;
  /** Bytes left of the body, or of the chunk. */
  #left = 0;
  #digits = 0;
  #extension = 0;
  #trailer = '';
  done = false;
  /** Why `read` returned -1. */
  fault: Http1Fault = 'chunk_malformed';
  /** The trailer section of a finished chunked body, where it had one. Never part of the header (RFC 9110 §6.5.1). */
  trailers: Fields | undefined;

  constructor(framing: Framing) {
    this.#kind = framing.kind;
    if (framing.kind === 'none') this.done = true;
    if (framing.kind === 'length') {
      this.#left = framing.length;
      this.done = framing.length === 0;
    }
  }

  /** Whether the end of the connection ends this body; otherwise it cuts it. */
  get endsAtClose(): boolean {
    return this.#kind === 'close';
  }

  /** Takes bytes of `chunk` from `start` and hands payload to `onData`. Returns the offset after what was this body's, or -1 for a fault. */
  read(chunk: Buffer, start: number, onData: (payload: Buffer) => void): number {
    if (this.#kind === 'length') return this.#readLength(chunk, start, onData);
    if (this.#kind === 'chunked') return this.#readChunked(chunk, start, onData);
    if (this.#kind === 'none') return start;
    if (start < chunk.length) onData(start === 0 ? chunk : chunk.subarray(start));
    return chunk.length;
  }

  #readLength(chunk: Buffer, start: number, onData: (payload: Buffer) => void): number {
    const end = Math.min(chunk.length, start + this.#left);
    if (end > start) {
      this.#left -= end - start;
      if (this.#left === 0) this.done = true;
      onData(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end));
    }
    return end;
  }

  #readChunked(chunk: Buffer, start: number, onData: (payload: Buffer) => void): number {
    let at = start;
    while (at < chunk.length && !this.done) {
      if (this.#state === DATA) {
        const end = Math.min(chunk.length, at + this.#left);
        this.#left -= end - at;
        if (this.#left === 0) this.#state = DATA_CR;
        onData(chunk.subarray(at, end));
        at = end;
      } else if (!this.#step(chunk[at++] ?? 0)) {
        return -1;
      }
    }
    return at;
  }

  /** One byte outside payload; false for a fault. */
  #step(byte: number): boolean {
    switch (this.#state) {
      case SIZE: {
        const digit = hexDigit(byte);
        if (digit >= 0) {
          this.#left = this.#left * 16 + digit;
          return ++this.#digits <= CHUNK_SIZE_DIGITS;
        }
        if (this.#digits === 0) return false;
        if (byte === 0x0d) this.#state = SIZE_LF;
        else if (byte === 0x3b) this.#state = EXTENSION;
        else return false;
        return true;
      }
      case EXTENSION:
        if (byte === 0x0d) this.#state = SIZE_LF;
        else if ((byte < 0x20 && byte !== 0x09) || byte === 0x7f) return false;
        return ++this.#extension <= CHUNK_EXTENSION_BYTES;
      case SIZE_LF:
        this.#digits = 0;
        this.#state = this.#left === 0 ? TRAILER : DATA;
        return byte === 0x0a;
      case DATA_CR:
        this.#state = DATA_LF;
        return byte === 0x0d;
      case DATA_LF:
        this.#state = SIZE;
        return byte === 0x0a;
      default:
        return this.#stepTrailer(byte);
    }
  }

  #stepTrailer(byte: number): boolean {
    this.fault = 'trailer_malformed';
    this.#trailer += String.fromCharCode(byte);
    if (this.#trailer === '\r\n') {
      this.done = true;
      return true;
    }
    if (byte === 0x0a && this.#trailer.endsWith('\r\n\r\n')) {
      const text = this.#trailer.slice(0, -2);
      const fields = emptyFields();
      if (forbiddenInTrailer.test(text) || readFields(text, 0, TRAILER_FIELDS, fields) !== undefined) return false;
      this.trailers = fields;
      this.done = true;
      return true;
    }
    return this.#trailer.length <= TRAILER_BYTES;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}
