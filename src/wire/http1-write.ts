// Writing HTTP/1.1 messages. Everything written is latin1 text, one character a byte, so what was read goes out with the same bytes.
import type { Fields } from './http1-fields.ts';

/** The chunk that ends a body without trailers (RFC 9112 §7.1). */
const lastChunk = '0\r\n\r\n';

/** What goes before the bytes of a chunk; CRLF goes after them. */
export function chunkHead(length: number): string {
  return `${length.toString(16)}\r\n`;
}

/** A whole chunk in one buffer, for payloads small enough that a copy is cheaper than three writes. */
export function chunkBuffer(payload: Buffer, before = ''): Buffer {
  const head = before + chunkHead(payload.length);
  const out = Buffer.allocUnsafe(head.length + payload.length + 2);
  out.write(head, 0, 'latin1');
  payload.copy(out, head.length);
  out[out.length - 2] = 0x0d;
  out[out.length - 1] = 0x0a;
  return out;
}

/** Text before a payload, in one buffer. */
export function joinBuffer(before: string, payload: Buffer): Buffer {
  const out = Buffer.allocUnsafe(before.length + payload.length);
  out.write(before, 0, 'latin1');
  payload.copy(out, before.length);
  return out;
}

/** The end of a chunked body with its trailer section. */
export function trailerText(trailers: Fields | undefined): string {
  return trailers === undefined || trailers.names.length === 0 ? lastChunk : `0\r\n${fieldLines(trailers)}\r\n`;
}

/** Field lines, each with its CRLF. The names and values must be checked already. */
export function fieldLines(fields: Fields): string {
  let text = '';
  for (let i = 0; i < fields.names.length; i++) text += `${fields.names[i]}: ${fields.values[i]}\r\n`;
  return text;
}

/** The status line; an empty reason keeps its space (RFC 9112 §4). */
export function statusLine(status: number, reason: string): string {
  return `HTTP/1.1 ${status} ${reason}\r\n`;
}
