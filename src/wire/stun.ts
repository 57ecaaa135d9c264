// STUN (RFC 8489) as ICE and address discovery need it: binding messages, their attributes, short-term integrity, fingerprint.
//
//  0: type (class and method interleaved)   2: length of what follows the header   4: magic cookie   8: transaction id (12)   20: attributes
//
// Attributes behind MESSAGE-INTEGRITY other than FINGERPRINT are ignored (RFC 8489 §14.5). NetBird puts one of its own (0x8100) behind
// FINGERPRINT, so the fingerprint need not be last; both checks count the length only up to their own end.
import { createHmac } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { asBuffer, equalBytes, utf8 } from '#lib/bytes.ts';
import type { IpAddress } from '#lib/ip.ts';

const stunHeaderBytes = 20;
const stunMagic = 0x2112a442;
/** A message that must be no larger than what every path carries; a longer one is not read. */
const stunMaxBytes = 1280;
/** Attributes of one message; further ones make it malformed. */
const maxAttributes = 32;
const bindingMethod = 1;
const fingerprintXor = 0x5354554e;

const stunAttributes = {
  mappedAddress: 0x0001,
  username: 0x0006,
  messageIntegrity: 0x0008,
  errorCode: 0x0009,
  xorMappedAddress: 0x0020,
  priority: 0x0024,
  useCandidate: 0x0025,
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

/** A binding message. Byte fields are views of the datagram. */
export interface StunMessage {
  readonly class: StunClass;
  /** 12 bytes. */
  readonly transactionId: Uint8Array;
  readonly username: string | undefined;
  readonly priority: number | undefined;
  readonly useCandidate: boolean;
  /** The role that the sender takes and its tie-breaker. */
  readonly role: { readonly controlling: boolean; readonly tieBreaker: bigint } | undefined;
  readonly mapped: StunAddress | undefined;
  readonly errorCode: number | undefined;
  /** Attributes that must be understood (below 0x8000) and are not. */
  readonly unknownRequired: readonly number[];
  /** Where MESSAGE-INTEGRITY starts, or undefined. */
  readonly integrityAt: number | undefined;
  readonly datagram: Uint8Array;
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

/**
 * Reads a binding message; undefined where it is malformed, of another method, larger than `stunMaxBytes`, or has a fingerprint that
 * is wrong. Integrity is checked apart, with `verifyStunIntegrity`, once the key is known.
 */
export function decodeStun(datagram: Uint8Array): StunMessage | undefined {
  if (!isStun(datagram) || datagram.length > stunMaxBytes) return undefined;
  const type = u16(datagram, 0);
  const method = (type & 0x000f) | ((type & 0x00e0) >> 1) | ((type & 0x3e00) >> 2);
  const kind = classes[((type & 0x0010) >> 4) | ((type & 0x0100) >> 7)];
  if (method !== bindingMethod || kind === undefined) return undefined;
  const transactionId = datagram.subarray(8, stunHeaderBytes);

  let username: string | undefined;
  let priority: number | undefined;
  let useCandidate = false;
  let role: StunMessage['role'];
  let mapped: StunAddress | undefined;
  let errorCode: number | undefined;
  let integrityAt: number | undefined;
  const unknownRequired: number[] = [];

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
    } else if (integrityAt === undefined) {
      switch (attribute) {
        case stunAttributes.messageIntegrity:
          if (length !== 20) return undefined;
          integrityAt = at;
          break;
        case stunAttributes.username:
          username = asBuffer(value).toString('utf8');
          break;
        case stunAttributes.priority:
          if (length !== 4) return undefined;
          priority = u32(value, 0);
          break;
        case stunAttributes.useCandidate:
          useCandidate = true;
          break;
        case stunAttributes.iceControlled:
        case stunAttributes.iceControlling:
          if (length !== 8) return undefined;
          role = { controlling: attribute === stunAttributes.iceControlling, tieBreaker: asBuffer(value).readBigUInt64BE(0) };
          break;
        case stunAttributes.xorMappedAddress:
          mapped = decodeXorAddress(value, transactionId);
          if (mapped === undefined) return undefined;
          break;
        case stunAttributes.errorCode:
          if (length < 4) return undefined;
          errorCode = ((value[2] ?? 0) & 7) * 100 + (value[3] ?? 0);
          break;
        case stunAttributes.mappedAddress:
          break;
        default:
          if (attribute < 0x8000) unknownRequired.push(attribute);
      }
    }
    at = end + padding(length);
  }
  if (at !== datagram.length) return undefined;
  return { class: kind, transactionId, username, priority, useCandidate, role, mapped, errorCode, unknownRequired, integrityAt, datagram };
}

/** Whether the message carries MESSAGE-INTEGRITY under the short-term key (the password's bytes, RFC 8489 §9.1). */
export function verifyStunIntegrity(message: StunMessage, password: string): boolean {
  const at = message.integrityAt;
  if (at === undefined) return false;
  return equalBytes(integrityOf(message.datagram, at, password), message.datagram.subarray(at + 4, at + 24));
}

