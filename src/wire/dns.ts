// DNS messages (RFC 1035, EDNS of RFC 6891) as far as finding addresses needs them: one question; A, AAAA and CNAME answers; the SOA's word
// on how long a name may be held for unknown.
import { ipFromBytes, type IpAddress } from '#lib/ip.ts';

export const DNS_TYPE = { a: 1, cname: 5, soa: 6, ptr: 12, aaaa: 28, opt: 41 } as const;
export const DNS_RCODE = { ok: 0, formatError: 1, serverFailure: 2, unknownName: 3, notImplemented: 4, refused: 5 } as const;

/** What we can take in one UDP message: fits every path without fragments. */
const DNS_UDP_BYTES = 1232;
/** What anybody can take who says nothing of it. */
const plainUdpBytes = 512;
const headerBytes = 12;
const classInternet = 1;
/** Records of one message that are looked at. */
const maxRecords = 64;
const maxNameBytes = 255;

export interface DnsQuestion {
  /** Lower case, no final dot; the root is the empty text. */
  readonly name: string;
  readonly type: number;
}

export interface DnsRecordData {
  readonly name: string;
  readonly ttlSeconds: number;
  readonly data: { readonly kind: 'address'; readonly ip: IpAddress } | { readonly kind: 'cname'; readonly target: string };
}

export interface DnsMessage {
  readonly id: number;
  readonly response: boolean;
  readonly opcode: number;
  readonly truncated: boolean;
  readonly recursionDesired: boolean;
  readonly rcode: number;
  /** The first question of class IN; undefined where there is not exactly one. */
  readonly question: DnsQuestion | undefined;
  /** A, AAAA and CNAME records of the answer section, in order. */
  readonly answers: readonly DnsRecordData[];
  /** From the authority section: for how many seconds a name may be held for unknown. */
  readonly negativeTtlSeconds: number | undefined;
  /** The largest UDP message that the sender takes. */
  readonly udpBytes: number;
}

/** A recursive question for one name, with room for answers of DNS_UDP_BYTES; undefined where the name is too long. */
export function encodeDnsQuery(id: number, question: DnsQuestion): Uint8Array | undefined {
  const name = encodeName(question.name);
  if (name === undefined) return undefined;
  const opt = [0, 0, DNS_TYPE.opt, DNS_UDP_BYTES >> 8, DNS_UDP_BYTES & 0xff, 0, 0, 0, 0, 0, 0];
  return Uint8Array.from([...head(id, 0x0100, 1, 0, 1), ...name, ...u16(question.type), ...u16(classInternet), ...opt]);
}

/** The answer to a query. Records that do not fit what the sender takes are left out, and the message says so. All are of the question's name. */
export function encodeDnsAnswer(query: DnsMessage, rcode: number, addresses: readonly IpAddress[], ttlSeconds: number): Uint8Array {
  const { question } = query;
  const name = question === undefined ? undefined : encodeName(question.name);
  const asked = question === undefined || name === undefined ? [] : [...name, ...u16(question.type), ...u16(classInternet)];
  const recordBytes = (ip: IpAddress): number => 12 + ip.bytes.length;
  let room = Math.min(DNS_UDP_BYTES, Math.max(plainUdpBytes, query.udpBytes)) - headerBytes - asked.length;
  const fitting = asked.length === 0 ? [] : addresses.filter((ip) => (room -= recordBytes(ip)) >= 0);
  const truncated = fitting.length < addresses.length;
  const flags = 0x8080 | (truncated ? 0x0200 : 0) | (query.recursionDesired ? 0x0100 : 0) | rcode;
  const records = fitting.flatMap((ip) => {
    const type = ip.family === 4 ? DNS_TYPE.a : DNS_TYPE.aaaa;
    // The name is that of the question, which follows the header.
    return [0xc0, headerBytes, ...u16(type), ...u16(classInternet), ...u32(ttlSeconds), ...u16(ip.bytes.length), ...ip.bytes];
  });
  return Uint8Array.from([...head(query.id, flags, asked.length === 0 ? 0 : 1, fitting.length, 0), ...asked, ...records]);
}

