// Heads of HTTP/1.1 messages, read strictly (RFC 9112 §2–§6). What two parsers could read in two ways is refused, not repaired.
import { emptyFields, readFields, type FieldFault, type Fields } from './http1-fields.ts';
import { HEAD_BYTES, HEAD_FIELDS, METHOD_BYTES, TARGET_BYTES } from './http1-limits.ts';

/** Why a message is refused; also the machine-readable reason in the log. */
export type Http1Fault =
  | FieldFault
  | 'control_character'
  | 'head_too_large'
  | 'start_line_malformed'
  | 'method_malformed'
  | 'target_malformed'
  | 'target_too_long'
  | 'version_unsupported'
  | 'host_missing'
  | 'host_repeated'
  | 'authorization_repeated'
  | 'length_malformed'
  | 'length_repeated'
  | 'length_with_coding'
  | 'coding_unsupported'
  | 'expectation_unsupported'
  | 'upgrade_with_body'
  | 'chunk_malformed'
  | 'trailer_malformed';

const statuses: Partial<Readonly<Record<Http1Fault, number>>> = {
  head_too_large: 431,
  too_many_fields: 431,
  target_too_long: 414,
  version_unsupported: 505,
  coding_unsupported: 501,
  expectation_unsupported: 417,
};

/** The status with which a server answers a refused request. */
export function faultStatus(fault: Http1Fault): number {
  return statuses[fault] ?? 400;
}

/** How long a body is (RFC 9112 §6.3). */
export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly length: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'close' };

const noBody: Framing = { kind: 'none' };
const chunkedBody: Framing = { kind: 'chunked' };
const untilClose: Framing = { kind: 'close' };

export interface RequestHead {
  readonly kind: 'request';
  readonly method: string;
  /** As received, byte for byte. */
  readonly target: string;
  /** 0 or 1: the minor version. */
  readonly minor: number;
  /** The one Host value, unchecked; empty where a 1.0 request has none. */
  readonly host: string;
  readonly fields: Fields;
  readonly framing: Framing;
  /** Whether the sender keeps the connection after the answer. */
  readonly keepAlive: boolean;
  readonly expectContinue: boolean;
  /** The value of Upgrade where Connection names it; never together with a body. */
  readonly upgrade: string | undefined;
}

export interface ResponseHead {
  readonly kind: 'response';
  readonly status: number;
  readonly reason: string;
  readonly minor: number;
  readonly fields: Fields;
  readonly framing: Framing;
  readonly keepAlive: boolean;
  /** The value of Upgrade of a 101. */
  readonly upgrade: string | undefined;
}

export interface Refusal {
  readonly kind: 'fault';
  readonly fault: Http1Fault;
}

const MORE = -1;
const FAULT = -2;

/** Collects the bytes of one head from chunks; used again for the next message after `reset`. */
export class HeadReader {
  #held: Buffer | undefined;
  #length = 0;
  /** After a non-negative result of `read`: the head as latin1 text, each line with its CRLF, without the final empty line. */
  text = '';
  /** After `HeadReader.fault`. */
  fault: Http1Fault = 'head_too_large';

  static readonly more = MORE;
  static readonly bad = FAULT;

  /** Whether bytes of an unfinished head are held. */
  get started(): boolean {
    return this.#length > 0;
  }

  /** Takes bytes of `chunk` from `start`. Returns the offset after the head, `HeadReader.more` or `HeadReader.bad`. */
  read(chunk: Buffer, start: number): number {
    if (this.#held === undefined) {
      const end = chunk.indexOf('\r\n\r\n', start, 'latin1');
      if (end >= 0) {
        if (end + 4 - start > HEAD_BYTES) return this.#refuse('head_too_large');
        this.text = chunk.toString('latin1', start, end + 2);
        return end + 4;
      }
    }
    return this.#collect(chunk, start);
  }

  reset(): void {
    this.#held = undefined;
    this.#length = 0;
    this.text = '';
  }

