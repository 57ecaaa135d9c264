// The four WireGuard messages (whitepaper §5.4): layout, sizes and codecs. All integers are little-endian.

export const initiationBytes = 148;
export const responseBytes = 92;
export const cookieReplyBytes = 64;
/** Bytes before the ciphertext of a transport message. */
export const transportHeaderBytes = 16;
/** Smallest transport message: a keepalive, which is a header and the tag of an empty packet. */
const transportMinBytes = 32;

export const messageTypes = { initiation: 1, response: 2, cookieReply: 3, transport: 4 } as const;

export type MessageKind = keyof typeof messageTypes;

/** Where the MACs of a handshake message start, counted from its end. */
export const mac1FromEnd = 32;
export const mac2FromEnd = 16;

/**
 * What the datagram at `[start, end)` says it is; undefined where type, reserved bytes or size fit none. The first four bytes are the type and three
 * zeros, read as one number, so a STUN message or anything else on the same socket is told apart here.
 */
export function messageKind(bytes: Uint8Array, start = 0, end = bytes.length): MessageKind | undefined {
  const length = end - start;
  if (length < transportMinBytes) return undefined;
  switch (readU32(bytes, start)) {
    case messageTypes.transport:
      return 'transport';
    case messageTypes.initiation:
      return length === initiationBytes ? 'initiation' : undefined;
    case messageTypes.response:
      return length === responseBytes ? 'response' : undefined;
    case messageTypes.cookieReply:
      return length === cookieReplyBytes ? 'cookieReply' : undefined;
    default:
      return undefined;
  }
}

/** First message of a handshake, without its MACs. Byte fields are views of the datagram. */
export interface Initiation {
  readonly sender: number;
  /** 32 bytes. */
  readonly ephemeral: Uint8Array;
  /** 32 + 16 bytes. */
  readonly sealedStatic: Uint8Array;
  /** 12 + 16 bytes. */
  readonly sealedTimestamp: Uint8Array;
}

/** Second message of a handshake, without its MACs. */
export interface Response {
  readonly sender: number;
  readonly receiver: number;
  readonly ephemeral: Uint8Array;
  /** The tag of nothing: 16 bytes. */
  readonly sealedNothing: Uint8Array;
}

export interface CookieReply {
  readonly receiver: number;
  /** 24 bytes. */
  readonly nonce: Uint8Array;
  /** 16 + 16 bytes. */
  readonly sealedCookie: Uint8Array;
}

/** Reads a datagram that `messageKind` called an initiation. */
export function decodeInitiation(datagram: Uint8Array): Initiation {
  return {
    sender: readU32(datagram, 4),
    ephemeral: datagram.subarray(8, 40),
    sealedStatic: datagram.subarray(40, 88),
    sealedTimestamp: datagram.subarray(88, 116),
  };
}

/** Writes an initiation with MACs of zero, 148 bytes. */
export function encodeInitiation(message: Initiation): Uint8Array {
  const out = new Uint8Array(initiationBytes);
  out[0] = messageTypes.initiation;
  writeU32(out, 4, message.sender);
  out.set(message.ephemeral, 8);
  out.set(message.sealedStatic, 40);
  out.set(message.sealedTimestamp, 88);
  return out;
}

/** Reads a datagram that `messageKind` called a response. */
export function decodeResponse(datagram: Uint8Array): Response {
  return {
    sender: readU32(datagram, 4),
    receiver: readU32(datagram, 8),
    ephemeral: datagram.subarray(12, 44),
    sealedNothing: datagram.subarray(44, 60),
  };
}

/** Writes a response with MACs of zero, 92 bytes. */
export function encodeResponse(message: Response): Uint8Array {
  const out = new Uint8Array(responseBytes);
  out[0] = messageTypes.response;
  writeU32(out, 4, message.sender);
  writeU32(out, 8, message.receiver);
  out.set(message.ephemeral, 12);
  out.set(message.sealedNothing, 44);
  return out;
}

/** Reads a datagram that `messageKind` called a cookie reply. */
export function decodeCookieReply(datagram: Uint8Array): CookieReply {
  return { receiver: readU32(datagram, 4), nonce: datagram.subarray(8, 32), sealedCookie: datagram.subarray(32, 64) };
}

/** Writes a cookie reply, 64 bytes. */
export function encodeCookieReply(message: CookieReply): Uint8Array {
  const out = new Uint8Array(cookieReplyBytes);
  out[0] = messageTypes.cookieReply;
  writeU32(out, 4, message.receiver);
  out.set(message.nonce, 8);
  out.set(message.sealedCookie, 32);
  return out;
}

/** The receiver's index of a transport message at `start`. */
export function transportReceiver(bytes: Uint8Array, start: number): number {
  return readU32(bytes, start + 4);
}

/** The counter of a transport message; inexact, and thereby too large to be accepted, from 2^53. */
export function transportCounter(bytes: Uint8Array, start: number): number {
  return readU32(bytes, start + 8) + readU32(bytes, start + 12) * 0x1_0000_0000;
}

/** Writes the 16 bytes before a ciphertext, in place: no allocation for each packet. */
export function writeTransportHeader(target: Uint8Array, at: number, receiver: number, counter: number): void {
  writeU32(target, at, messageTypes.transport);
  writeU32(target, at + 4, receiver);
  writeU32(target, at + 8, counter % 0x1_0000_0000);
  writeU32(target, at + 12, Math.floor(counter / 0x1_0000_0000));
}

function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)) >>> 0;
}

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}
