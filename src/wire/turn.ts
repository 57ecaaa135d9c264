// TURN messages (RFC 8656) over UDP: the requests of a client, a server's answers, the indications, ChannelData, long-term integrity.
import { createHash } from 'node:crypto';
import { asBuffer, utf8 } from '#lib/bytes.ts';
import {
  attributeOf,
  bytes32,
  decodeErrorCode,
  decodeXorAddress,
  encodeXorAddress,
  isStun,
  readStunAttributes,
  readStunHead,
  stunAttributes,
  type StunAddress,
  type StunClass,
  u16,
  u32,
  verifyIntegrityAt,
  writeStun,
} from './stun-frame.ts';

/** Room for a datagram of a peer in an indication; a longer message is not read. */
const turnMaxBytes = 4096;
/** RFC 8489 §14.9, §14.10: less than 128 characters, of which each may have several bytes. */
const maxTextBytes = 763;
export const channelHeaderBytes = 4;
export const firstChannel = 0x4000;
export const lastChannel = 0x4fff;
const udpTransport = 17;

const methods = { allocate: 3, refresh: 4, send: 6, data: 7, createPermission: 8, channelBind: 9 } as const;

export type TurnMethod = keyof typeof methods;

/** A message of one of TURN's methods. Byte fields are views of the datagram. */
export interface TurnMessage {
  readonly method: TurnMethod;
  readonly class: StunClass;
  readonly transactionId: Uint8Array;
  readonly errorCode: number | undefined;
  readonly realm: string | undefined;
  readonly nonce: Uint8Array | undefined;
  /** Seconds. */
  readonly lifetime: number | undefined;
  /** One for each address family. */
  readonly relayed: readonly StunAddress[];
  readonly mapped: StunAddress | undefined;
  readonly peer: StunAddress | undefined;
  readonly data: Uint8Array | undefined;
  readonly integrityAt: number | undefined;
  readonly datagram: Uint8Array;
}

/** Reads a message; undefined where it is malformed, of a method that is not TURN's, or too long. Integrity is checked apart. */
export function decodeTurn(datagram: Uint8Array): TurnMessage | undefined {
  if (!isStun(datagram) || datagram.length > turnMaxBytes) return undefined;
  const { method: number, class: kind, transactionId } = readStunHead(datagram);
  const method = methodOf(number);
  if (method === undefined) return undefined;
  let errorCode: number | undefined;
  let realm: string | undefined;
  let nonce: Uint8Array | undefined;
  let lifetime: number | undefined;
  let mapped: StunAddress | undefined;
  let peer: StunAddress | undefined;
  let data: Uint8Array | undefined;
  const relayed: StunAddress[] = [];
  const integrityAt = readStunAttributes(datagram, (attribute, value) => {
    switch (attribute) {
      case stunAttributes.errorCode:
        errorCode = decodeErrorCode(value);
        return errorCode !== undefined;
      case stunAttributes.realm:
        realm = asBuffer(value).toString('utf8');
        return value.length <= maxTextBytes;
      case stunAttributes.nonce:
        nonce = value;
        return value.length <= maxTextBytes;
      case stunAttributes.lifetime:
        lifetime = u32(value, 0);
        return value.length === 4;
      case stunAttributes.xorRelayedAddress: {
        const address = decodeXorAddress(value, transactionId);
        if (address === undefined) return false;
        relayed.push(address);
        return true;
      }
      case stunAttributes.xorMappedAddress:
        mapped = decodeXorAddress(value, transactionId);
        return mapped !== undefined;
      case stunAttributes.xorPeerAddress:
        peer ??= decodeXorAddress(value, transactionId);
        return peer !== undefined;
      case stunAttributes.data:
        data = value;
        return true;
      default:
        return true;
    }
  });
  if (integrityAt === undefined) return undefined;
  const at = integrityAt < 0 ? undefined : integrityAt;
  return { method, class: kind, transactionId, errorCode, realm, nonce, lifetime, relayed, mapped, peer, data, integrityAt: at, datagram };
}

/** What a user's name and password give in a realm (RFC 8489 §9.2.2), after the server named it. */
export interface TurnCredentials {
  readonly username: string;
  readonly realm: string;
  readonly nonce: Uint8Array;
  readonly key: Uint8Array;
}

