// Dynamic updates of DNS (RFC 2136) signed by a shared key (TSIG, RFC 8945), as far as one TXT record needs them. The digest comes in from outside.
const classInternet = 1;
const classAny = 255;
const classNone = 254;
const typeSoa = 6;
const typeTxt = 16;
const typeTsig = 250;
const opcodeUpdate = 5 << 11;
/** Seconds by which the clocks may differ (RFC 8945 §10 recommends 300). */
const fudgeSeconds = 300;

export interface TsigKey {
  readonly name: string;
  /** Such as `hmac-sha256`. */
  readonly algorithm: string;
  /** The keyed digest of that algorithm. */
  readonly sign: (bytes: Uint8Array) => Uint8Array;
}

export interface TxtChange {
  readonly zone: string;
  readonly name: string;
  /** At most 255 bytes. */
  readonly value: string;
  readonly action: 'add' | 'remove';
  readonly ttlSeconds: number;
}

/** The message, and its digest, which the answer is signed over too. Undefined where a name is too long. `now` in seconds. */
export function encodeDnsUpdate(
  id: number,
  change: TxtChange,
  key: TsigKey,
  now: number,
): { readonly message: Uint8Array; readonly mac: Uint8Array } | undefined {
  const [zone, name, keyName, algorithm] = [change.zone, change.name, key.name, key.algorithm].map(encodeName);
  if (zone === undefined || name === undefined || keyName === undefined || algorithm === undefined) return undefined;
  const text = Buffer.from(change.value, 'latin1');
  const add = change.action === 'add';
  const record = Buffer.concat([
    name,
    u16(typeTxt),
    u16(add ? classInternet : classNone),
    u32(add ? change.ttlSeconds : 0),
    u16(text.length + 1),
    Uint8Array.from([text.length]),
    text,
  ]);
  const body = Buffer.concat([zone, u16(typeSoa), u16(classInternet), record]);
  const mac = key.sign(Buffer.concat([header(id, 0), body, variables(keyName, algorithm, now, 0)]));
  const data = Buffer.concat([algorithm, u48(now), u16(fudgeSeconds), u16(mac.length), mac, u16(id), u16(0), u16(0)]);
  const tsig = Buffer.concat([keyName, u16(typeTsig), u16(classAny), u32(0), u16(data.length), data]);
  return { message: Buffer.concat([header(id, 1), body, tsig]), mac };
}

export type UpdateAnswer =
  | { readonly kind: 'answered'; readonly rcode: number }
  /** Not an answer to this message, or not signed by the same key within the time allowed. */
  | { readonly kind: 'untrusted'; readonly why: string };

/** Checks an answer to an update and its signature; a server that does not know the key may answer unsigned, with a refusal only. */
export function readUpdateAnswer(bytes: Uint8Array, id: number, requestMac: Uint8Array, key: TsigKey, now: number): UpdateAnswer {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.length < 12 || view.readUInt16BE(0) !== id || (view.readUInt16BE(2) & 0x8000) === 0)
    return { kind: 'untrusted', why: 'no answer to our update' };
  const rcode = view.readUInt16BE(2) & 0xf;
  const last = lastRecord(view);
  if (last === undefined) return { kind: 'untrusted', why: 'the answer is malformed' };
  if (last.type !== typeTsig) return rcode === 0 ? { kind: 'untrusted', why: 'the answer is not signed' } : { kind: 'answered', rcode };
  const { data } = last;
  const algorithmEnd = nameEnd(data, 0);
  if (algorithmEnd === undefined || data.length < algorithmEnd + 16) return { kind: 'untrusted', why: 'the signature is malformed' };
  const signedAt = data.readUIntBE(algorithmEnd, 6);
  const macLength = data.readUInt16BE(algorithmEnd + 8);
  const mac = data.subarray(algorithmEnd + 10, algorithmEnd + 10 + macLength);
  const error = data.length >= algorithmEnd + 14 + macLength ? data.readUInt16BE(algorithmEnd + 12 + macLength) : 0;
  // BADSIG and BADKEY come unsigned (RFC 8945 §5.3.2).
  if (macLength === 0)
    return rcode === 0 ? { kind: 'untrusted', why: 'the answer is not signed' } : { kind: 'answered', rcode: error === 0 ? rcode : error };
  const unsigned = Buffer.from(view.subarray(0, last.at));
  unsigned.writeUInt16BE(view.readUInt16BE(10) - 1, 10);
  const [keyName, algorithm] = [encodeName(key.name), encodeName(key.algorithm)];
  if (keyName === undefined || algorithm === undefined) return { kind: 'untrusted', why: 'the key has no usable name' };
  const other = data.subarray(algorithmEnd + 14 + macLength);
  const expected = key.sign(
    Buffer.concat([
      u16(requestMac.length),
      requestMac,
      unsigned,
      variables(keyName, algorithm, signedAt, error, data.readUInt16BE(algorithmEnd + 6), other),
    ]),
  );
  if (!same(expected, mac)) return { kind: 'untrusted', why: 'the answer is signed by another key' };
  if (Math.abs(signedAt - now) > fudgeSeconds) return { kind: 'untrusted', why: 'the clocks differ by more than five minutes' };
  return { kind: 'answered', rcode: error === 0 ? rcode : error };
}

