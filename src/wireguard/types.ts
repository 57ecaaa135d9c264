// What the WireGuard engine is to those who drive it. The engine does no I/O: datagrams and packets come in as calls with the
// time, and go out through the sink, synchronously, before the call returns.
import type { AeadProvider } from '#crypto/aead.ts';
import type { IpPrefix } from '#lib/ip.ts';
import type { DeviceLimits } from './constants.ts';

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
  /**
   * Bytes that name a datagram's source (address and port), so that a cookie given to one is worth nothing to another; undefined for a
   * source that is proven already, such as a relay's: it is never asked for a cookie. Without the option, text and bytes name
   * themselves, an object with `address` and `port` is named by them, and all other sources share one name.
   */
  readonly sourceName?: (source: unknown) => Uint8Array | undefined;
  /** Inner MTU: padding never makes a packet longer than this. Without it, packets are padded to a multiple of 16. */
  readonly mtu?: number;
  /** ChaCha20-Poly1305 with memory of its own; the one that needs nothing special unless given. See `chooseAead` of crypto/. */
  readonly aead?: AeadProvider;
  /** Smaller or larger limits than `defaultLimits`. */
  readonly limits?: Partial<DeviceLimits>;
}

/**
 * Where the engine's output goes. The bytes are valid only during the call, and until it calls the device again: copy what is kept.
 * A sink may send from `deliverPacket`, and call any method but the receiving ones from the others.
 */
export interface DeviceSink {
  /** A WireGuard message for the peer; `reply` is the source token of the datagram being answered where the peer is not known yet (cookie reply). */
  sendDatagram(peer: PublicKeyText | undefined, datagram: Uint8Array, reply: unknown): void;
  /**
   * Several WireGuard messages for the peer, back to back, each `size` bytes long, the last may be shorter: at most 64, together no
   * longer than a datagram. Without this method they come to `sendDatagram` one by one.
   */
  sendDatagrams?(peer: PublicKeyText, run: Uint8Array, size: number): void;
  /** A decrypted IP packet whose source address the peer is allowed to use. */
  deliverPacket(peer: PublicKeyText, packet: Uint8Array): void;
  /** The peer proved itself with a datagram from this source: it may be answered there (roaming). Called for each genuine datagram. */
  authenticated(peer: PublicKeyText, source: unknown, now: number): void;
  /**
   * A handshake was completed (true), or given up after 90 s without an answer (false). As the responder, it is complete when the
   * initiator first uses the keys. Packets that are sent meanwhile begin the 90 s again (whitepaper §6.4).
   */
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
  /** What computes the cipher, in one word. */
  readonly cipher: string;
  /**
   * Adds the peer, or changes what differs and keeps its session. A prefix that another peer has moves to this one. Throws
   * WIREGUARD_BAD_PEER, WIREGUARD_SELF_PEER, WIREGUARD_PEER_LIMIT or WIREGUARD_PREFIX_LIMIT, and changes nothing then.
   */
  setPeer(peer: DevicePeer, now: number): void;
  knows(publicKey: PublicKeyText): boolean;
  /** Forgets the peer and erases its keys; nothing where it is unknown. */
  removePeer(publicKey: PublicKeyText): void;
  /**
   * Erases all keys agreed with the peer and gives up a handshake under way, because the other side may have forgotten it: the next packet
   * makes new ones. What protects against replays stays. Nothing where the peer is unknown.
   */
  endSessions(publicKey: PublicKeyText): void;
  /**
   * Starts a handshake with the peer unless a session is fresh; used when a path to it comes up. Repeats one under way where its last
   * message is older than half a second. Nothing where the peer is unknown.
   */
  initiate(publicKey: PublicKeyText, now: number): void;
  /**
   * Starts a handshake though a session may be fresh, because the other side may have forgotten it; the session stays until there is another.
   * Nothing where the peer is unknown, or where the last message of a handshake is not half a second old.
   */
  probe(publicKey: PublicKeyText, now: number): void;
  /** `source` is handed back as it is to `authenticated` and to a cookie reply. */
  receiveDatagram(datagram: Uint8Array, source: unknown, now: number): void;
  /**
   * The same for datagrams of one source back to back in one buffer, each `size` bytes long, the last may be shorter; what they are may
   * differ. `authenticated` is called once for those of one session.
   */
  receiveDatagrams(run: Uint8Array, size: number, source: unknown, now: number): void;
  /**
   * Encrypts an IP packet for the peer that owns its destination; false where no peer does, or where it is no IP packet or longer than
   * 65,472 bytes. Queued (bounded, the oldest gives way) while no session exists.
   */
  sendPacket(packet: Uint8Array, now: number): boolean;
  /**
   * The same for a TCP packet that stands for several, each with `segmentSize` bytes of its payload, the last may have fewer; its own
   * checksums need not be set. At most 65,535 bytes; false also where it cannot be split. 0 stands for a whole packet.
   */
  sendSegments(packet: Uint8Array, segmentSize: number, now: number): boolean;
  /** Does what is due. */
  poll(now: number): void;
  /** When `poll` has to be called next; Infinity where nothing is pending. */
  pollAt(): number;
  status(): readonly DevicePeerStatus[];
}
