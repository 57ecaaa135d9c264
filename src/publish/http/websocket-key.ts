// The handshake values of WebSockets over HTTP/1.1 (RFC 6455 §4), for where only one side of the gateway has them.
import { createHash, randomBytes } from 'node:crypto';

/** A Sec-WebSocket-Key. */
export function newKey(): string {
  return randomBytes(16).toString('base64');
}

/** The Sec-WebSocket-Accept that answers a key. */
export function acceptKey(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}
