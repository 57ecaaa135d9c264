// The first message of a TLS connection (RFC 8446 §4.1.2), read without answering it: which host is asked for, and which protocols are offered.

/** Bytes of records that a ClientHello may take, headers included; post-quantum key shares take about 2 KB. */
export const CLIENT_HELLO_BYTES = 65_536;

const RECORD_HEADER = 5;
const RECORD_HANDSHAKE = 22;
const CLIENT_HELLO = 1;
/** 2^14: the largest plaintext record (RFC 8446 §5.1). */
const RECORD_BYTES = 16_384;
/** Extensions of one hello; clients send about twenty. */
const EXTENSIONS = 128;
const EXTENSION_SNI = 0;
const EXTENSION_ALPN = 16;

export interface ClientHello {
  /** Lower case without a trailing dot; undefined where the client names no host. */
  readonly serverName: string | undefined;
  /** Protocols in the client's order (RFC 7301); empty for none. */
  readonly alpn: readonly string[];
}

export type HelloResult =
  | { readonly kind: 'more' }
  | { readonly kind: 'hello'; readonly hello: ClientHello }
  | { readonly kind: 'bad'; readonly reason: HelloFault };
export type HelloFault = 'not_tls' | 'malformed' | 'too_large';

const more: HelloResult = { kind: 'more' };

/** Reads a ClientHello from chunks, over any number of records. Holds at most `CLIENT_HELLO_BYTES`. */
export class ClientHelloReader {
  /** Bytes that do not form a whole record yet. */
  #record: Buffer | undefined;
  #parts: Buffer[] = [];
  #length = 0;
  #taken = 0;

  push(chunk: Buffer): HelloResult {
    if (this.#taken === 0) {
      const whole = parseWhole(chunk);
      if (whole !== undefined) return whole;
    }
    this.#taken += chunk.length;
    let bytes = this.#record === undefined ? chunk : Buffer.concat([this.#record, chunk]);
    for (;;) {
      if (bytes.length > 0 && bytes[0] !== RECORD_HANDSHAKE) return bad('not_tls');
      if (bytes.length > 1 && bytes[1] !== 3) return bad('not_tls');
      if (bytes.length < RECORD_HEADER) break;
      const length = bytes.readUInt16BE(3);
      if (length === 0 || length > RECORD_BYTES) return bad('malformed');
      if (bytes.length < RECORD_HEADER + length) break;
      this.#parts.push(bytes.subarray(RECORD_HEADER, RECORD_HEADER + length));
      this.#length += length;
      bytes = bytes.subarray(RECORD_HEADER + length);
      const result = this.#message();
      if (result !== undefined) return result;
    }
    if (this.#taken > CLIENT_HELLO_BYTES) return bad('too_large');
    this.#record = bytes;
    return more;
  }

  /** The result where the handshake message is complete or wrong. */
  #message(): HelloResult | undefined {
    const first = this.#parts[0];
    if (first !== undefined && first[0] !== CLIENT_HELLO) return bad('not_tls');
    if (this.#length < 4) return undefined;
    const all = this.#parts.length === 1 && first !== undefined ? first : Buffer.concat(this.#parts);
    this.#parts = [all];
    const size = all.readUIntBE(1, 3);
    if (size + 4 > CLIENT_HELLO_BYTES) return bad('too_large');
    if (all.length < 4 + size) return undefined;
    return result(parseBody(all, 4, 4 + size));
  }
}

/** Nearly all hellos are one record that comes at once, and are read in place; undefined for others, and for what is wrong with records. */
function parseWhole(chunk: Buffer): HelloResult | undefined {
  if (chunk.length < RECORD_HEADER + 4 || chunk[0] !== RECORD_HANDSHAKE || chunk[1] !== 3 || chunk[RECORD_HEADER] !== CLIENT_HELLO) return undefined;
  const record = chunk.readUInt16BE(3);
  const size = chunk.readUIntBE(RECORD_HEADER + 1, 3);
  const start = RECORD_HEADER + 4;
  if (record > RECORD_BYTES || size + 4 > record || chunk.length < RECORD_HEADER + record) return undefined;
  return result(parseBody(chunk, start, start + size));
}

function result(hello: ClientHello | undefined): HelloResult {
  return hello === undefined ? bad('malformed') : { kind: 'hello', hello };
}

/** Walks the message's vectors from `at` to `end`; every length is checked against what is left. */
class Cursor {
  readonly bytes: Buffer;
  at: number;
  readonly end: number;
  ok = true;

