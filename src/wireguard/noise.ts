// The handshake's cryptography: Noise IKpsk2 as WireGuard uses it (whitepaper §5.4). Pure steps from messages to messages and keys;
// who may speak when is decided elsewhere. Every step is undefined where the other side is not who it has to be.
import { type AeadProvider, openOnce, sealOnce } from '#crypto/aead.ts';
import { blake2s, kdf1, kdf2, kdf3 } from '#crypto/blake2s.ts';
import { generatePrivateKey, X25519PrivateKey, X25519PublicKey } from '#crypto/x25519.ts';
import { equalBytes, utf8 } from '#lib/bytes.ts';
import type { Initiation, Response } from '#wire/wireguard.ts';

/** Who we are, and with what we compute. */
export interface LocalIdentity {
  readonly key: X25519PrivateKey;
  readonly aead: AeadProvider;
  readonly random: (target: Uint8Array) => void;
}

/** A peer as the handshake knows it. */
export interface RemoteIdentity {
  readonly key: X25519PublicKey;
  readonly presharedKey: Uint8Array;
  /** The agreement of both static keys, computed once; undefined where the peer's key is of small order. */
  staticSecret(): Uint8Array | undefined;
}

/** What an initiator keeps until the response comes. */
export interface InitiatorState {
  readonly ephemeral: X25519PrivateKey;
  readonly chain: Uint8Array;
  readonly hash: Uint8Array;
}

/** An initiation whose sender is named but not yet proven. */
export interface OpenedInitiation {
  readonly message: Initiation;
  readonly theirEphemeral: X25519PublicKey;
  /** The 32 bytes that the sender claims as its static key. */
  readonly claimedKey: Uint8Array;
  readonly chain: Uint8Array;
  readonly hash: Uint8Array;
}

/** An initiation whose sender is proven; the timestamp still has to be newer than its last. */
export interface ProvenInitiation {
  readonly sender: number;
  readonly theirEphemeral: X25519PublicKey;
  /** 12 bytes of TAI64N, which compare as bytes. */
  readonly timestamp: Uint8Array;
  readonly chain: Uint8Array;
  readonly hash: Uint8Array;
}

/** Keys of a new session, 32 bytes each, from our side. */
export interface SessionKeys {
  readonly send: Uint8Array;
  readonly receive: Uint8Array;
}

const nothing = new Uint8Array(0);
const construction = blake2s(utf8('Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s'));
const prologue = blake2s(construction, utf8('WireGuard v1 zx2c4 Jason@zx2c4.com'));

/** Starts a handshake: the message without its sender index's registration, and what has to be kept. */
export function writeInitiation(
  local: LocalIdentity,
  remote: RemoteIdentity,
  sender: number,
  timestamp: Uint8Array,
): { readonly message: Initiation; readonly state: InitiatorState } | undefined {
  const ephemeral = new X25519PrivateKey(generatePrivateKey(local.random));
  let hash = blake2s(prologue, remote.key.bytes);
  let chain = kdf1(construction, ephemeral.publicBytes);
  hash = blake2s(hash, ephemeral.publicBytes);
  const ephemeralStatic = ephemeral.agree(remote.key);
  const staticStatic = remote.staticSecret();
  if (ephemeralStatic === undefined || staticStatic === undefined) return undefined;
  let key: Uint8Array;
  [chain, key] = kdf2(chain, ephemeralStatic);
  const sealedStatic = sealOnce(local.aead, key, local.key.publicBytes, hash);
  hash = blake2s(hash, sealedStatic);
  [chain, key] = kdf2(chain, staticStatic);
  const sealedTimestamp = sealOnce(local.aead, key, timestamp, hash);
  hash = blake2s(hash, sealedTimestamp);
  return { message: { sender, ephemeral: ephemeral.publicBytes, sealedStatic, sealedTimestamp }, state: { ephemeral, chain, hash } };
}

