// The data path out: packets, and super-packets that stand for many, to transport messages. Messages are made one behind the other in one
// arena, sealed where they stand, and leave as runs: what can be done once for a run is not done for each packet, and nothing is allocated.
import { transportHeaderBytes, writeTransportHeader } from '#wire/wireguard.ts';
import { sumWordsBy } from '#wire/checksum.ts';
import { Segmenter } from '#wire/segmentation.ts';
import type { PrefixTable } from '#lib/prefix-table.ts';
import { arena, Views } from './arena.ts';
import { maxDatagramBytes, maxRunMessages, maxSuperPacketBytes, messageOverheadBytes, paddingBytes, rekeyAfterMs } from './constants.ts';
import type { Core } from './core.ts';
import type { Handshakes } from './handshakes.ts';
import { destinationOffset, fitsMessage, versionOf } from './inner-packet.ts';
import type { Peer } from './peer.ts';
import type { Session } from './session.ts';

const nothing = new Uint8Array(0);

export class Outbound {
  readonly #core: Core;
  readonly #handshakes: Handshakes;
  readonly #allowed: PrefixTable<Peer>;
  readonly #segmenter: Segmenter;
  /** The super-packet that the segmenter holds. */
  #begun: Uint8Array | undefined;
  readonly #out: Uint8Array;
  readonly #views: Views;

  constructor(core: Core, handshakes: Handshakes, allowed: PrefixTable<Peer>) {
    this.#core = core;
    this.#handshakes = handshakes;
    this.#allowed = allowed;
    const { sumBlocks } = core.local.aead;
    this.#segmenter = new Segmenter(sumBlocks === undefined ? undefined : sumWordsBy(sumBlocks));
    this.#out = arena(core.local.aead, maxDatagramBytes + paddingBytes);
    this.#views = new Views(this.#out);
  }

  /** Sends a packet to the peer that owns its destination, or queues it there; false where there is none. */
  send(packet: Uint8Array, now: number): boolean {
    const peer = fitsMessage(packet.length) ? this.#owner(packet) : undefined;
    if (peer === undefined) return false;
    const session = this.#usable(peer, now, 1);
    if (session === undefined) {
      peer.queue.push(packet);
      this.#handshakes.start(peer, now);
    } else {
      this.#transmit(peer, session, packet, now);
    }
    return true;
  }

  /** Sends the packets that a super-packet stands for; false where nobody owns its destination or it cannot be split. */
  sendSegments(packet: Uint8Array, segmentSize: number, now: number): boolean {
    if (segmentSize <= 0) return this.send(packet, now);
    const peer = packet.length <= maxSuperPacketBytes ? this.#owner(packet) : undefined;
    const segmenter = this.#segmenter;
    if (peer === undefined || !segmenter.begin(packet, segmentSize) || !fitsMessage(segmenter.size)) return false;
    const { count } = segmenter;
    const most = Math.min(maxRunMessages, Math.floor(maxDatagramBytes / (this.#padded(segmenter.size) + messageOverheadBytes)));
    this.#begun = packet;
    for (let first = 0; first < count && !peer.removed; first += most) {
      if (this.#begun !== packet) segmenter.begin(packet, segmentSize); // the sink sent another one meanwhile
      this.#begun = packet;
      const stop = Math.min(count, first + most);
      const session = this.#usable(peer, now, stop - first);
      if (session === undefined) this.#queue(peer, first, stop, now);
      else this.#transmitRun(peer, session, first, stop, now);
    }
    this.#begun = undefined;
    return true;
  }

  /** Sends a message without a packet; where no session exists, begins a handshake, which ends with one. */
  sendKeepalive(peer: Peer, now: number): void {
    const session = this.#usable(peer, now, 1);
    if (session === undefined) this.#handshakes.start(peer, now);
    else this.#transmit(peer, session, nothing, now);
  }

  /** A session can send: sends what has waited. */
  flush(peer: Peer, now: number): void {
    while (peer.queue.length > 0) {
      const session = this.#usable(peer, now, 1);
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

  /** The peer that owns the destination of what begins like an IP packet. */
  #owner(packet: Uint8Array): Peer | undefined {
    const version = versionOf(packet);
    return version === undefined ? undefined : this.#allowed.lookup(version, packet, destinationOffset(version));
  }

  /** The session that may send so many messages now. */
  #usable(peer: Peer, now: number, messages: number): Session | undefined {
    const session = peer.current;
    if (session === undefined || session.expired(now) || session.sendCounter + messages > this.#core.limits.rejectAfterMessages) return undefined;
    return session;
  }

  /** The length of a packet's padding included, never beyond the MTU. */
  #padded(length: number): number {
    return Math.max(length, Math.min(Math.ceil(length / paddingBytes) * paddingBytes, this.#core.mtu));
  }

  #transmit(peer: Peer, session: Session, packet: Uint8Array, now: number): void {
    this.#out.set(packet, transportHeaderBytes);
    const end = this.#seal(session, 0, packet.length);
    this.#sent(peer, end, packet.length > 0, now);
    this.#core.sink.sendDatagram(peer.publicKey, this.#views.first(end), undefined);
    this.#renew(peer, session, now);
  }

  /** Sends segments `first` to `stop` of the super-packet in hand, which fit the arena and one system call. */
  #transmitRun(peer: Peer, session: Session, first: number, stop: number, now: number): void {
    const segmenter = this.#segmenter;
    const out = this.#out;
    let at = 0;
    for (let i = first; i < stop; i++) at = this.#seal(session, at, segmenter.write(i, out, at + transportHeaderBytes));
    const size = stop - first === 1 ? at : this.#padded(segmenter.size) + messageOverheadBytes;
    this.#sent(peer, at, true, now);
    const { sink } = this.#core;
    if (size === at) sink.sendDatagram(peer.publicKey, this.#views.first(at), undefined);
    else if (sink.sendDatagrams !== undefined) sink.sendDatagrams(peer.publicKey, out.subarray(0, at), size);
    else for (let from = 0; from < at; from += size) sink.sendDatagram(peer.publicKey, out.subarray(from, Math.min(at, from + size)), undefined);
    this.#renew(peer, session, now);
  }

  /** Makes the message at `at` of the arena, where the packet stands behind the place of its header. Returns the message's end. */
  #seal(session: Session, at: number, length: number): number {
    const out = this.#out;
    const start = at + transportHeaderBytes;
    const padded = this.#padded(length);
    if (padded !== length) out.fill(0, start + length, start + padded);
    const counter = session.sendCounter++;
    writeTransportHeader(out, at, session.remoteIndex, counter);
    return start + session.sendKey.seal(counter, nothing, out, start, start + padded, out, start);
  }

  #queue(peer: Peer, first: number, stop: number, now: number): void {
    for (let i = first; i < stop; i++) peer.queue.push(this.#out.subarray(0, this.#segmenter.write(i, this.#out, 0)));
    this.#handshakes.start(peer, now);
  }

  /** Notes what is about to leave. */
  #sent(peer: Peer, bytes: number, data: boolean, now: number): void {
    peer.sentBytes += bytes;
    peer.timers.sent(now);
    if (data) peer.timers.dataSent(now);
    this.#core.due.update(peer);
  }

  /** Begins new keys where these have become old by time or by messages. */
  #renew(peer: Peer, session: Session, now: number): void {
    const old = session.initiator && now - session.created >= rekeyAfterMs;
    if ((old || session.sendCounter > this.#core.limits.rekeyAfterMessages) && !peer.removed) this.#handshakes.start(peer, now);
  }
}
