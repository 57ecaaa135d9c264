// What every STUN message shares, whatever its method (RFC 8489): header, attributes, XOR'd addresses, integrity, fingerprint.
//
//  0: type (class and method interleaved)   2: length of what follows the header   4: magic cookie   8: transaction id (12)   20: attributes
//
// Attributes behind MESSAGE-INTEGRITY other than FINGERPRINT are ignored (RFC 8489 §14.5). NetBird puts one of its own (0x8100) behind
// FINGERPRINT, so the fingerprint need not be last; both checks count the length only up to their own end.
import { createHmac } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { asBuffer, equalBytes } from '#lib/bytes.ts';
import type { IpAddress } from '#lib/ip.ts';

const stunHeaderBytes = 20;
const stunMagic = 0x2112a442;
/** Attributes of one message; further ones make it malformed. */
const maxAttributes = 32;
const fingerprintXor = 0x5354554e;
const integrityBytes = 24;
const fingerprintBytes = 8;

export const stunAttributes = {
  mappedAddress: 0x0001,
  username: 0x0006,
  messageIntegrity: 0x0008,
  errorCode: 0x0009,
  channelNumber: 0x000c,
  lifetime: 0x000d,
  xorPeerAddress: 0x0012,
  data: 0x0013,
  realm: 0x0014,
  nonce: 0x0015,
  xorRelayedAddress: 0x0016,
  requestedAddressFamily: 0x0017,
  requestedTransport: 0x0019,
  xorMappedAddress: 0x0020,
  priority: 0x0024,
  useCandidate: 0x0025,
  additionalAddressFamily: 0x8000,
  /** NetBird's own, behind everything else: which candidates the message goes between. */
  candidatePair: 0x8100,
  fingerprint: 0x8028,
  iceControlled: 0x8029,
  iceControlling: 0x802a,
} as const;

export type StunClass = 'request' | 'indication' | 'success' | 'error';

const classes: readonly StunClass[] = ['request', 'indication', 'success', 'error'];

/** An address as STUN carries it. */
export interface StunAddress {
  readonly ip: IpAddress;
  readonly port: number;
}

export interface StunHead {
  readonly method: number;
  readonly class: StunClass;
  /** 12 bytes, a view of the datagram. */
  readonly transactionId: Uint8Array;
}

/** Whether the datagram has STUN's first bits, cookie and length: enough to tell it from WireGuard on a shared socket. */
export function isStun(datagram: Uint8Array): boolean {
  return (
    datagram.length >= stunHeaderBytes &&
    ((datagram[0] ?? 0xff) & 0xc0) === 0 &&
    u32(datagram, 4) === stunMagic &&
    u16(datagram, 2) % 4 === 0 &&
    stunHeaderBytes + u16(datagram, 2) === datagram.length
  );
}

/** The head of what `isStun` says yes to. */
export function readStunHead(datagram: Uint8Array): StunHead {
  const type = u16(datagram, 0);
  return {
    method: (type & 0x000f) | ((type & 0x00e0) >> 1) | ((type & 0x3e00) >> 2),
    class: classes[((type & 0x0010) >> 4) | ((type & 0x0100) >> 7)] ?? 'request',
    transactionId: datagram.subarray(8, stunHeaderBytes),
  };
}

/**
 * Shows every attribute that counts (before MESSAGE-INTEGRITY, and NetBird's one behind it, which proves nothing) to `visit`, which returns false where the value is malformed. Undefined where the message is malformed or
 * its fingerprint wrong; else where MESSAGE-INTEGRITY starts, -1 where there is none.
 */
export function readStunAttributes(datagram: Uint8Array, visit: (attribute: number, value: Uint8Array) => boolean): number | undefined {
  let integrityAt = -1;
  let at = stunHeaderBytes;
  for (let count = 0; at < datagram.length; count++) {
    if (count === maxAttributes || at + 4 > datagram.length) return undefined;
    const attribute = u16(datagram, at);
    const length = u16(datagram, at + 2);
    const end = at + 4 + length;
    if (end > datagram.length) return undefined;
    const value = datagram.subarray(at + 4, end);
    if (attribute === stunAttributes.fingerprint) {
      if (length !== 4 || u32(value, 0) !== fingerprintOf(datagram, at)) return undefined;
    } else if (attribute === stunAttributes.candidatePair) {
      if (!visit(attribute, value)) return undefined;
    } else if (integrityAt < 0) {
      if (attribute === stunAttributes.messageIntegrity) {
        if (length !== 20) return undefined;
        integrityAt = at;
      } else if (!visit(attribute, value)) return undefined;
    }
    at = end + padding(length);
  }
  return at === datagram.length ? integrityAt : undefined;
}