  constructor(bytes: Buffer, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  get left(): number {
    return this.end - this.at;
  }

  /** Goes on by `count`; false, and not `ok` from then on, where that is more than there is. */
  skip(count: number): boolean {
    if (count > this.end - this.at) this.ok = false;
    else if (this.ok) this.at += count;
    return this.ok;
  }

  number(width: 1 | 2): number {
    const start = this.at;
    if (!this.skip(width)) return 0;
    return width === 1 ? (this.bytes[start] ?? 0) : ((this.bytes[start] ?? 0) << 8) | (this.bytes[start + 1] ?? 0);
  }

  /** Skips a vector with its length before it; where it begins is `at` less what is returned. */
  vector(width: 1 | 2): number {
    const length = this.number(width);
    return this.skip(length) ? length : 0;
  }

  /** A cursor over the next vector, which is skipped. */
  inner(width: 1 | 2): Cursor {
    return this.last(this.vector(width));
  }

  /** A cursor over the bytes that were skipped last. */
  last(length: number): Cursor {
    const inner = new Cursor(this.bytes, this.at - length, this.at);
    inner.ok = this.ok;
    return inner;
  }

  text(width: 1 | 2): string {
    const length = this.vector(width);
    return this.bytes.toString('latin1', this.at - length, this.at);
  }
}

function parseBody(bytes: Buffer, start: number, end: number): ClientHello | undefined {
  const cursor = new Cursor(bytes, start, end);
  cursor.skip(2 + 32); // legacy version, random
  cursor.vector(1); // legacy session id
  cursor.vector(2); // cipher suites
  cursor.vector(1); // compression methods
  let serverName: string | undefined;
  let alpn: readonly string[] = [];
  if (cursor.ok && cursor.left > 0) {
    const seen: number[] = [];
    const extensions = cursor.inner(2);
    while (cursor.ok && extensions.left > 0) {
      const type = extensions.number(2);
      const length = extensions.vector(2);
      if (!extensions.ok || seen.includes(type) || seen.push(type) > EXTENSIONS) return undefined;
      if (type === EXTENSION_SNI) {
        serverName = parseServerName(extensions.last(length));
        if (serverName === undefined) return undefined;
      } else if (type === EXTENSION_ALPN) {
        const names = parseAlpn(extensions.last(length));
        if (names === undefined) return undefined;
        alpn = names;
      }
    }
  }
  return cursor.ok && cursor.left === 0 ? { serverName, alpn } : undefined;
}

/** RFC 6066 §3: exactly one name of type host_name. */
function parseServerName(outer: Cursor): string | undefined {
  const list = outer.inner(2);
  const type = list.number(1);
  const name = list.text(2);
  if (!outer.ok || outer.left !== 0 || !list.ok || list.left !== 0 || type !== 0) return undefined;
  const canonical = name.toLowerCase().replace(/\.$/, '');
  return /^[a-z0-9_](?:[a-z0-9_.-]{0,253}[a-z0-9_])?$/.test(canonical) && !canonical.includes('..') ? canonical : undefined;
}

function parseAlpn(outer: Cursor): string[] | undefined {
  const list = outer.inner(2);
  const names: string[] = [];
  while (list.ok && list.left > 0) names.push(list.text(1));
  return outer.ok && outer.left === 0 && list.ok && names.length > 0 && !names.includes('') ? names : undefined;
}

function bad(reason: HelloFault): HelloResult {
  return { kind: 'bad', reason };
}
