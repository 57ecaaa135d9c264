// The relay's frames as NetBird's relay speaks them (netbird-wire §4.2–4.4): one frame is one binary WebSocket message.
//
//  0: version (1)   1: type   2: body.  A transport's body is a peer id (36) and the payload; lists are peer ids one after another.
import { createHash, createHmac } from 'node:crypto';
import { asBuffer, equalBytes, utf8 } from '#lib/bytes.ts';

const relayVersion = 1;
export const relayHeaderBytes = 2;
/** `sha-` and a SHA-256. */
const relayPeerIdBytes = 36;
/** Where the payload of a transport frame starts. */
export const relayTransportHeaderBytes = relayHeaderBytes + relayPeerIdBytes;
/** Largest frame but the answer to Auth, which may have 8192 bytes. */
export const relayMaxMessageBytes = 8820;
const relayMaxAuthBytes = 212;
const relayMaxAuthResponseBytes = 8192;
export const relayMaxPayloadBytes = relayMaxMessageBytes - relayTransportHeaderBytes;
/** Ids that fit into one list message. */
export const relayMaxIdsPerMessage = Math.floor((relayMaxMessageBytes - relayHeaderBytes) / relayPeerIdBytes);

const relayTypes = {
  transport: 3,
  close: 4,
  healthCheck: 5,
  auth: 6,
  authResponse: 7,
  subscribe: 8,
  unsubscribe: 9,
  online: 10,
  offline: 11,
} as const;

const magic = Uint8Array.of(0x21, 0x12, 0xa4, 0x42);
const tokenAlgorithm = 1;
const signatureBytes = 32;
/** Decimal seconds; a longer text is no time. */
const maxTokenPayloadBytes = 20;

export type RelayListKind = 'subscribe' | 'unsubscribe' | 'online' | 'offline';

/** A decoded frame; byte fields are views of it. */
export type RelayMessage =
  | { readonly kind: 'transport'; readonly peerId: Uint8Array; readonly payload: Uint8Array }
  | { readonly kind: 'close' }
  | { readonly kind: 'health-check' }
  | { readonly kind: 'auth'; readonly peerId: Uint8Array; readonly token: Uint8Array }
  | { readonly kind: 'auth-response'; readonly instanceUrl: string }
  | { readonly kind: RelayListKind; readonly peerIds: readonly Uint8Array[] };

/** Whether the frame is a well-formed transport: asked first, as nearly every frame is one and needs no object. */
export function isRelayTransport(frame: Uint8Array): boolean {
  return (
    frame[0] === relayVersion && frame[1] === relayTypes.transport && frame.length > relayTransportHeaderBytes && frame.length <= relayMaxMessageBytes
  );
}

/** Reads a frame; undefined for a wrong version, an unknown type, a size outside its limits, or a list that is no list. */
export function decodeRelay(frame: Uint8Array): RelayMessage | undefined {
  if (frame.length < relayHeaderBytes || frame.length > relayMaxMessageBytes || frame[0] !== relayVersion) return undefined;
  const body = frame.subarray(relayHeaderBytes);
  switch (frame[1]) {
    case relayTypes.transport:
      if (body.length <= relayPeerIdBytes) return undefined;
      return { kind: 'transport', peerId: body.subarray(0, relayPeerIdBytes), payload: body.subarray(relayPeerIdBytes) };
    case relayTypes.close:
      return { kind: 'close' };
    case relayTypes.healthCheck:
      return { kind: 'health-check' };
    case relayTypes.auth:
      return decodeAuth(frame, body);
    case relayTypes.authResponse:
      if (body.length === 0 || frame.length > relayMaxAuthResponseBytes) return undefined;
      return { kind: 'auth-response', instanceUrl: asBuffer(body).toString('utf8') };
    case relayTypes.subscribe:
      return decodeList('subscribe', body);
    case relayTypes.unsubscribe:
      return decodeList('unsubscribe', body);
    case relayTypes.online:
      return decodeList('online', body);
    case relayTypes.offline:
      return decodeList('offline', body);
    case undefined:
    default:
      return undefined;
  }
}

function decodeAuth(frame: Uint8Array, body: Uint8Array): RelayMessage | undefined {
  const start = magic.length + relayPeerIdBytes;
  if (frame.length > relayMaxAuthBytes || body.length <= start || !magic.every((byte, i) => body[i] === byte)) return undefined;
  return { kind: 'auth', peerId: body.subarray(magic.length, start), token: body.subarray(start) };
}