  #collect(chunk: Buffer, start: number): number {
    const before = this.#length;
    const take = Math.min(chunk.length - start, HEAD_BYTES + 1 - before);
    const held = this.#room(before + take);
    chunk.copy(held, before, start, start + take);
    this.#length = before + take;
    const view = held.subarray(0, this.#length);
    const end = view.indexOf('\r\n\r\n', Math.max(0, before - 3), 'latin1');
    if (end >= 0 && end + 4 <= HEAD_BYTES) {
      this.text = view.toString('latin1', 0, end + 2);
      this.#held = undefined;
      this.#length = 0;
      return start + (end + 4 - before);
    }
    // A line ended by a bare LF would otherwise wait for its deadline.
    for (let at = view.indexOf(0x0a, before); at >= 0; at = view.indexOf(0x0a, at + 1)) {
      if (at === 0 || view[at - 1] !== 0x0d) return this.#refuse('control_character');
    }
    return this.#length > HEAD_BYTES ? this.#refuse('head_too_large') : MORE;
  }

  /** Grows by doubling, so that a head sent byte by byte is copied a constant number of times. */
  #room(size: number): Buffer {
    let held = this.#held;
    if (held === undefined || held.length < size) {
      const larger = Buffer.allocUnsafe(Math.min(HEAD_BYTES + 1, Math.max(1_024, size, (held?.length ?? 0) * 2)));
      held?.copy(larger, 0, 0, this.#length);
      held = larger;
      this.#held = held;
    }
    return held;
  }

  #refuse(fault: Http1Fault): number {
    this.reset();
    this.fault = fault;
    return FAULT;
  }
}

/** Controls other than tab, CR without LF, LF without CR. The text ends with CRLF. */
// oxlint-disable-next-line no-control-regex -- controls are what this looks for
const forbidden = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|[^\r]\n|^\n/;
/** Visible ASCII but the number sign: a fragment is never sent (RFC 9112 §3.2). */
const targetForm = /^[\x21\x22\x24-\x7e]+$/;
const methodForm = /^[A-Z][A-Z-]*$/;

/** Parses the text of `HeadReader`. One empty line before the request line is skipped (RFC 9112 §2.2). */
export function parseRequestHead(text: string): RequestHead | Refusal {
  if (forbidden.test(text)) return refusal('control_character');
  const start = text.startsWith('\r\n') ? 2 : 0;
  const eol = text.indexOf('\r\n', start);
  const first = text.indexOf(' ', start);
  const last = text.lastIndexOf(' ', eol);
  if (eol < 0 || first < 0 || first > eol || last <= first) return refusal('start_line_malformed');
  const method = text.slice(start, first);
  if (method.length > METHOD_BYTES || !methodForm.test(method)) return refusal('method_malformed');
  if (last - first - 1 > TARGET_BYTES) return refusal('target_too_long');
  const target = text.slice(first + 1, last);
  if (!targetForm.test(target)) return refusal('target_malformed');
  const version = text.slice(last + 1, eol);
  if (version !== 'HTTP/1.1' && version !== 'HTTP/1.0')
    return refusal(/^HTTP\/[0-9]\.[0-9]$/.test(version) ? 'version_unsupported' : 'start_line_malformed');
  const minor = version === 'HTTP/1.1' ? 1 : 0;

  const fields = emptyFields();
  const fault = readFields(text, eol + 2, HEAD_FIELDS, fields);
  if (fault !== undefined) return refusal(fault);

  let host: string | undefined;
  let authorized = false;
  let expectContinue = false;
  let upgrade: string | undefined;
  const keys = fields.keys;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    if (key === 'host') {
      if (host !== undefined) return refusal('host_repeated');
      host = fields.values[i] ?? '';
    } else if (key === 'authorization') {
      if (authorized) return refusal('authorization_repeated');
      authorized = true;
    } else if (key === 'expect') {
      if (expectContinue || fields.values[i]?.toLowerCase() !== '100-continue') return refusal('expectation_unsupported');
      expectContinue = true;
    } else if (key === 'upgrade') {
      upgrade = upgrade === undefined ? fields.values[i] : `${upgrade}, ${fields.values[i]}`;
    }
  }
  if (host === undefined && minor === 1) return refusal('host_missing');
  const framing = framingOf(fields, minor, text);
  if (typeof framing === 'string') return refusal(framing);
  const options = connectionOptions(fields);
  const upgrading = upgrade !== undefined && minor === 1 && options.includes('upgrade');
  if (upgrading && framing !== undefined && !isEmpty(framing)) return refusal('upgrade_with_body');
  return {
    kind: 'request',
    method,
    target,
    minor,
    host: host ?? '',
    fields,
    framing: framing === undefined || isEmpty(framing) ? noBody : framing,
    keepAlive: staysOpen(options, minor),
    expectContinue: expectContinue && minor === 1,
    upgrade: upgrading ? upgrade : undefined,
  };
}

