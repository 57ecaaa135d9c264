// HTTP/2 at the level of frames (RFC 9113): a client that can say what a library would not let it say. The tests of hostile frames use it too.
import type { TLSSocket } from 'node:tls';

export const DATA = 0;
export const HEADERS = 1;
export const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;

export const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(type: number, flags: number, stream: number, payload: Uint8Array | string = ''): Buffer {
  const body = typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload;
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream >>> 0, 5);
  return Buffer.concat([head, body]);
}

export function uint32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value >>> 0);
  return out;
}

/** SETTINGS parameters (RFC 9113 §6.5.1). */
export function settings(...pairs: readonly (readonly [number, number])[]): Buffer {
  return Buffer.concat(pairs.map(([id, value]) => Buffer.concat([Buffer.from([id >> 8, id & 0xff]), uint32(value)])));
}

/** An HPACK integer with the bits above its prefix (RFC 7541 §5.1). */
function integer(value: number, prefix: number, high: number): Buffer {
  const most = 2 ** prefix - 1;
  if (value < most) return Buffer.from([high | value]);
  const bytes = [high | most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push(128 | (rest % 128));
  return Buffer.from([...bytes, rest]);
}

/** One field as a literal without indexing and without Huffman coding (RFC 7541 §6.2.2): any bytes go. */
export function literal(name: string, value: string): Buffer {
  return Buffer.concat([
    Buffer.from([0]),
    integer(name.length, 7, 0),
    Buffer.from(name, 'latin1'),
    integer(value.length, 7, 0),
    Buffer.from(value, 'latin1'),
  ]);
}

export type Field = readonly [name: string, value: string];

export function block(fields: readonly Field[]): Buffer {
  return Buffer.concat(fields.map(([name, value]) => literal(name, value)));
}

export function request(method = 'GET', path = '/', authority = 'a.test'): Field[] {
  return [
    [':method', method],
    [':scheme', 'https'],
    [':path', path],
    [':authority', authority],
  ];
}

const staticStatuses = ['200', '204', '206', '304', '400', '404', '500'];
const digits: readonly (readonly [code: string, digit: string])[] = [
  ['00000', '0'],
  ['00001', '1'],
  ['00010', '2'],
  ['011001', '3'],
  ['011010', '4'],
  ['011011', '5'],
  ['011100', '6'],
  ['011101', '7'],
  ['011110', '8'],
  ['011111', '9'],
];

/** The status of a header block, which names it first; 0 where it cannot be read. The dynamic table must be off. */
function statusOf(bytes: Buffer): number {
  let at = 0;
  // A size update of the dynamic table (RFC 7541 §6.3) may come first.
  while (((bytes[at] ?? 0) & 0xe0) === 0x20) {
    const long = ((bytes[at] ?? 0) & 0x1f) === 0x1f;
    at++;
    if (long) while ((bytes[at++] ?? 0) >= 128);
  }
  const first = bytes[at] ?? 0;
  if (first >= 0x88 && first <= 0x8e) return Number(staticStatuses[first - 0x88]);
  const named = (first & 0xc0) === 0x40 ? first & 0x3f : first & 0x0f;
  if (first >= 0x80 || named < 8 || named > 14) return 0;
  const length = bytes[at + 1] ?? 0;
  const value = bytes.subarray(at + 2, at + 2 + (length & 0x7f));
  if (length < 128) return Number(value.toString('latin1'));
  let bits = [...value].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  let text = '';
  for (let next = digits.find(([code]) => bits.startsWith(code)); next !== undefined && text.length < 3;) {
    text += next[1];
    bits = bits.slice(next[0].length);
    next = digits.find(([code]) => bits.startsWith(code));
  }
  return Number(text);
}

/** How a stream ended. */
export interface StreamEnd {
  /** 0 without an answer. */
  readonly status: number;
  readonly body: string;
  /** The code of RST_STREAM, undefined where the stream ended by END_STREAM. */
  readonly reset: number | undefined;
  /** The connection ended before the stream did. */
  readonly closed: boolean;
}

export class RawH2 {
  readonly socket: TLSSocket;
  readonly frames: Frame[] = [];
  closed = false;
  /** Whether SETTINGS and PING of the other side are acknowledged. */
  polite = true;
  nextStream = 1;
  #rest: Buffer = Buffer.alloc(0);
  #wake: (() => void)[] = [];

  constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', () => undefined);
    socket.once('close', () => {
      this.closed = true;
      this.#notify();
    });
  }

  /** Says preface and SETTINGS: no dynamic table, so that answers can be read; a large window; no push. */
  hello(...more: readonly (readonly [number, number])[]): this {
    this.send(preface, frame(SETTINGS, 0, 0, settings([1, 0], [2, 0], [4, 0x7fffffff], ...more)), frame(WINDOW_UPDATE, 0, 0, uint32(0x3fff0000)));
    return this;
  }

  send(...parts: readonly Uint8Array[]): void {
    if (!this.closed && this.socket.writable) this.socket.write(Buffer.concat(parts));
  }

  /** Opens a stream with a header block in one HEADERS frame and whatever follows; returns its number. */
  open(fields: readonly Field[], body?: string | Uint8Array): number {
    const stream = this.nextStream;
    this.nextStream += 2;
    const head = frame(HEADERS, END_HEADERS | (body === undefined ? END_STREAM : 0), stream, block(fields));
    this.send(head, body === undefined ? Buffer.alloc(0) : frame(DATA, END_STREAM, stream, body));
    return stream;
  }

  /** Waits until a frame fits, the connection ends, or the time is over: the last two give undefined. */
  async waitFor(fits: (frame: Frame) => boolean, ms = 5_000): Promise<Frame | undefined> {
    const until = performance.now() + ms;
    for (let at = 0; ;) {
      for (; at < this.frames.length; at++) {
        const got = this.frames[at];
        if (got !== undefined && fits(got)) return got;
      }
      if (this.closed || !(await this.#more(until))) return undefined;
    }
  }

  /** Waits for the end of a stream, or of the connection. Rejects after the time. */
  async ended(stream: number, ms = 10_000): Promise<StreamEnd> {
    const last = await this.waitFor(
      ({ type, flags, stream: on }) => on === stream && (type === RST_STREAM || ((type === DATA || type === HEADERS) && (flags & END_STREAM) !== 0)),
      ms,
    );
    if (last === undefined && !this.closed) throw new Error(`stream ${stream} hangs`);
    let body = '';
    for (const { type, stream: on, payload } of this.frames) if (on === stream && type === DATA) body += payload.toString('latin1');
    return {
      status: this.statusOn(stream),
      body,
      reset: last?.type === RST_STREAM ? last.payload.readUInt32BE(0) : undefined,
      closed: last === undefined,
    };
  }

  /** The status that a stream was answered with so far; 0 for none. */
  statusOn(stream: number): number {
    return Math.max(0, ...this.frames.filter(({ type, stream: on }) => type === HEADERS && on === stream).map(({ payload }) => statusOf(payload)));
  }

  /** The code of GOAWAY, -1 where the connection ended without one; undefined while it is open after the time. */
  async goaway(ms = 5_000): Promise<number | undefined> {
    const got = await this.waitFor(({ type }) => type === GOAWAY, ms);
    return got?.payload.readUInt32BE(4) ?? (this.closed ? -1 : undefined);
  }

  /** Whether the connection still answers: a PING comes back. */
  async alive(): Promise<boolean> {
    const mark = Buffer.alloc(8);
    mark.writeDoubleBE(performance.now());
    this.send(frame(PING, 0, 0, mark));
    return (await this.waitFor(({ type, flags, payload }) => type === PING && (flags & ACK) !== 0 && payload.equals(mark))) !== undefined;
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Forgets frames already looked at, for connections that carry many. */
  forget(): void {
    const goaway = this.frames.filter(({ type }) => type === GOAWAY);
    this.frames.splice(0, this.frames.length, ...goaway);
  }

  async #more(until: number): Promise<boolean> {
    const left = until - performance.now();
    if (left <= 0) return false;
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), left);
      this.#wake.push(() => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }

  #notify(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }

  #read(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (bytes.length >= 9) {
      const length = bytes.readUIntBE(0, 3);
      if (bytes.length < 9 + length) break;
      const got = {
        type: bytes[3] ?? 0,
        flags: bytes[4] ?? 0,
        stream: bytes.readUInt32BE(5) & 0x7fffffff,
        payload: Buffer.from(bytes.subarray(9, 9 + length)),
      };
      bytes = bytes.subarray(9 + length);
      this.frames.push(got);
      if (this.polite && got.type === SETTINGS && (got.flags & ACK) === 0) this.send(frame(SETTINGS, ACK, 0));
      if (this.polite && got.type === PING && (got.flags & ACK) === 0) this.send(frame(PING, ACK, 0, got.payload));
    }
    this.#rest = Buffer.from(bytes);
    this.#notify();
  }
}