/** What is to be written. Absent fields are left out. */
export interface StunDraft {
  readonly class: StunClass;
  readonly transactionId: Uint8Array;
  readonly username?: string;
  readonly priority?: number;
  readonly useCandidate?: boolean;
  readonly role?: { readonly controlling: boolean; readonly tieBreaker: bigint };
  readonly mapped?: StunAddress;
  readonly error?: { readonly code: number; readonly reason: string };
}

/** Writes a binding message: attributes, MESSAGE-INTEGRITY where a password is given, FINGERPRINT unless `fingerprint` is false. */
export function encodeStun(draft: StunDraft, password?: string, fingerprint = true): Buffer {
  const parts: Uint8Array[] = [];
  if (draft.username !== undefined) parts.push(attribute(stunAttributes.username, utf8(draft.username)));
  if (draft.priority !== undefined) parts.push(attribute(stunAttributes.priority, bytes32(draft.priority)));
  if (draft.useCandidate === true) parts.push(attribute(stunAttributes.useCandidate, new Uint8Array(0)));
  if (draft.role !== undefined) {
    const tie = Buffer.alloc(8);
    tie.writeBigUInt64BE(draft.role.tieBreaker);
    parts.push(attribute(draft.role.controlling ? stunAttributes.iceControlling : stunAttributes.iceControlled, tie));
  }
  if (draft.mapped !== undefined) parts.push(attribute(stunAttributes.xorMappedAddress, encodeXorAddress(draft.mapped, draft.transactionId)));
  if (draft.error !== undefined) {
    const { code, reason } = draft.error;
    parts.push(attribute(stunAttributes.errorCode, Buffer.concat([Uint8Array.of(0, 0, Math.floor(code / 100), code % 100), utf8(reason)])));
  }
  const body = Buffer.concat(parts);
  const size = stunHeaderBytes + body.length + (password === undefined ? 0 : 24) + (fingerprint ? 8 : 0);
  const out = Buffer.alloc(size);
  const classBits = classes.indexOf(draft.class);
  out.writeUInt16BE(bindingMethod | ((classBits & 1) << 4) | ((classBits & 2) << 7), 0);
  out.writeUInt16BE(size - stunHeaderBytes, 2);
  out.writeUInt32BE(stunMagic, 4);
  out.set(draft.transactionId, 8);
  out.set(body, stunHeaderBytes);
  let at = stunHeaderBytes + body.length;
  if (password !== undefined) {
    out.set(attribute(stunAttributes.messageIntegrity, integrityOf(out, at, password)), at);
    at += 24;
  }
  if (fingerprint) out.set(attribute(stunAttributes.fingerprint, bytes32(fingerprintOf(out, at))), at);
  return out;
}

/** HMAC-SHA1 over everything before the attribute at `at`, the length field counting up to the attribute's own end. */
function integrityOf(message: Uint8Array, at: number, password: string): Uint8Array {
  return createHmac('sha1', password)
    .update(headWithLength(message, at, at + 24))
    .digest();
}

function fingerprintOf(message: Uint8Array, at: number): number {
  return (crc32(headWithLength(message, at, at + 8)) ^ fingerprintXor) >>> 0;
}

function headWithLength(message: Uint8Array, to: number, end: number): Buffer {
  const head = Buffer.from(message.subarray(0, to));
  head.writeUInt16BE(end - stunHeaderBytes, 2);
  return head;
}

function encodeXorAddress(address: StunAddress, transactionId: Uint8Array): Uint8Array {
  const { family, bytes } = address.ip;
  const out = Buffer.alloc(4 + bytes.length);
  out[1] = family === 4 ? 1 : 2;
  out.writeUInt16BE(address.port ^ (stunMagic >>> 16), 2);
  for (const [i, byte] of bytes.entries()) out[4 + i] = byte ^ maskByte(i, transactionId);
  return out;
}

function decodeXorAddress(value: Uint8Array, transactionId: Uint8Array): StunAddress | undefined {
  const family = value[1] === 1 ? 4 : value[1] === 2 ? 6 : undefined;
  if (family === undefined || value.length !== (family === 4 ? 8 : 20)) return undefined;
  const bytes = value.slice(4).map((byte, i) => byte ^ maskByte(i, transactionId));
  return { ip: { family, bytes: new Uint8Array(bytes) }, port: u16(value, 2) ^ (stunMagic >>> 16) };
}

/** The cookie and then the transaction id (RFC 8489 §14.2). */
function maskByte(index: number, transactionId: Uint8Array): number {
  return index < 4 ? (stunMagic >>> (24 - 8 * index)) & 0xff : (transactionId[index - 4] ?? 0);
}

function attribute(type: number, value: Uint8Array): Uint8Array {
  const out = Buffer.alloc(4 + value.length + padding(value.length));
  out.writeUInt16BE(type, 0);
  out.writeUInt16BE(value.length, 2);
  out.set(value, 4);
  return out;
}

function bytes32(value: number): Uint8Array {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value >>> 0);
  return out;
}

function padding(length: number): number {
  return (4 - (length % 4)) % 4;
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function u32(bytes: Uint8Array, at: number): number {
  return ((u16(bytes, at) << 16) | u16(bytes, at + 2)) >>> 0;
}
