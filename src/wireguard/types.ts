// What the WireGuard engine is to those who drive it. The engine does no I/O: datagrams and packets come in as calls with the
// time, and go out through the sink, synchronously, before the call returns.
import type { IpPrefix } from '#lib/ip.ts';

/** A peer's static public key as standard base64: its identity in the whole product. */
export type PublicKeyText = string;

export interface DevicePeer {
  readonly publicKey: PublicKeyText;
  /** 32 bytes; all zero where none is agreed. */
  readonly presharedKey?: Uint8Array;
  /** Inner addresses that this peer may send from and is sent to (cryptokey routing). */
  readonly allowedIps: readonly IpPrefix[];
  /** 0 sends none. */
  readonly persistentKeepaliveMs: number;
}

export interface DeviceOptions {
  /** 32 bytes. */
  readonly privateKey: Uint8Array;
  /** Fills with cryptographically strong bytes. */
  readonly random: (target: Uint8Array) => void;
  /** Wall-clock milliseconds for TAI64N timestamps. */
  readonly wall: () => number;
}

/** Where the engine's output goes. The bytes are valid only during the call: copy what is kept. */
export interface DeviceSink {
  /** A WireGuard message for the peer; `reply` is the source token of the datagram being answered where the peer is not known yet (cookie reply). */
  sendDatagram(peer: PublicKeyText | undefined, datagram: Uint8Array, reply: unknown): void;
  /** A decrypted IP packet whose source address the peer is allowed to use. */
  deliverPacket(peer: PublicKeyText, packet: Uint8Array): void;
  /** The peer proved itself with a datagram from this source: it may be answered there (roaming). */
  authenticated(peer: PublicKeyText, source: unknown, now: number): void;
  /** A handshake was completed (true), or given up after its last attempt (false). */
  handshake(peer: PublicKeyText, completed: boolean, now: number): void;
}

export interface DevicePeerStatus {
  readonly publicKey: PublicKeyText;
  /** Engine time of the last completed handshake, or undefined. */
  readonly lastHandshake: number | undefined;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

/** All times are milliseconds of one monotonic clock. */
export interface WireGuardDevice {
  /** Adds the peer, or changes what differs and keeps its session. */
  setPeer(peer: DevicePeer, now: number): void;
  removePeer(publicKey: PublicKeyText): void;
  /** Starts a handshake with the peer unless a session is fresh; used when a path to it comes up. */
  initiate(publicKey: PublicKeyText, now: number): void;
  /** `source` is handed back as it is to `authenticated` and to a cookie reply. */
  receiveDatagram(datagram: Uint8Array, source: unknown, now: number): void;
  /** Encrypts an IP packet for the peer that owns its destination; false where no peer does. Queued (bounded) while no session exists. */
  sendPacket(packet: Uint8Array, now: number): boolean;
  /** Does what is due. */
  poll(now: number): void;
  /** When `poll` has to be called next; Infinity where nothing is pending. */
  pollAt(): number;
  status(): readonly DevicePeerStatus[];
}
