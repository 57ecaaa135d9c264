// Between HTTP/2's header lists and HTTP/1.1's heads (RFC 9113 §8): what has no form on the other side stays behind.
import type { OutgoingHttpHeaders } from 'node:http2';
import { addField, emptyFields, isFieldValue, isToken, readFields, type Fields } from '#wire/http1-fields.ts';
import type { ResponseHead } from '#wire/http1-head.ts';
import { HEAD_FIELDS } from '#wire/http1-limits.ts';

/** Fields of HTTP/1.1's connections, which HTTP/2 must not carry (RFC 9113 §8.2.2). */
const connectionFields = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']);

/** Whether a field in lower case belongs to HTTP/1.1's connection management. */
export function isConnectionField(key: string): boolean {
  return connectionFields.has(key);
}

/** Fields in the form in which node:http2 sends them. */
export function headerObject(fields: Fields): OutgoingHttpHeaders {
  const headers = Object.create(null) as OutgoingHttpHeaders;
  for (let i = 0; i < fields.keys.length; i++) {
    const key = fields.keys[i] ?? '';
    const value = fields.values[i] ?? '';
    const before = headers[key];
    if (before === undefined) headers[key] = value;
    else if (Array.isArray(before)) before.push(value);
    else headers[key] = [String(before), value];
  }
  return headers;
}

/** A trailer section; what is no well-formed field is left out. */
export function trailerFields(raw: readonly string[]): Fields {
  const fields = emptyFields();
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    const value = raw[i + 1] ?? '';
    if (isToken(name) && isFieldValue(value)) addField(fields, name, value.trim());
  }
  return fields;
}

/**
 * The header list of a request whose HTTP/1.1 head was made by us. `protocol` turns it into an extended CONNECT (RFC 8441 §5): the WebSocket key
 * belongs to HTTP/1.1's handshake and stays behind.
 */
export function requestHeaders(head: string, scheme: 'http' | 'https', protocol: string | undefined): string[] {
  const line = head.indexOf('\r\n');
  const first = head.indexOf(' ');
  const last = head.lastIndexOf(' ', line);
  const fields = emptyFields();
  // Twice the usual number: our own fields stand beside the client's.
  const fault = readFields(head.slice(0, -2), line + 2, HEAD_FIELDS * 2, fields);
  if (fault !== undefined) throw new TypeError(`a head of our own cannot be read: ${fault}`);
  const list = protocol === undefined ? [':method', head.slice(0, first)] : [':method', 'CONNECT', ':protocol', protocol];
  list.push(':scheme', scheme, ':path', head.slice(first + 1, last));
  const host = fields.keys.indexOf('host');
  if (host >= 0) list.push(':authority', fields.values[host] ?? '');
  for (let i = 0; i < fields.keys.length; i++) {
    const key = fields.keys[i] ?? '';
    if (i === host || connectionFields.has(key) || (protocol !== undefined && key === 'sec-websocket-key')) continue;
    list.push(key, fields.values[i] ?? '');
  }
  return list;
}

/** The head of an answer, or why it is none. `ended`: nothing follows it. */
export function answerHead(raw: readonly string[], method: string, ended: boolean): ResponseHead | string {
  const fields = emptyFields();
  let status = 0;
  let length: string | undefined;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    const value = raw[i + 1] ?? '';
    if (name === ':status') {
      if (!/^[1-5][0-9][0-9]$/.test(value)) return 'status malformed';
      status = Number(value);
    } else if (!isToken(name) || name !== name.toLowerCase() || !isFieldValue(value)) {
      return 'field malformed';
    } else if (connectionFields.has(name)) {
      return 'a field of HTTP/1.1 connections';
    } else {
      if (name === 'content-length') {
        if (length !== undefined || !/^[0-9]{1,15}$/.test(value)) return 'length malformed';
        length = value;
      }
      addField(fields, name, value.trim());
    }
  }
  if (status === 0) return 'no status';
  const bodyless = method === 'HEAD' || status < 200 || status === 204 || status === 304;
  // nghttp2 holds the length against what comes; so does whoever writes it to the client.
  if (ended && !bodyless && length !== undefined && Number(length) > 0) return 'shorter than its length';
  return {
    kind: 'response',
    status,
    reason: '',
    minor: 1,
    fields,
    framing: ended || bodyless ? { kind: 'none' } : length === undefined ? { kind: 'chunked' } : { kind: 'length', length: Number(length) },
    keepAlive: true,
    upgrade: undefined,
  };
}
