// The handshake in both roles: when to send one, what to make of those that come, and the sessions that they make.
import { keyToText } from '#crypto/x25519.ts';
import {
  decodeCookieReply,
  decodeInitiation,
  decodeResponse,
  encodeCookieReply,
  encodeInitiation,
  encodeResponse,
  type Initiation,
  type Response,
} from '#wire/wireguard.ts';
import { initiationSpacingMs, pathInitiationMs, rekeyAfterMs } from './constants.ts';
import { type Core, endPending, endSessions, sourceShare } from './core.ts';
import { FloodGate } from './flood-gate.ts';
import { MacChecker } from './macs.ts';
import { openInitiation, openResponse, proveInitiation, type ProvenInitiation, writeInitiation, writeResponse } from './noise.ts';
import type { Peer } from './peer.ts';
import { Session } from './session.ts';
import { isLater } from './timestamp.ts';

const nobody = (): string => '';
const always = (): boolean => true;

export class Handshakes {
  readonly #core: Core;
  readonly #checker: MacChecker;
  readonly #gate: FloodGate;
  readonly #sessionReady: (peer: Peer, now: number) => void;
  readonly #jitterBytes = new Uint8Array(2);

  /** `sessionReady` is called when a session that we initiated can send. */
  constructor(core: Core, sessionReady: (peer: Peer, now: number) => void) {
    this.#core = core;
    this.#checker = new MacChecker(core.local.key.publicBytes, core.local.random);
    this.#gate = new FloodGate(core.limits);
    this.#sessionReady = sessionReady;
  }

  /** A packet needs new keys: begins a handshake, or gives the one under way its full time again. At most one initiation in 5 s. */
  start(peer: Peer, now: number): void {
    const { timers } = peer;
    timers.attempt(now);
    if (timers.retransmitAt !== Infinity) return;
    const allowed = timers.initiationAllowedAt();
    if (now >= allowed) this.#initiate(peer, now);
    else timers.retransmitAt = allowed; // we answered a moment ago: most likely that session comes into use first
    this.#core.due.update(peer);
  }

  /** A path to the peer came up: begins a handshake unless the session is fresh, without waiting for a repetition's time. */
  startOnPath(peer: Peer, now: number): void {
    const session = peer.current;
    if (session !== undefined && now - session.created < rekeyAfterMs) return;
    if (now - peer.timers.handshakeSentAt < pathInitiationMs) return this.start(peer, now);
    peer.timers.attempt(now);
    this.#initiate(peer, now);
  }

  /** Begins a handshake whatever sessions there are, but for one of just now. */
  probe(peer: Peer, now: number): void {
    if (now - peer.timers.handshakeSentAt < pathInitiationMs) return;
    peer.timers.attempt(now);
    this.#initiate(peer, now);
  }

