// The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt, 2020): who a connection really comes from, said before its first byte.
// Read strictly: what two readers could take for two things is a fault.
import { asBuffer } from '#lib/bytes.ts';
import { formatIp, ipFromBytes, parseIp, unmapIp, type IpAddress } from '#lib/ip.ts';
import type { Endpoint } from '#lib/net.ts';

/** Bytes of a version 1 header, its line end included (§2.1). */
export const PROXY_V1_BYTES = 107;
/** Bytes of a version 2 header; it may state 65,535, but nothing that is sent comes near this. */
export const PROXY_V2_BYTES = 2_048;

export type ProxyHeader =
  /** Addresses in canonical text, IPv4 also where it came mapped into IPv6. */
  | { readonly kind: 'proxied'; readonly transport: 'tcp' | 'udp'; readonly source: Endpoint; readonly destination: Endpoint }
  /** The proxy speaks for itself, as in its health checks (version 2 only). */
  | { readonly kind: 'local' };

export type ProxyFault = 'no_header' | 'malformed' | 'unknown_family' | 'too_large';

export type ProxyRead =
  | { readonly kind: 'more' }
  | { readonly kind: 'fault'; readonly fault: ProxyFault }
  /** `length`: bytes of the header; what follows is the connection's. */
  | { readonly kind: 'header'; readonly header: ProxyHeader; readonly length: number };

const more: ProxyRead = { kind: 'more' };
const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const word = Buffer.from('PROXY ', 'latin1');

/** Reads the header at the beginning of all bytes that have come so far. */
export function readProxyHeader(bytes: Buffer): ProxyRead {
  if (startsLike(bytes, word)) return bytes.length < word.length ? more : readText(bytes);
  if (startsLike(bytes, signature)) return bytes.length < 16 ? more : readBinary(bytes);
  return fault('no_header');
}

/** What a header says beside the ends. Version 1 has room for none of it. */
export interface ProxySays {
  readonly transport?: 'tcp' | 'udp';
  /** Type-length-value vectors, see proxy-tls.ts. */
  readonly vectors?: Buffer;
}

/** The header that says `source` and `destination`. Addresses of two families go as IPv6; ones that cannot be read are left unsaid. */
export function writeProxyHeader(
  version: 1 | 2,
  source: Endpoint,
  destination: Endpoint,
  { transport = 'tcp', vectors = Buffer.alloc(0) }: ProxySays = {},
): Buffer {
  const from = parseIp(source.address);
  const to = parseIp(destination.address);
  if (from === undefined || to === undefined) return version === 1 ? Buffer.from('PROXY UNKNOWN\r\n', 'latin1') : binaryHeader(0x20, 0x00, [vectors]);
  const family = from.family === 4 && to.family === 4 ? 4 : 6;
  const [a, b] = family === 4 ? [from, to] : [mapped(from), mapped(to)];
  if (version === 1) return Buffer.from(`PROXY TCP${family} ${formatIp(a)} ${formatIp(b)} ${source.port} ${destination.port}\r\n`, 'latin1');
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(source.port, 0);
  ports.writeUInt16BE(destination.port, 2);
  return binaryHeader(0x21, (family === 4 ? 0x10 : 0x20) | (transport === 'tcp' ? 1 : 2), [a.bytes, b.bytes, ports, vectors]);
}

function readText(bytes: Buffer): ProxyRead {
  const end = bytes.subarray(0, PROXY_V1_BYTES).indexOf('\r\n', 0, 'latin1');
  if (end < 0) return bytes.length >= PROXY_V1_BYTES ? fault('too_large') : bytes.includes(0x0a) ? fault('malformed') : more;
  const line = bytes.toString('latin1', 0, end);
  if (/^PROXY UNKNOWN(?: |$)/.test(line)) return fault('unknown_family');
  const match = /^PROXY TCP([46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})$/.exec(line);
  const [, family, from = '', to = '', fromPort, toPort] = match ?? [];
  const source = parseIp(from);
  const destination = parseIp(to);
  if (source?.family !== Number(family) || destination?.family !== Number(family)) return fault('malformed');
  return proxied('tcp', source, Number(fromPort), destination, Number(toPort), end + 2);
}

function readBinary(bytes: Buffer): ProxyRead {
  const command = bytes[12] ?? 0;
  const kind = bytes[13] ?? 0;
  const size = bytes.readUInt16BE(14);
  if (command !== 0x20 && command !== 0x21) return fault('malformed');
  if (16 + size > PROXY_V2_BYTES) return fault('too_large');
  // A local header's addresses are to be ignored (§2.2), its length is not.
  const width = kind === 0x11 || kind === 0x12 ? 4 : kind === 0x21 || kind === 0x22 ? 16 : undefined;
  if (command === 0x21 && width === undefined) return fault('unknown_family');
  const addresses = command === 0x21 && width !== undefined ? 2 * width + 4 : 0;
  if (size < addresses) return fault('malformed');
  const length = 16 + size;
  if (bytes.length < length) return more;
  if (command === 0x20) return { kind: 'header', header: { kind: 'local' }, length };
  if (!vectorsFit(bytes.subarray(16 + addresses, length))) return fault('malformed');
  const half = (addresses - 4) / 2;
  const source = ipFromBytes(bytes.subarray(16, 16 + half));
  const destination = ipFromBytes(bytes.subarray(16 + half, 16 + 2 * half));
  if (source === undefined || destination === undefined) return fault('malformed');
  const at = 16 + 2 * half;
  return proxied((kind & 0x0f) === 1 ? 'tcp' : 'udp', source, bytes.readUInt16BE(at), destination, bytes.readUInt16BE(at + 2), length);
}

/** Type-length-value vectors mean nothing to us, but they have to fill their room exactly. */
function vectorsFit(bytes: Buffer): boolean {
  let at = 0;
  while (at + 3 <= bytes.length) at += 3 + bytes.readUInt16BE(at + 1);
  return at === bytes.length;
}

function proxied(transport: 'tcp' | 'udp', source: IpAddress, sourcePort: number, destination: IpAddress, port: number, length: number): ProxyRead {
  if (sourcePort > 65_535 || port > 65_535) return fault('malformed');
  const from = { address: formatIp(unmapIp(source)), port: sourcePort };
  const to = { address: formatIp(unmapIp(destination)), port };
  return { kind: 'header', header: { kind: 'proxied', transport, source: from, destination: to }, length };
}

function binaryHeader(command: number, kind: number, parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(16);
  signature.copy(head);
  head[12] = command;
  head[13] = kind;
  head.writeUInt16BE(body.length, 14);
  return Buffer.concat([head, body]);
}

/** Whether the bytes may be the beginning of the text, or begin with it. */
function startsLike(bytes: Buffer, text: Buffer): boolean {
  const length = Math.min(bytes.length, text.length);
  return bytes.subarray(0, length).equals(text.subarray(0, length));
}

function mapped(ip: IpAddress): IpAddress {
  if (ip.family === 6) return ip;
  const bytes = new Uint8Array(16);
  bytes[10] = bytes[11] = 0xff;
  asBuffer(bytes).set(ip.bytes, 12);
  return { family: 6, bytes };
}

function fault(name: ProxyFault): ProxyRead {
  return { kind: 'fault', fault: name };
}