/** First half of reading an initiation: one agreement, after which the sender's claimed key is known. */
export function openInitiation(local: LocalIdentity, message: Initiation): OpenedInitiation | undefined {
  const theirEphemeral = new X25519PublicKey(message.ephemeral);
  let hash = blake2s(prologue, local.key.publicBytes);
  hash = blake2s(hash, message.ephemeral);
  const secret = local.key.agree(theirEphemeral);
  if (secret === undefined) return undefined;
  const [chain, key] = kdf2(kdf1(construction, message.ephemeral), secret);
  const claimedKey = openOnce(local.aead, key, message.sealedStatic, hash);
  if (claimedKey === undefined) return undefined;
  return { message, theirEphemeral, claimedKey, chain, hash: blake2s(hash, message.sealedStatic) };
}

/** Second half: proves that the sender holds the key that it claims, which has to be the remote's. */
export function proveInitiation(local: LocalIdentity, remote: RemoteIdentity, opened: OpenedInitiation): ProvenInitiation | undefined {
  const staticStatic = remote.staticSecret();
  if (staticStatic === undefined || !equalBytes(remote.key.bytes, opened.claimedKey)) return undefined;
  const [chain, key] = kdf2(opened.chain, staticStatic);
  const { sealedTimestamp, sender } = opened.message;
  const timestamp = openOnce(local.aead, key, sealedTimestamp, opened.hash);
  if (timestamp === undefined) return undefined;
  return { sender, theirEphemeral: opened.theirEphemeral, timestamp, chain, hash: blake2s(opened.hash, sealedTimestamp) };
}

/** Answers a proven initiation: the message, and the session's keys, which the initiator has yet to confirm by using them. */
export function writeResponse(
  local: LocalIdentity,
  remote: RemoteIdentity,
  proven: ProvenInitiation,
  sender: number,
): { readonly message: Response; readonly keys: SessionKeys } | undefined {
  const ephemeral = new X25519PrivateKey(generatePrivateKey(local.random));
  const bothEphemeral = ephemeral.agree(proven.theirEphemeral);
  const ephemeralStatic = ephemeral.agree(remote.key);
  if (bothEphemeral === undefined || ephemeralStatic === undefined) return undefined;
  const mixed = mixResponse(remote, proven.chain, proven.hash, ephemeral.publicBytes, bothEphemeral, ephemeralStatic);
  const sealedNothing = sealOnce(local.aead, mixed.key, nothing, mixed.hash);
  const [receive, send] = kdf2(mixed.chain, nothing);
  return { message: { sender, receiver: proven.sender, ephemeral: ephemeral.publicBytes, sealedNothing }, keys: { send, receive } };
}

/** Reads the response to our initiation: the session's keys, or undefined where it is not the remote's. */
export function openResponse(local: LocalIdentity, remote: RemoteIdentity, state: InitiatorState, message: Response): SessionKeys | undefined {
  const theirEphemeral = new X25519PublicKey(message.ephemeral);
  const bothEphemeral = state.ephemeral.agree(theirEphemeral);
  const ephemeralStatic = local.key.agree(theirEphemeral);
  if (bothEphemeral === undefined || ephemeralStatic === undefined) return undefined;
  const mixed = mixResponse(remote, state.chain, state.hash, message.ephemeral, bothEphemeral, ephemeralStatic);
  if (openOnce(local.aead, mixed.key, message.sealedNothing, mixed.hash) === undefined) return undefined;
  const [send, receive] = kdf2(mixed.chain, nothing);
  return { send, receive };
}

/** What both sides mix in for a response, up to its sealed nothing. */
function mixResponse(
  remote: RemoteIdentity,
  chain: Uint8Array,
  hash: Uint8Array,
  responderEphemeral: Uint8Array,
  bothEphemeral: Uint8Array,
  ephemeralStatic: Uint8Array,
): { readonly chain: Uint8Array; readonly key: Uint8Array; readonly hash: Uint8Array } {
  const agreed = kdf1(kdf1(kdf1(chain, responderEphemeral), bothEphemeral), ephemeralStatic);
  const [last, mixed, key] = kdf3(agreed, remote.presharedKey);
  return { chain: last, key, hash: blake2s(blake2s(hash, responderEphemeral), mixed) };
}