function decodeList(kind: RelayListKind, body: Uint8Array): RelayMessage | undefined {
  if (body.length === 0 || body.length % relayPeerIdBytes !== 0) return undefined;
  const peerIds: Uint8Array[] = [];
  for (let at = 0; at < body.length; at += relayPeerIdBytes) peerIds.push(body.subarray(at, at + relayPeerIdBytes));
  return { kind, peerIds };
}

/** A transport frame in memory of its own: the payload is copied. */
export function encodeRelayTransport(peerId: Uint8Array, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(relayTransportHeaderBytes + payload.length);
  frame[0] = relayVersion;
  frame[1] = relayTypes.transport;
  frame.set(peerId, relayHeaderBytes);
  frame.set(payload, relayTransportHeaderBytes);
  return frame;
}

export function encodeRelayClose(): Buffer {
  return Buffer.of(relayVersion, relayTypes.close);
}

export function encodeRelayHealthCheck(): Buffer {
  return Buffer.of(relayVersion, relayTypes.healthCheck);
}

export function encodeRelayAuth(peerId: Uint8Array, token: Uint8Array): Buffer {
  return Buffer.concat([Uint8Array.of(relayVersion, relayTypes.auth), magic, peerId, token]);
}

export function encodeRelayAuthResponse(instanceUrl: string): Buffer {
  return Buffer.concat([Uint8Array.of(relayVersion, relayTypes.authResponse), utf8(instanceUrl)]);
}

/** As many frames as the ids need: none for no ids. */
export function encodeRelayList(kind: RelayListKind, peerIds: readonly Uint8Array[]): readonly Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at < peerIds.length; at += relayMaxIdsPerMessage) {
    frames.push(Buffer.concat([Uint8Array.of(relayVersion, relayTypes[kind]), ...peerIds.slice(at, at + relayMaxIdsPerMessage)]));
  }
  return frames;
}

/** A peer's name at the relay: `sha-` and the SHA-256 of the public key's base64 text. */
export function relayPeerId(publicKey: string): Uint8Array {
  return Buffer.concat([utf8('sha-'), createHash('sha256').update(publicKey, 'ascii').digest()]);
}

/** The id as a key for maps; not for people. `at` is where it starts. */
export function relayPeerKey(bytes: Uint8Array, at = 0): string {
  return asBuffer(bytes).toString('latin1', at, at + relayPeerIdBytes);
}

/** The id as logs show it. */
export function formatRelayPeerId(peerId: Uint8Array): string {
  return `sha-${asBuffer(peerId).toString('base64', 4)}`;
}

/** What the control plane gives a peer to show at the relay: a time in decimal seconds, and its HMAC as standard base64. */
export interface RelayToken {
  readonly payload: string;
  readonly signature: string;
}

/** The HMAC key that all relays of a deployment derive from their shared secret. */
export function relayTokenKey(secret: string): Uint8Array {
  return createHash('sha256').update(secret, 'utf8').digest();
}

/** A token that is good until the second `expiresAt` (Unix time). */
export function signRelayToken(key: Uint8Array, expiresAt: number): RelayToken {
  const payload = String(Math.floor(expiresAt)).padStart(10, '0');
  return { payload, signature: createHmac('sha256', key).update(payload).digest('base64') };
}

/** The token as it stands in Auth; undefined where its signature is not 32 bytes of base64 or its payload no time. */
export function encodeRelayToken(token: RelayToken): Uint8Array | undefined {
  const signature = Buffer.from(token.signature, 'base64');
  if (signature.length !== signatureBytes || !/^[0-9]{10,20}$/.test(token.payload)) return undefined;
  return Buffer.concat([Uint8Array.of(tokenAlgorithm), signature, utf8(token.payload)]);
}

/** Whether the token of an Auth is ours and its time has not passed. Any valid token may claim any id: it says "of this network". */
export function verifyRelayToken(key: Uint8Array, token: Uint8Array, nowWallMs: number): boolean {
  const payload = token.subarray(1 + signatureBytes);
  if (token[0] !== tokenAlgorithm || payload.length < 10 || payload.length > maxTokenPayloadBytes) return false;
  if (!equalBytes(createHmac('sha256', key).update(payload).digest(), token.subarray(1, 1 + signatureBytes))) return false;
  const text = asBuffer(payload).toString('latin1');
  return /^[0-9]+$/.test(text) && nowWallMs <= Number(text) * 1000;
}