/** What is signed beside the message (RFC 8945 §4.3.3). */
function variables(
  keyName: Uint8Array,
  algorithm: Uint8Array,
  now: number,
  error: number,
  fudge = fudgeSeconds,
  other: Uint8Array = new Uint8Array(2),
): Buffer {
  return Buffer.concat([keyName, u16(classAny), u32(0), algorithm, u48(now), u16(fudge), u16(error), other]);
}

/** An update has one zone and one change, and with the signature one record more. */
function header(id: number, additional: number): Buffer {
  return Buffer.concat([u16(id), u16(opcodeUpdate), u16(1), u16(0), u16(1), u16(additional)]);
}

/** Lower case, uncompressed; undefined where it is no name. */
function encodeName(name: string): Buffer | undefined {
  const labels = name.toLowerCase().replace(/\.$/, '').split('.');
  const parts: Buffer[] = [];
  for (const label of labels) {
    const bytes = Buffer.from(label, 'latin1');
    if (bytes.length === 0 || bytes.length > 63) return undefined;
    parts.push(Buffer.from([bytes.length]), bytes);
  }
  const encoded = Buffer.concat([...parts, Buffer.from([0])]);
  return encoded.length > 255 ? undefined : encoded;
}

/** The last record of a message, which is where a signature stands. */
function lastRecord(view: Buffer): { readonly at: number; readonly type: number; readonly data: Buffer } | undefined {
  let at = 12;
  for (let i = 0; i < view.readUInt16BE(4); i++) {
    const end = nameEnd(view, at);
    if (end === undefined) return undefined;
    at = end + 4;
  }
  const count = view.readUInt16BE(6) + view.readUInt16BE(8) + view.readUInt16BE(10);
  let last: { at: number; type: number; data: Buffer } = { at, type: 0, data: Buffer.alloc(0) };
  for (let i = 0; i < count; i++) {
    const end = nameEnd(view, at);
    if (end === undefined || end + 10 > view.length) return undefined;
    const length = view.readUInt16BE(end + 8);
    if (end + 10 + length > view.length) return undefined;
    last = { at, type: view.readUInt16BE(end), data: view.subarray(end + 10, end + 10 + length) };
    at = end + 10 + length;
  }
  return at === view.length ? last : undefined;
}

/** Where a name ends; a pointer ends it. */
function nameEnd(view: Buffer, from: number): number | undefined {
  let at = from;
  while (at < view.length) {
    const length = view[at] ?? 0;
    if (length >= 0xc0) return at + 2 <= view.length ? at + 2 : undefined;
    if (length === 0) return at + 1;
    at += length + 1;
  }
  return undefined;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return difference === 0;
}

function u16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function u48(value: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(value, 0, 6);
  return bytes;
}