/** The key of the long-term mechanism. MD5 is what the protocol asks for: it hides the password from a server's database, no more. */
export function longTermKey(username: string, realm: string, password: string): Uint8Array {
  return createHash('md5').update(`${username}:${realm}:${password}`).digest();
}

export function verifyTurnIntegrity(message: TurnMessage, key: Uint8Array): boolean {
  return message.integrityAt !== undefined && verifyIntegrityAt(message.datagram, message.integrityAt, key);
}

export interface TurnDraft {
  readonly method: TurnMethod;
  readonly class: StunClass;
  readonly transactionId: Uint8Array;
  /** Asks for UDP, and for the other family beside the server's own. */
  readonly allocation?: 'ipv4' | 'ipv6' | 'both';
  readonly lifetime?: number;
  readonly channel?: number;
  readonly peers?: readonly StunAddress[];
  readonly data?: Uint8Array;
}

/** Writes a message; with credentials it carries them and MESSAGE-INTEGRITY. */
export function encodeTurn(draft: TurnDraft, credentials?: TurnCredentials): Buffer {
  const { transactionId } = draft;
  const parts: Uint8Array[] = [];
  if (draft.allocation !== undefined) {
    parts.push(attributeOf(stunAttributes.requestedTransport, Uint8Array.of(udpTransport, 0, 0, 0)));
    if (draft.allocation === 'ipv6') parts.push(attributeOf(stunAttributes.requestedAddressFamily, Uint8Array.of(2, 0, 0, 0)));
    if (draft.allocation === 'both') parts.push(attributeOf(stunAttributes.additionalAddressFamily, Uint8Array.of(2, 0, 0, 0)));
  }
  if (draft.lifetime !== undefined) parts.push(attributeOf(stunAttributes.lifetime, bytes32(draft.lifetime)));
  if (draft.channel !== undefined)
    parts.push(attributeOf(stunAttributes.channelNumber, Uint8Array.of(draft.channel >> 8, draft.channel & 0xff, 0, 0)));
  for (const peer of draft.peers ?? []) parts.push(attributeOf(stunAttributes.xorPeerAddress, encodeXorAddress(peer, transactionId)));
  if (draft.data !== undefined) parts.push(attributeOf(stunAttributes.data, draft.data));
  if (credentials !== undefined) {
    parts.push(attributeOf(stunAttributes.username, utf8(credentials.username)));
    parts.push(attributeOf(stunAttributes.realm, utf8(credentials.realm)));
    parts.push(attributeOf(stunAttributes.nonce, credentials.nonce));
  }
  const head = { method: methods[draft.method], class: draft.class, transactionId };
  return writeStun(head, parts, credentials?.key, false);
}

/** Whether the datagram may be ChannelData: its first byte is no other protocol's of our port. */
export function isChannelData(datagram: Uint8Array): boolean {
  return ((datagram[0] ?? 0) & 0xf0) === 0x40;
}

/** The channel of ChannelData; -1 where the datagram is none or shorter than it says. Bytes behind it are padding. */
export function channelOf(datagram: Uint8Array): number {
  if (datagram.length < channelHeaderBytes || !isChannelData(datagram)) return -1;
  return channelHeaderBytes + u16(datagram, 2) > datagram.length ? -1 : u16(datagram, 0);
}

/** The peer's bytes in what `channelOf` knows. */
export function channelPayload(datagram: Uint8Array): Uint8Array {
  return datagram.subarray(channelHeaderBytes, channelHeaderBytes + u16(datagram, 2));
}

/** Writes ChannelData into `target` and returns its length. Over UDP nothing is padded (RFC 8656 §12.5). */
export function writeChannelData(target: Uint8Array, channel: number, data: Uint8Array): number {
  target[0] = channel >> 8;
  target[1] = channel & 0xff;
  target[2] = data.length >> 8;
  target[3] = data.length & 0xff;
  target.set(data, channelHeaderBytes);
  return channelHeaderBytes + data.length;
}

function methodOf(number: number): TurnMethod | undefined {
  switch (number) {
    case methods.allocate:
      return 'allocate';
    case methods.refresh:
      return 'refresh';
    case methods.send:
      return 'send';
    case methods.data:
      return 'data';
    case methods.createPermission:
      return 'createPermission';
    case methods.channelBind:
      return 'channelBind';
    default:
      return undefined;
  }
}