/** Whether the MESSAGE-INTEGRITY at `at` was made with the key. */
export function verifyIntegrityAt(datagram: Uint8Array, at: number, key: string | Uint8Array): boolean {
  return at >= stunHeaderBytes && equalBytes(integrityOf(datagram, at, key), datagram.subarray(at + 4, at + integrityBytes));
}

/** Writes a message: header, attributes, MESSAGE-INTEGRITY where a key is given, FINGERPRINT where asked for, and what comes behind them. */
export function writeStun(
  head: StunHead,
  attributes: readonly Uint8Array[],
  key: string | Uint8Array | undefined,
  fingerprint: boolean,
  behind?: Uint8Array,
): Buffer {
  let size = stunHeaderBytes + (behind?.length ?? 0) + (key === undefined ? 0 : integrityBytes) + (fingerprint ? fingerprintBytes : 0);
  for (const attribute of attributes) size += attribute.length;
  const out = Buffer.alloc(size);
  const { method } = head;
  const classBits = classes.indexOf(head.class);
  const methodBits = (method & 0x000f) | ((method & 0x0070) << 1) | ((method & 0x0f80) << 2);
  out.writeUInt16BE(methodBits | ((classBits & 1) << 4) | ((classBits & 2) << 7), 0);
  out.writeUInt16BE(size - stunHeaderBytes, 2);
  out.writeUInt32BE(stunMagic, 4);
  out.set(head.transactionId, 8);
  let at = stunHeaderBytes;
  for (const attribute of attributes) {
    out.set(attribute, at);
    at += attribute.length;
  }
  if (key !== undefined) {
    out.set(attributeOf(stunAttributes.messageIntegrity, integrityOf(out, at, key)), at);
    at += integrityBytes;
  }
  if (fingerprint) {
    out.set(attributeOf(stunAttributes.fingerprint, bytes32(fingerprintOf(out, at))), at);
    at += fingerprintBytes;
  }
  if (behind !== undefined) out.set(behind, at);
  return out;
}

/** An attribute with its header and padding. */
export function attributeOf(type: number, value: Uint8Array): Uint8Array {
  const out = Buffer.alloc(4 + value.length + padding(value.length));
  out.writeUInt16BE(type, 0);
  out.writeUInt16BE(value.length, 2);
  out.set(value, 4);
  return out;
}

export function encodeXorAddress(address: StunAddress, transactionId: Uint8Array): Uint8Array {
  const { family, bytes } = address.ip;
  const out = Buffer.alloc(4 + bytes.length);
  out[1] = family === 4 ? 1 : 2;
  out.writeUInt16BE(address.port ^ (stunMagic >>> 16), 2);
  for (const [i, byte] of bytes.entries()) out[4 + i] = byte ^ maskByte(i, transactionId);
  return out;
}

export function decodeXorAddress(value: Uint8Array, transactionId: Uint8Array): StunAddress | undefined {
  const family = value[1] === 1 ? 4 : value[1] === 2 ? 6 : undefined;
  if (family === undefined || value.length !== (family === 4 ? 8 : 20)) return undefined;
  const bytes = value.slice(4).map((byte, i) => byte ^ maskByte(i, transactionId));
  return { ip: { family, bytes: new Uint8Array(bytes) }, port: u16(value, 2) ^ (stunMagic >>> 16) };
}

/** The code of an ERROR-CODE attribute; undefined where it is too short. */
export function decodeErrorCode(value: Uint8Array): number | undefined {
  return value.length < 4 ? undefined : ((value[2] ?? 0) & 7) * 100 + (value[3] ?? 0);
}

export function bytes32(value: number): Uint8Array {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value >>> 0);
  return out;
}

export function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

export function u32(bytes: Uint8Array, at: number): number {
  return ((u16(bytes, at) << 16) | u16(bytes, at + 2)) >>> 0;
}

/** HMAC-SHA1 over everything before the attribute at `at`, the length field counting up to the attribute's own end. */
function integrityOf(message: Uint8Array, at: number, key: string | Uint8Array): Uint8Array {
  return createHmac('sha1', key)
    .update(headWithLength(message, at, at + integrityBytes))
    .digest();
}

function fingerprintOf(message: Uint8Array, at: number): number {
  return (crc32(headWithLength(message, at, at + fingerprintBytes)) ^ fingerprintXor) >>> 0;
}

function headWithLength(message: Uint8Array, to: number, end: number): Buffer {
  const head = Buffer.from(asBuffer(message).subarray(0, to));
  head.writeUInt16BE(end - stunHeaderBytes, 2);
  return head;
}

/** The cookie and then the transaction id (RFC 8489 §14.2). */
function maskByte(index: number, transactionId: Uint8Array): number {
  return index < 4 ? (stunMagic >>> (24 - 8 * index)) & 0xff : (transactionId[index - 4] ?? 0);
}

function padding(length: number): number {
  return (4 - (length % 4)) % 4;
}
