// Everything that a device knows about one peer. Holds state and the rules by which sessions follow each other; sends nothing itself.
import { type X25519PrivateKey, X25519PublicKey } from '#crypto/x25519.ts';
import type { IpPrefix } from '#lib/ip.ts';
import type { Due } from './due-heap.ts';
import { MacWriter } from './macs.ts';
import type { InitiatorState, RemoteIdentity } from './noise.ts';
import type { PacketQueue } from './packet-queue.ts';
import type { Session } from './session.ts';
import { PeerTimers } from './timers.ts';
import { timestampBytes, TimestampSource } from './timestamp.ts';
import type { PublicKeyText } from './types.ts';

/** An initiation of ours that waits for its response. */
export interface PendingHandshake {
  readonly index: number;
  readonly state: InitiatorState;
}

/** What an index names: a session, or the pending handshake of a peer where there is no session. */
export interface Slot {
  readonly peer: Peer;
  readonly session: Session | undefined;
}

export class Peer implements Due, RemoteIdentity {
  readonly publicKey: PublicKeyText;
  readonly key: X25519PublicKey;
  readonly macs: MacWriter;
  readonly timers = new PeerTimers();
  readonly timestamps: TimestampSource;
  readonly queue: PacketQueue;
  readonly #ownKey: X25519PrivateKey;
  #staticSecret: Uint8Array | undefined;
  #staticSecretKnown = false;

  presharedKey: Uint8Array = new Uint8Array(32);
  allowedIps: readonly IpPrefix[] = [];
  removed = false;

  pending: PendingHandshake | undefined;
  /** The session before the current one, for packets that are still under way. */
  previous: Session | undefined;
  /** The session that sends. */
  current: Session | undefined;
  /** A session that we answered to and that its initiator has not used yet. */
  next: Session | undefined;

  /** The newest timestamp that the peer has sent: an older initiation is a replay. */
  lastTimestamp: Uint8Array = new Uint8Array(timestampBytes);
  lastInitiationAt = -Infinity;
  lastHandshake: number | undefined;
  receivedBytes = 0;
  sentBytes = 0;

  heapPlace = -1;
  heapAt = Infinity;

  constructor(publicKey: PublicKeyText, bytes: Uint8Array, ownKey: X25519PrivateKey, wall: () => number, queue: PacketQueue) {
    this.publicKey = publicKey;
    this.key = new X25519PublicKey(bytes);
    this.macs = new MacWriter(bytes);
    this.timestamps = new TimestampSource(wall);
    this.queue = queue;
    this.#ownKey = ownKey;
  }

  /** Computed at its first use, since most of a large mesh's peers never meet. */
  staticSecret(): Uint8Array | undefined {
    if (!this.#staticSecretKnown) {
      this.#staticSecret = this.#ownKey.agree(this.key);
      this.#staticSecretKnown = true;
    }
    return this.#staticSecret;
  }

  /** Nothing is due at a removed peer, whatever a call that was under way at the time still armed. */
  dueAt(): number {
    return this.removed ? Infinity : this.timers.dueAt();
  }

  /** Takes a session that we initiated, which sends at once. Returns the sessions that have ended thereby. */
  beginInitiated(session: Session): readonly (Session | undefined)[] {
    const ended = this.next === undefined ? [this.previous] : [this.previous, this.current];
    this.previous = this.next ?? this.current;
    this.next = undefined;
    this.current = session;
    return ended;
  }

  /** Takes a session that we answered to, which waits for its first message. Returns the sessions that have ended thereby. */
  beginAnswered(session: Session): readonly (Session | undefined)[] {
    const ended = [this.next, this.previous];
    this.next = session;
    this.previous = undefined;
    return ended;
  }

  /** The waiting session was used: it sends from now on. Returns the sessions that have ended thereby. */
  confirmNext(): readonly (Session | undefined)[] {
    const ended = [this.previous];
    this.previous = this.current;
    this.current = this.next;
    this.next = undefined;
    return ended;
  }

  /** Lets go of all sessions and returns them. */
  endSessions(): readonly (Session | undefined)[] {
    const ended = [this.previous, this.current, this.next];
    this.previous = undefined;
    this.current = undefined;
    this.next = undefined;
    return ended;
  }
}