/** Undefined where the bytes are no whole DNS message. */
export function decodeDns(bytes: Uint8Array): DnsMessage | undefined {
  if (bytes.length < headerBytes) return undefined;
  const at16 = (at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  const flags = at16(2);
  const reader = new Reader(bytes);
  const questions: (DnsQuestion | undefined)[] = [];
  for (let i = 0; i < at16(4); i++) {
    const question = questions.length < maxRecords ? reader.question() : undefined;
    if (question === undefined) return undefined;
    questions.push(question.class === classInternet ? question : undefined);
  }
  const sections = [at16(6), at16(8), at16(10)];
  const answers: DnsRecordData[] = [];
  let negativeTtlSeconds: number | undefined;
  let udpBytes = plainUdpBytes;
  let seen = 0;
  for (const [section, count] of sections.entries()) {
    for (let i = 0; i < count; i++) {
      const record = seen++ < maxRecords ? reader.record() : undefined;
      // A message that was cut says so, and what came whole before the cut is no use.
      if (record === undefined) return (flags & 0x0200) === 0 ? undefined : message([], undefined, plainUdpBytes);
      if (section === 0 && record.data !== undefined) answers.push({ name: record.name, ttlSeconds: record.ttlSeconds, data: record.data });
      if (section === 1 && record.negativeTtl !== undefined) negativeTtlSeconds = Math.min(record.ttlSeconds, record.negativeTtl);
      if (section === 2 && record.type === DNS_TYPE.opt) udpBytes = record.class;
    }
  }
  return message(answers, negativeTtlSeconds, udpBytes);

  function message(found: readonly DnsRecordData[], negative: number | undefined, takes: number): DnsMessage {
    const [question] = questions;
    return {
      id: at16(0),
      response: (flags & 0x8000) !== 0,
      opcode: (flags >> 11) & 0xf,
      truncated: (flags & 0x0200) !== 0,
      recursionDesired: (flags & 0x0100) !== 0,
      rcode: flags & 0xf,
      question: questions.length === 1 && question !== undefined ? { name: question.name, type: question.type } : undefined,
      answers: found,
      negativeTtlSeconds: negative,
      udpBytes: takes,
    };
  }
}

interface ReadRecord {
  readonly name: string;
  readonly type: number;
  readonly class: number;
  readonly ttlSeconds: number;
  readonly data: DnsRecordData['data'] | undefined;
  readonly negativeTtl: number | undefined;
}

/** Reads forward; every method gives undefined where the message ends too soon or makes no sense. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = headerBytes;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  question(): (DnsQuestion & { readonly class: number }) | undefined {
    const name = this.#name();
    if (name === undefined || this.#at + 4 > this.#bytes.length) return undefined;
    return { name, type: this.#u16(), class: this.#u16() };
  }

  record(): ReadRecord | undefined {
    const name = this.#name();
    if (name === undefined || this.#at + 10 > this.#bytes.length) return undefined;
    const type = this.#u16();
    const recordClass = this.#u16();
    const ttl = this.#u16() * 0x1_0000 + this.#u16();
    const length = this.#u16();
    const end = this.#at + length;
    if (end > this.#bytes.length) return undefined;
    const internet = recordClass === classInternet;
    const data = internet ? this.#data(type, length) : undefined;
    const negativeTtl = internet && type === DNS_TYPE.soa ? this.#soaMinimum(end) : undefined;
    this.#at = end;
    // RFC 2181 §8: the top bit is no number.
    return { name, type, class: recordClass, ttlSeconds: ttl > 0x7fff_ffff ? 0 : ttl, data, negativeTtl };
  }

  #data(type: number, length: number): DnsRecordData['data'] | undefined {
    if ((type === DNS_TYPE.a && length === 4) || (type === DNS_TYPE.aaaa && length === 16)) {
      const ip = ipFromBytes(this.#bytes.subarray(this.#at, this.#at + length));
      return ip === undefined ? undefined : { kind: 'address', ip };
    }
    if (type !== DNS_TYPE.cname) return undefined;
    const target = this.#name();
    return target === undefined ? undefined : { kind: 'cname', target };
  }

  #soaMinimum(end: number): number | undefined {
    if (this.#name() === undefined || this.#name() === undefined || this.#at + 20 !== end) return undefined;
    this.#at = end - 4;
    return this.#u16() * 0x1_0000 + this.#u16();
  }

  #u16(): number {
    const value = ((this.#bytes[this.#at] ?? 0) << 8) | (this.#bytes[this.#at + 1] ?? 0);
    this.#at += 2;
    return value;
  }

  /** A name, pointers followed: each must point before the one that led to it, so there is no circle. */
  #name(): string | undefined {
    const labels: string[] = [];
    let at = this.#at;
    let lowest = at;
    let after: number | undefined;
    let total = 0;
    for (;;) {
      const length = this.#bytes[at];
      if (length === undefined) return undefined;
      if (length >= 0xc0) {
        const target = ((length & 0x3f) << 8) | (this.#bytes[at + 1] ?? 0xff);
        after ??= at + 2;
        if (target >= lowest) return undefined;
        lowest = target;
        at = target;
        continue;
      }
      if (length > 63) return undefined;
      at++;
      if (length === 0) break;
      total += length + 1;
      if (total > maxNameBytes || at + length > this.#bytes.length) return undefined;
      const label = Buffer.from(this.#bytes.subarray(at, at + length))
        .toString('latin1')
        .toLowerCase();
      // A label with a dot inside could not be told from two.
      if (!/^[\x21-\x2d\x2f-\x7e]+$/.test(label)) return undefined;
      labels.push(label);
      at += length;
    }
    this.#at = after ?? at;
    return labels.join('.');
  }
}

function encodeName(name: string): number[] | undefined {
  const bytes: number[] = [];
  for (const label of name === '' ? [] : name.split('.')) {
    if (label.length === 0 || label.length > 63) return undefined;
    bytes.push(label.length, ...Buffer.from(label, 'latin1'));
  }
  bytes.push(0);
  return bytes.length <= maxNameBytes ? bytes : undefined;
}

function head(id: number, flags: number, questions: number, answers: number, additional: number): number[] {
  return [id, flags, questions, answers, 0, additional].flatMap((value) => u16(value));
}

function u16(value: number): number[] {
  return [(value >> 8) & 0xff, value & 0xff];
}

function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value & 0xffff)];
}
