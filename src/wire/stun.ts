// STUN Binding messages (RFC 8489) as ICE and address discovery need them: attributes, short-term integrity, fingerprint.
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
  u32,
  verifyIntegrityAt,
  writeStun,
} from './stun-frame.ts';

export { isStun, type StunAddress, type StunClass } from './stun-frame.ts';

const bindingMethod = 1;
/** A message that must be no larger than what every path carries; a longer one is not read. */
const stunMaxBytes = 1280;
/** Two names of up to 32 characters. */
const maxPairBytes = 65;

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
  /** NetBird's names of the sender's and the receiver's candidate, `ours:theirs`. Not covered by the integrity. */
  readonly candidatePair: string | undefined;
  /** Attributes that must be understood (below 0x8000) and are not. */
  readonly unknownRequired: readonly number[];
  /** Where MESSAGE-INTEGRITY starts, or undefined. */
  readonly integrityAt: number | undefined;
  readonly datagram: Uint8Array;
}

/**
 * Reads a binding message; undefined where it is malformed, of another method, larger than `stunMaxBytes`, or has a fingerprint that
 * is wrong. Integrity is checked apart, with `verifyStunIntegrity`, once the key is known.
 */
export function decodeStun(datagram: Uint8Array): StunMessage | undefined {
  if (!isStun(datagram) || datagram.length > stunMaxBytes) return undefined;
  const { method, class: kind, transactionId } = readStunHead(datagram);
  if (method !== bindingMethod) return undefined;
  let username: string | undefined;
  let priority: number | undefined;
  let useCandidate = false;
  let role: StunMessage['role'];
  let mapped: StunAddress | undefined;
  let errorCode: number | undefined;
  let candidatePair: string | undefined;
  const unknownRequired: number[] = [];
  const integrityAt = readStunAttributes(datagram, (attribute, value) => {
    switch (attribute) {
      case stunAttributes.username:
        username = asBuffer(value).toString('utf8');
        return true;
      case stunAttributes.priority:
        priority = u32(value, 0);
        return value.length === 4;
      case stunAttributes.useCandidate:
        useCandidate = true;
        return true;
      case stunAttributes.iceControlled:
      case stunAttributes.iceControlling:
        if (value.length !== 8) return false;
        role = { controlling: attribute === stunAttributes.iceControlling, tieBreaker: asBuffer(value).readBigUInt64BE(0) };
        return true;
      case stunAttributes.xorMappedAddress:
        mapped = decodeXorAddress(value, transactionId);
        return mapped !== undefined;
      case stunAttributes.errorCode:
        errorCode = decodeErrorCode(value);
        return errorCode !== undefined;
      case stunAttributes.candidatePair:
        if (value.length <= maxPairBytes) candidatePair = asBuffer(value).toString('latin1');
        return true;
      case stunAttributes.mappedAddress:
        return true;
      default:
        if (attribute < 0x8000) unknownRequired.push(attribute);
        return true;
    }
  });
  if (integrityAt === undefined) return undefined;
  const at = integrityAt < 0 ? undefined : integrityAt;
  return {
    class: kind,
    transactionId,
    username,
    priority,
    useCandidate,
    role,
    mapped,
    errorCode,
    candidatePair,
    unknownRequired,
    integrityAt: at,
    datagram,
  };
}

/** Whether the message carries MESSAGE-INTEGRITY under the short-term key (the password's bytes, RFC 8489 §9.1). */
export function verifyStunIntegrity(message: StunMessage, password: string): boolean {
  return message.integrityAt !== undefined && verifyIntegrityAt(message.datagram, message.integrityAt, password);
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
  readonly candidatePair?: string;
  readonly error?: { readonly code: number; readonly reason: string };
}

/** Writes a binding message: attributes, MESSAGE-INTEGRITY where a password is given, FINGERPRINT unless `fingerprint` is false. */
export function encodeStun(draft: StunDraft, password?: string, fingerprint = true): Buffer {
  const { transactionId } = draft;
  const parts: Uint8Array[] = [];
  if (draft.username !== undefined) parts.push(attributeOf(stunAttributes.username, utf8(draft.username)));
  if (draft.priority !== undefined) parts.push(attributeOf(stunAttributes.priority, bytes32(draft.priority)));
  if (draft.useCandidate === true) parts.push(attributeOf(stunAttributes.useCandidate, new Uint8Array(0)));
  if (draft.role !== undefined) {
    const tie = Buffer.alloc(8);
    tie.writeBigUInt64BE(draft.role.tieBreaker);
    parts.push(attributeOf(draft.role.controlling ? stunAttributes.iceControlling : stunAttributes.iceControlled, tie));
  }
  if (draft.mapped !== undefined) parts.push(attributeOf(stunAttributes.xorMappedAddress, encodeXorAddress(draft.mapped, transactionId)));
  if (draft.error !== undefined) {
    const { code, reason } = draft.error;
    parts.push(attributeOf(stunAttributes.errorCode, Buffer.concat([Uint8Array.of(0, 0, Math.floor(code / 100), code % 100), utf8(reason)])));
  }
  const { candidatePair } = draft;
  const behind = candidatePair === undefined ? undefined : attributeOf(stunAttributes.candidatePair, Buffer.from(candidatePair, 'latin1'));
  return writeStun({ method: bindingMethod, class: draft.class, transactionId }, parts, password, fingerprint, behind);
}
