// The first message of a TLS connection (RFC 8446 §4.1.2), read without answering it: which host is asked for, and which protocols are offered.

/** Bytes of records that a ClientHello may take, headers included; post-quantum key shares take about 2 KB. */
export const CLIENT_HELLO_BYTES = 65_536;

const RECORD_HEADER = 5;
const RECORD_HANDSHAKE = 22;
const CLIENT_HELLO = 1;
/** 2^14: the largest plaintext record (RFC 8446 §5.1). */
const RECORD_BYTES = 16_384;
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
  #record: Buffer = Buffer.alloc(0);
  #parts: Buffer[] = [];
  #length = 0;
  #taken = 0;

  push(chunk: Buffer): HelloResult {
    this.#taken += chunk.length;
    let bytes = this.#record.length === 0 ? chunk : Buffer.concat([this.#record, chunk]);
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
    const hello = parseBody(all.subarray(4, 4 + size));
    return hello === undefined ? bad('malformed') : { kind: 'hello', hello };
  }
}

/** Walks the message's vectors; every length is checked against what is left. */
class Cursor {
  readonly #bytes: Buffer;
  #at = 0;
  ok = true;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  skip(count: number): void {
    this.take(count);
  }

  number(width: 1 | 2): number {
    const bytes = this.take(width);
    return bytes.length === width ? bytes.readUIntBE(0, width) : 0;
  }

  vector(width: 1 | 2): Buffer {
    return this.take(this.number(width));
  }

  take(count: number): Buffer {
    if (!this.ok || count > this.left) {
      this.ok = false;
      return Buffer.alloc(0);
    }
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
}

function parseBody(body: Buffer): ClientHello | undefined {
  const cursor = new Cursor(body);
  cursor.skip(2 + 32); // legacy version, random
  cursor.vector(1); // legacy session id
  cursor.vector(2); // cipher suites
  cursor.vector(1); // compression methods
  let serverName: string | undefined;
  let alpn: readonly string[] = [];
  const seen = new Set<number>();
  if (cursor.ok && cursor.left > 0) {
    const extensions = new Cursor(cursor.vector(2));
    while (cursor.ok && extensions.left > 0) {
      const type = extensions.number(2);
      const data = extensions.vector(2);
      if (!extensions.ok || seen.has(type)) return undefined;
      seen.add(type);
      if (type === EXTENSION_SNI) {
        serverName = parseServerName(data);
        if (serverName === undefined) return undefined;
      } else if (type === EXTENSION_ALPN) {
        const names = parseAlpn(data);
        if (names === undefined) return undefined;
        alpn = names;
      }
    }
  }
  return cursor.ok && cursor.left === 0 ? { serverName, alpn } : undefined;
}

/** RFC 6066 §3: exactly one name of type host_name. */
function parseServerName(data: Buffer): string | undefined {
  const outer = new Cursor(data);
  const list = new Cursor(outer.vector(2));
  const type = list.number(1);
  const name = list.vector(2).toString('latin1');
  if (!outer.ok || outer.left !== 0 || !list.ok || list.left !== 0 || type !== 0) return undefined;
  const canonical = name.toLowerCase().replace(/\.$/, '');
  return /^[a-z0-9_](?:[a-z0-9_.-]{0,253}[a-z0-9_])?$/.test(canonical) && !canonical.includes('..') ? canonical : undefined;
}

function parseAlpn(data: Buffer): string[] | undefined {
  const outer = new Cursor(data);
  const list = new Cursor(outer.vector(2));
  const names: string[] = [];
  while (list.ok && list.left > 0) names.push(list.vector(1).toString('latin1'));
  return outer.ok && outer.left === 0 && list.ok && names.length > 0 && !names.includes('') ? names : undefined;
}

function bad(reason: HelloFault): HelloResult {
  return { kind: 'bad', reason };
}
