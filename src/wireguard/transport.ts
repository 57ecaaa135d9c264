// The data path: packets to transport messages and back. One scratch buffer for each direction, no allocation of its own per packet.
import { maxDatagramBytes, paddingBytes, rejectAfterMs, rekeyAfterMs, keepaliveMs, rekeyTimeoutMs } from './constants.ts';
import { transportCounter, transportHeaderBytes, transportReceiver, writeTransportHeader } from '#wire/wireguard.ts';
import { type Core, endSessions } from './core.ts';
import type { Handshakes } from './handshakes.ts';
import { destinationOffset, packetLength, sourceOffset, type IpVersion, versionOf } from './inner-packet.ts';
import type { Peer } from './peer.ts';
import type { PrefixTable } from './allowed-ips.ts';
import type { Session } from './session.ts';

/** An initiator that receives this late in a session's life renews it, though it may have nothing to send. */
const renewOnReceiveMs = rejectAfterMs - keepaliveMs - rekeyTimeoutMs;

const nothing = new Uint8Array(0);

export class Transport {
  readonly #core: Core;
  readonly #handshakes: Handshakes;
  readonly #allowed: PrefixTable<Peer>;
  readonly #out = new Uint8Array(maxDatagramBytes + paddingBytes);
  readonly #in = new Uint8Array(maxDatagramBytes);

  constructor(core: Core, handshakes: Handshakes, allowed: PrefixTable<Peer>) {
    this.#core = core;
    this.#handshakes = handshakes;
    this.#allowed = allowed;
  }

  /** Sends a packet to the peer that owns its destination, or queues it there; false where there is none. */
  send(packet: Uint8Array, now: number): boolean {
    const version = versionOf(packet);
    const peer = version === undefined ? undefined : this.#allowed.lookup(version, packet, destinationOffset(version));
    if (peer === undefined) return false;
    const session = this.#usable(peer, now);
    if (session === undefined) {
      peer.queue.push(packet);
      this.#handshakes.start(peer, now);
    } else {
      this.#transmit(peer, session, packet, now);
    }
    return true;
  }

  /** Sends a message without a packet; where no session exists, begins a handshake, which ends with one. */
  sendKeepalive(peer: Peer, now: number): void {
    const session = this.#usable(peer, now);
    if (session === undefined) this.#handshakes.start(peer, now);
    else this.#transmit(peer, session, nothing, now);
  }

  /** A session can send: sends what has waited. */
  flush(peer: Peer, now: number): void {
    while (peer.queue.length > 0) {
      const session = this.#usable(peer, now);
      const packet = session === undefined ? undefined : peer.queue.shift();
      if (session === undefined || packet === undefined) return;
      this.#transmit(peer, session, packet, now);
    }
  }

  /** As `flush`, with a keepalive where nothing has waited: the responder may send only after it was sent to. */
  confirm(peer: Peer, now: number): void {
    if (peer.queue.length > 0) this.flush(peer, now);
    else this.sendKeepalive(peer, now);
  }

  receive(datagram: Uint8Array, source: unknown, now: number): void {
    const slot = this.#core.indices.get(transportReceiver(datagram));
    const session = slot?.session;
    if (slot === undefined || session === undefined || datagram.length > maxDatagramBytes) return;
    const counter = transportCounter(datagram);
    if (session.expired(now) || counter >= this.#core.limits.rejectAfterMessages || !session.window.fresh(counter)) return;
    const length = session.receiveKey.open(counter, nothing, datagram, transportHeaderBytes, datagram.length, this.#in, 0);
    if (length < 0 || !session.window.accept(counter)) return;
    const { peer } = slot;
    peer.receivedBytes += datagram.length;
    peer.timers.received(now);
    if (length > 0) peer.timers.dataReceived(now);
    this.#core.due.update(peer);
    this.#core.sink.authenticated(peer.publicKey, source, now);
    if (session === peer.next) this.#confirmNext(peer, now);
    if (session.initiator && !session.renewedOnReceive && now - session.created >= renewOnReceiveMs && session === peer.current) {
      session.renewedOnReceive = true;
      this.#handshakes.start(peer, now);
    }
    if (length > 0) this.#deliver(peer, length);
  }

  #confirmNext(peer: Peer, now: number): void {
    endSessions(this.#core, peer.confirmNext());
    peer.lastHandshake = now;
    peer.timers.handshakeEnded();
    this.#core.sink.handshake(peer.publicKey, true, now);
    this.flush(peer, now);
  }

  /** Hands on the packet in the scratch buffer if its own length is right and the peer may send from its source. */
  #deliver(peer: Peer, length: number): void {
    const packet = this.#in.subarray(0, length);
    const version: IpVersion | undefined = versionOf(packet);
    if (version === undefined || peer.removed) return;
    const own = packetLength(version, packet);
    if (own === undefined || this.#allowed.lookup(version, packet, sourceOffset(version)) !== peer) return;
    this.#core.sink.deliverPacket(peer.publicKey, packet.subarray(0, own));
  }

  /** The session that may send now. */
  #usable(peer: Peer, now: number): Session | undefined {
    const session = peer.current;
    if (session === undefined || session.expired(now) || session.sendCounter >= this.#core.limits.rejectAfterMessages) return undefined;
    return session;
  }

  #transmit(peer: Peer, session: Session, packet: Uint8Array, now: number): void {
    const out = this.#out;
    const { length } = packet;
    const padded = Math.max(length, Math.min(Math.ceil(length / paddingBytes) * paddingBytes, this.#core.mtu));
    const counter = session.sendCounter++;
    writeTransportHeader(out, session.remoteIndex, counter);
    let end: number;
    if (padded === length) {
      end = transportHeaderBytes + session.sendKey.seal(counter, nothing, packet, 0, length, out, transportHeaderBytes);
    } else {
      const stop = transportHeaderBytes + padded;
      out.set(packet, transportHeaderBytes);
      out.fill(0, transportHeaderBytes + length, stop);
      end = transportHeaderBytes + session.sendKey.seal(counter, nothing, out, transportHeaderBytes, stop, out, transportHeaderBytes);
    }
    peer.sentBytes += end;
    peer.timers.sent(now);
    if (length > 0) peer.timers.dataSent(now);
    this.#core.due.update(peer);
    this.#core.sink.sendDatagram(peer.publicKey, out.subarray(0, end), undefined);
    const old = session.initiator && now - session.created >= rekeyAfterMs;
    if ((old || counter >= this.#core.limits.rekeyAfterMessages) && !peer.removed) this.#handshakes.start(peer, now);
  }
}