  /** The time for an answer is over: repeats the initiation, or gives up. */
  retransmit(peer: Peer, now: number): void {
    const { timers } = peer;
    if (now >= timers.giveUpAt) {
      timers.gaveUp();
      endPending(this.#core, peer);
      peer.queue.clear();
      this.#core.sink.handshake(peer.publicKey, false, now);
    } else if (now < timers.initiationAllowedAt()) {
      timers.retransmitAt = timers.initiationAllowedAt();
    } else {
      this.#initiate(peer, now);
    }
  }

  receiveInitiation(datagram: Uint8Array, source: unknown, now: number): void {
    const message = decodeInitiation(datagram);
    if (!this.#admit(datagram, message, source, now)) return;
    const { local } = this.#core;
    const opened = openInitiation(local, message);
    const peer = opened === undefined ? undefined : this.#core.peers.get(keyToText(opened.claimedKey));
    if (opened === undefined || peer === undefined) return;
    const proven = proveInitiation(local, peer, opened);
    if (proven === undefined || !isLater(proven.timestamp, peer.lastTimestamp)) return;
    if (now - peer.lastInitiationAt < initiationSpacingMs) return;
    peer.lastTimestamp = proven.timestamp;
    peer.lastInitiationAt = now;
    peer.receivedBytes += datagram.length;
    peer.timers.received(now);
    this.#core.sink.authenticated(peer.publicKey, source, now);
    if (!peer.removed) this.#answer(peer, proven, now);
    if (!peer.removed) this.#core.due.update(peer);
  }

  receiveResponse(datagram: Uint8Array, source: unknown, now: number): void {
    const message = decodeResponse(datagram);
    const peer = this.#core.indices.get(message.receiver)?.peer;
    const pending = peer?.pending;
    if (peer === undefined || pending === undefined || pending.index !== message.receiver) return;
    if (!this.#admit(datagram, message, source, now)) return;
    const { local, indices, sink, due } = this.#core;
    const keys = openResponse(local, peer, pending.state, message);
    if (keys === undefined) return;
    const session = new Session(local.aead, keys, true, pending.index, message.sender, now);
    endPending(this.#core, peer);
    indices.replace(pending.index, { peer, session });
    endSessions(this.#core, peer.beginInitiated(session));
    peer.receivedBytes += datagram.length;
    peer.lastHandshake = now;
    peer.timers.received(now);
    peer.timers.handshakeEnded();
    peer.timers.sessionMade(now);
    due.update(peer);
    sink.authenticated(peer.publicKey, source, now);
    if (!peer.removed) this.#sessionReady(peer, now);
    if (!peer.removed) sink.handshake(peer.publicKey, true, now);
  }

  receiveCookieReply(datagram: Uint8Array, now: number): void {
    const message = decodeCookieReply(datagram);
    // used by the next initiation, at its own time: an answer at once would let the reply drive us
    this.#core.indices.get(message.receiver)?.peer.macs.take(message, now);
  }

  #initiate(peer: Peer, now: number): void {
    const { local, indices, due } = this.#core;
    endPending(this.#core, peer);
    local.random(this.#jitterBytes);
    peer.timers.initiationSent(now, ((this.#jitterBytes[0] ?? 0) * 256 + (this.#jitterBytes[1] ?? 0)) / 65_536);
    due.update(peer);
    const index = indices.add({ peer, session: undefined });
    const written = writeInitiation(local, peer, index, peer.timestamps.next());
    if (written === undefined) return indices.delete(index); // a useless public key: no message, and the attempt ends in time
    peer.pending = { index, state: written.state };
    this.#send(peer, encodeInitiation(written.message), now);
  }

  #answer(peer: Peer, proven: ProvenInitiation, now: number): void {
    const { local, indices } = this.#core;
    const index = indices.add({ peer, session: undefined });
    const written = writeResponse(local, peer, proven, index);
    if (written === undefined) return indices.delete(index);
    const session = new Session(local.aead, written.keys, false, index, proven.sender, now);
    indices.replace(index, { peer, session });
    endSessions(this.#core, peer.beginAnswered(session));
    peer.timers.responseSent(now);
    peer.timers.sessionMade(now);
    this.#send(peer, encodeResponse(written.message), now);
  }

  #send(peer: Peer, datagram: Uint8Array, now: number): void {
    peer.macs.write(datagram, now);
    peer.sentBytes += datagram.length;
    peer.timers.sent(now);
    this.#core.sink.sendDatagram(peer.publicKey, datagram, undefined);
  }

  /** Whether the message is worth a key agreement: made for us, and within the rates or with a cookie. Answers with a cookie itself. */
  #admit(datagram: Uint8Array, message: Initiation | Response, source: unknown, now: number): boolean {
    if (!this.#checker.checkMac1(datagram)) return false;
    const name = this.#core.sourceName(source);
    const decision =
      name === undefined
        ? this.#gate.decide(true, nobody, always, now)
        : this.#gate.decide(
            false,
            () => sourceShare(source, name),
            () => this.#checker.checkMac2(datagram, name, now),
            now,
          );
    if (decision === 'cookie' && name !== undefined) {
      const reply = encodeCookieReply(this.#checker.reply(datagram, message.sender, name, now));
      this.#core.sink.sendDatagram(undefined, reply, source);
    }
    return decision === 'accept';
  }
}
