// The data path in: transport messages, one or a run of them, to packets. What a genuine message means for its peer is done at the first
// of a run; the others cost their decryption and the check of their source.
import { transportCounter, transportHeaderBytes, transportReceiver } from '#wire/wireguard.ts';
import type { PrefixTable } from '#lib/prefix-table.ts';
import { arena, Views } from './arena.ts';
import { keepaliveMs, maxDatagramBytes, rejectAfterMs, rekeyTimeoutMs } from './constants.ts';
import { type Core, endSessions } from './core.ts';
import type { Handshakes } from './handshakes.ts';
import { packetLength, sourceOffset, versionOf } from './inner-packet.ts';
import type { Outbound } from './outbound.ts';
import type { Peer, Slot } from './peer.ts';
import type { Session } from './session.ts';

/** An initiator that receives this late in a session's life renews it, though it may have nothing to send. */
const renewOnReceiveMs = rejectAfterMs - keepaliveMs - rekeyTimeoutMs;

const nothing = new Uint8Array(0);

export class Inbound {
  readonly #core: Core;
  readonly #handshakes: Handshakes;
  readonly #outbound: Outbound;
  readonly #allowed: PrefixTable<Peer>;
  readonly #in: Uint8Array;
  readonly #views: Views;
  /** The session whose messages the run in hand has brought so far, once one was genuine. */
  #genuine: Session | undefined;
  #data = false;

  constructor(core: Core, handshakes: Handshakes, outbound: Outbound, allowed: PrefixTable<Peer>) {
    this.#core = core;
    this.#handshakes = handshakes;
    this.#outbound = outbound;
    this.#allowed = allowed;
    this.#in = arena(core.local.aead, maxDatagramBytes);
    this.#views = new Views(this.#in);
  }

  /** A run begins: what comes next is a moment of its own. */
  begin(): void {
    this.#genuine = undefined;
    this.#data = false;
  }

  /** Takes the message at `[start, end)`, which `messageKind` called a transport message. */
  receive(bytes: Uint8Array, start: number, end: number, source: unknown, now: number): void {
    const slot = this.#core.indices.get(transportReceiver(bytes, start));
    const session = slot?.session;
    if (slot === undefined || session === undefined || end - start > maxDatagramBytes) return;
    const counter = transportCounter(bytes, start);
    if (session.expired(now) || counter >= this.#core.limits.rejectAfterMessages || !session.window.fresh(counter)) return;
    const length = session.receiveKey.open(counter, nothing, bytes, start + transportHeaderBytes, end, this.#in, 0);
    if (length < 0 || !session.window.accept(counter)) return;
    slot.peer.receivedBytes += end - start;
    if (session !== this.#genuine) this.#begun(slot, session, source, now);
    if (length === 0) return;
    if (!this.#data) {
      this.#data = true;
      slot.peer.timers.dataReceived(now);
      this.#core.due.update(slot.peer);
    }
    this.#deliver(slot.peer, length);
  }

  /** The first genuine message of a session in this run. */
  #begun({ peer }: Slot, session: Session, source: unknown, now: number): void {
    this.#genuine = session;
    this.#data = false;
    peer.timers.received(now);
    this.#core.due.update(peer);
    this.#core.sink.authenticated(peer.publicKey, source, now);
    if (session === peer.next) this.#confirmNext(peer, now);
    if (session.initiator && !session.renewedOnReceive && now - session.created >= renewOnReceiveMs && session === peer.current) {
      session.renewedOnReceive = true;
      this.#handshakes.start(peer, now);
    }
  }

  #confirmNext(peer: Peer, now: number): void {
    endSessions(this.#core, peer.confirmNext());
    peer.lastHandshake = now;
    peer.timers.handshakeEnded();
    this.#core.sink.handshake(peer.publicKey, true, now);
    this.#outbound.flush(peer, now);
  }

  /** Hands on the packet in the arena if its own length is right and the peer may send from its source. */
  #deliver(peer: Peer, length: number): void {
    const packet = this.#views.first(length);
    const version = versionOf(packet);
    if (version === undefined || peer.removed) return;
    const own = packetLength(version, packet);
    if (own === undefined || this.#allowed.lookup(version, packet, sourceOffset(version)) !== peer) return;
    this.#core.sink.deliverPacket(peer.publicKey, this.#views.first(own));
  }
}