/** Parses the text of `HeadReader` as the answer to a request with `method`, which decides whether it has a body (RFC 9112 §6.3). */
export function parseResponseHead(text: string, method: string): ResponseHead | Refusal {
  if (forbidden.test(text)) return refusal('control_character');
  const eol = text.indexOf('\r\n');
  const minor = text.charCodeAt(7) - 0x30;
  const status = text.startsWith('HTTP/1.') && text.charCodeAt(8) === 0x20 ? threeDigits(text, 9) : -1;
  // The reason and the space before it may be left out.
  if (minor < 0 || minor > 1 || status < 100 || status > 599 || eol < 12 || (eol > 12 && text.charCodeAt(12) !== 0x20))
    return refusal('start_line_malformed');
  const fields = emptyFields();
  const fault = readFields(text, eol + 2, HEAD_FIELDS, fields);
  if (fault !== undefined) return refusal(fault);
  const framing = framingOf(fields, minor, text);
  if (typeof framing === 'string') return refusal(framing);
  const bodyless = method === 'HEAD' || status < 200 || status === 204 || status === 304;
  const options = connectionOptions(fields);
  const upgradeAt = status === 101 ? fields.keys.indexOf('upgrade') : -1;
  return {
    kind: 'response',
    status,
    reason: text.slice(13, eol),
    minor,
    fields,
    framing: bodyless ? noBody : (framing ?? untilClose),
    // Servers that wrongly send the body that they state are common; where that could be, the connection must not serve another request.
    keepAlive: staysOpen(options, minor) && (bodyless ? framing === undefined || isEmpty(framing) : framing !== undefined),
    upgrade: upgradeAt < 0 ? undefined : fields.values[upgradeAt],
  };
}

/** The number of three digits at `at`, or -1. */
function threeDigits(text: string, at: number): number {
  let value = 0;
  for (let i = at; i < at + 3; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (!(digit >= 0 && digit <= 9)) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** The framing that the fields state, undefined for none, or the fault. */
function framingOf(fields: Fields, minor: number, text: string): Framing | Http1Fault | undefined {
  const { keys, values } = fields;
  let length: string | undefined;
  let coding: string | undefined;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    if (key === 'content-length') {
      if (length !== undefined) return 'length_repeated';
      length = values[i] ?? '';
    } else if (key === 'transfer-encoding') {
      if (coding !== undefined) return 'coding_unsupported';
      coding = values[i] ?? '';
    }
  }
  if (coding === undefined && length === undefined) return undefined;
  if (spacedFraming.test(text)) return 'length_malformed';
  if (coding !== undefined) {
    if (length !== undefined) return 'length_with_coding';
    return minor === 1 && coding.toLowerCase() === 'chunked' ? chunkedBody : 'coding_unsupported';
  }
  return length !== undefined && /^[0-9]{1,15}$/.test(length) ? { kind: 'length', length: Number(length) } : 'length_malformed';
}

function isEmpty(framing: Framing): boolean {
  return framing.kind === 'length' && framing.length === 0;
}

/** White space around a framing value beyond one space after the colon: parsers disagree on it, and nobody needs it. */
const spacedFraming = /\r\n(?:content-length|transfer-encoding):(?:[ \t]{2,}|\t|[^\r]*[ \t]\r)/i;

const noOptions: readonly string[] = [];
/** What nearly every sender of the field says. */
const keepAliveOption: readonly string[] = ['keep-alive'];

function connectionOptions(fields: Fields): readonly string[] {
  let options = noOptions;
  for (let i = 0; i < fields.keys.length; i++) {
    if (fields.keys[i] !== 'connection') continue;
    const value = (fields.values[i] ?? '').toLowerCase();
    if (options === noOptions && value === 'keep-alive') options = keepAliveOption;
    else options = options.concat(value.split(/[ \t]*,[ \t]*/));
  }
  return options;
}

/** RFC 9112 §9.3. */
function staysOpen(options: readonly string[], minor: number): boolean {
  return minor === 1 ? !options.includes('close') : options.includes('keep-alive') && !options.includes('close');
}

function refusal(fault: Http1Fault): Refusal {
  return { kind: 'fault', fault };
}
