// The protocol's times (whitepaper §6.1) and the limits of what a device holds. Milliseconds and bytes.

/** An initiator makes new keys once its session is this old and it has something to send. */
export const rekeyAfterMs = 120_000;

/** No packet is sent or accepted under keys of this age. */
export const rejectAfterMs = 180_000;

/** A handshake that got no answer is given up after this time. */
export const rekeyAttemptMs = 90_000;

/** An unanswered initiation is repeated after this time plus the jitter. */
export const rekeyTimeoutMs = 5_000;

/** Largest random delay of a repetition, so that two sides do not keep meeting. */
export const jitterMs = 333;

/** Who received data and sent nothing for this long answers with a keepalive. */
export const keepaliveMs = 10_000;

/** Keys are erased this long after the last handshake. */
export const zeroKeysAfterMs = 3 * rejectAfterMs;

/** A received cookie is used, and our own cookie secret lives, this long. */
export const cookieLifeMs = 120_000;

/** `initiate` repeats a handshake under way after this time: the last message may have gone out before there was a path. */
export const pathInitiationMs = 500;

/** Initiations of one peer that come closer together are dropped. */
export const initiationSpacingMs = 50;

/** Packets are padded to a multiple of this, so their exact length stays hidden. */
export const paddingBytes = 16;

/** Largest datagram in and out: what UDP over IPv4 carries. */
export const maxDatagramBytes = 65_507;

/** Largest inner packet: a datagram less header, tag and padding. */
export const maxPacketBytes = 65_472;

/** Bytes that a message has beyond its padded packet: header and tag. */
export const messageOverheadBytes = 32;

/** Largest super-packet, a header before at most this much: what Linux gives and takes at once. */
export const maxSuperPacketBytes = 65_535;

/** Messages in one run at most, which together are no longer than one datagram: what UDP segmentation offload takes in one call. */
export const maxRunMessages = 64;

/** Counters behind the highest one that are still told apart; the window's ring has this many bits. */
export const replayRingBits = 8_192;

/** What one device holds at most; tests make them small. */
export interface DeviceLimits {
  readonly peers: number;
  /** Allowed prefixes of all peers. */
  readonly prefixes: number;
  /** Packets of one peer that wait for a session; the oldest gives way. */
  readonly queuedPackets: number;
  readonly queuedBytes: number;
  /** Bytes that wait at all peers; a new packet is dropped where its own queue cannot make room. */
  readonly queuedBytesOfAll: number;
  /** Handshake messages per second from which on a cookie is asked for (about a tenth of a core). */
  readonly handshakesPerSecond: number;
  /** Of these, accepted from one IPv4 address or IPv6 network under load. */
  readonly handshakesPerSource: number;
  /** Accepted from all sources under load, cookies or not (about half of a core). */
  readonly handshakesAccepted: number;
  /** Sources counted in one second; further ones are dropped under load. */
  readonly handshakeSources: number;
  /** Cookies given in one second; further askers hear nothing, so that a flood costs no more than its first MAC (about a tenth of a core). */
  readonly cookieReplies: number;
  /** New keys after this many messages, and no message after the second number. Numbers are exact to 2^53, so these replace 2^60 and 2^64. */
  readonly rekeyAfterMessages: number;
  readonly rejectAfterMessages: number;
}

export const defaultLimits: DeviceLimits = {
  peers: 65_536,
  prefixes: 262_144,
  queuedPackets: 128,
  queuedBytes: 256 * 1024,
  queuedBytesOfAll: 16 * 1024 * 1024,
  handshakesPerSecond: 200,
  handshakesPerSource: 20,
  handshakesAccepted: 1_000,
  handshakeSources: 4_096,
  cookieReplies: 4_000,
  rekeyAfterMessages: 2 ** 52,
  rejectAfterMessages: 2 ** 53 - 2 ** 13,
};
