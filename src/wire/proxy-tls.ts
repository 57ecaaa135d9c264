// What a PROXY header of version 2 says of a TLS connection that ends before the target: type-length-value vectors (HAProxy's
// proxy-protocol.txt, 2020, §2.2.1 to §2.2.5).
import { utf8 } from '#lib/bytes.ts';

/** Bytes of one text, so that the header stays below what readers take. */
const textBytes = 255;

export interface TlsFacts {
  /** As in the handshake, `TLSv1.3`. */
  readonly version: string;
  readonly cipher: string;
  /** What the client asked for by name. */
  readonly serverName: string;
  /** What was agreed on; undefined for nothing. */
  readonly alpn: string | undefined;
  /** Common name of the verified certificate that the client showed; undefined where it showed none. */
  readonly commonName: string | undefined;
}

/** PP2_TYPE_ALPN, PP2_TYPE_AUTHORITY and PP2_TYPE_SSL, to be put behind the addresses. */
export function tlsVectors({ version, cipher, serverName, alpn, commonName }: TlsFacts): Buffer {
  const shown = commonName !== undefined;
  const client = Buffer.alloc(5);
  // PP2_CLIENT_SSL, _CERT_CONN and _CERT_SESS: every connection of ours proves its certificate anew. `verify` is 0 for verified.
  client[0] = shown ? 0x07 : 0x01;
  client.writeUInt32BE(shown ? 0 : 1, 1);
  const ssl = [client, vector(0x21, version), vector(0x23, cipher), ...(shown ? [vector(0x22, commonName)] : [])];
  return Buffer.concat([...(alpn === undefined ? [] : [vector(0x01, alpn)]), vector(0x02, serverName), vector(0x20, Buffer.concat(ssl))]);
}

function vector(type: number, value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? cut(utf8(value)) : value;
  const head = Buffer.alloc(3);
  head[0] = type;
  head.writeUInt16BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** Whole characters only. */
function cut(bytes: Uint8Array): Uint8Array {
  let length = Math.min(bytes.length, textBytes);
  while (length > 0 && length < bytes.length && ((bytes[length] ?? 0) & 0xc0) === 0x80) length--;
  return bytes.subarray(0, length);
}
