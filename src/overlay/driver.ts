// The one loop of an overlay: datagrams in, through the WireGuard engine and the filter, to what stands inside the tunnel, and back. One
// timer serves both engines; it is looked at once in each turn of the event loop, however many packets that turn brings.
//
// What comes and goes is moved in batches: a run of datagrams is opened together, the packets in it that follow each other reach the stack
// as one, and what the stack sends of one connection is sealed and sent together.
import type { AeadProvider } from '#crypto/aead.ts';
import type { Clock, Timer } from '#lib/clock.ts';
import { utf8 } from '#lib/bytes.ts';
import { Coalescer } from '#wire/coalescing.ts';
import { Reassembler } from '#netstack/reassembly.ts';
import { createDevice } from '#wireguard/device.ts';
import type { WireGuardDevice } from '#wireguard/types.ts';
import type { OverlayFilter } from './filter.ts';
import type { InnerFace } from './inner-face.ts';
import type { PathSource } from './path/path.ts';
import { RelayedRemote } from './path/turn.ts';
import { UdpRemote } from './path/udp-mux.ts';
import { SendBatch } from './send-batch.ts';

export interface DriverOptions {
  readonly privateKey: Uint8Array;
  readonly mtu: number;
  readonly clock: Clock;
  readonly random: (target: Uint8Array) => void;
  readonly filter: OverlayFilter;
  readonly aead: AeadProvider;
}

export interface DriverEvents {
  /** Datagrams of `size` bytes back to back, the last may be shorter. The bytes are valid only during the call. */
  send(peer: string, run: Uint8Array, size: number): void;
  authenticated(peer: string, source: PathSource): void;
  /** A packet came from the peer: it is not idle. */
  delivered(peer: string): void;
  handshake(peer: string, completed: boolean): void;
  /** A packet of ours to an address that the engine knows no peer for. */
  unroutable(packet: Uint8Array): void;
}

export class Driver {
  readonly device: WireGuardDevice;
  readonly #clock: Clock;
  readonly #filter: OverlayFilter;
  readonly #events: DriverEvents;
  readonly #coalescer: Coalescer;
  readonly #fragments = new Reassembler();
  readonly #batch: SendBatch;
  /** Within a turn single datagrams wait for the others of their peer, until the turn ends. */
  #batching = false;
  #face: InnerFace | undefined;
  /** The time of the run that is being received: the clock is read once for it. */
  #now = 0;
  /** Whose packet the last of the run was. */
  #lastPeer: string | undefined;
  #turn: NodeJS.Immediate | undefined;
  #timer: Timer | undefined;
  #timerAt = Infinity;
  #closed = false;

  constructor(options: DriverOptions, events: DriverEvents) {
    const { clock, filter } = options;
    this.#clock = clock;
    this.#filter = filter;
    this.#events = events;
    this.#batch = new SendBatch((peer, run, size) => events.send(peer, run, size));
    this.device = createDevice(
      { privateKey: options.privateKey, random: options.random, wall: () => clock.wall(), sourceName, mtu: options.mtu, aead: options.aead },
      {
        sendDatagram: (peer, datagram, reply) => {
          if (peer === undefined) {
            if (isSource(reply)) reply.reply(datagram);
          } else if (this.#batching) {
            this.#batch.add(peer, datagram);
          } else {
            events.send(peer, datagram, datagram.length);
          }
        },
        sendDatagrams: (peer, run, size) => {
          this.#batch.flush();
          events.send(peer, run, size);
        },
        deliverPacket: (peer, packet) => {
          if (peer !== this.#lastPeer) {
            this.#lastPeer = peer;
            events.delivered(peer);
          }
          if (filter.admitsPacket(packet, this.#now)) this.#coalescer.add(packet);
          else if (filter.isFragment(packet)) this.#takeFragment(packet);
        },
        authenticated: (peer, source) => {
          if (isSource(source)) events.authenticated(peer, source);
        },
        handshake: (peer, completed) => events.handshake(peer, completed),
      },
    );
    this.#coalescer = new Coalescer((packet, segmentSize) => this.#face?.receive(packet, segmentSize, this.#now), { proven: true });
  }

  /** Only the whole names its ports, so the pieces are put together before the filter is asked. */
  #takeFragment(packet: Uint8Array): void {
    const whole = this.#fragments.add(packet, this.#now);
    if (whole !== undefined && this.#filter.admitsPacket(whole, this.#now)) this.#coalescer.add(whole);
  }

  /** Says what stands inside; once, before anything is received. */
  setFace(face: InnerFace): void {
    this.#face = face;
  }

  /** An IP packet for the tunnel, or a super-packet; valid only during the call. */
  send(packet: Uint8Array, segmentSize: number): void {
    const now = this.#clock.now();
    this.#filter.noteOutbound(packet, now);
    if (!this.device.sendSegments(packet, segmentSize, now)) this.#events.unroutable(packet);
  }

  /**
   * WireGuard datagrams from any path, each `size` bytes long, the last may be shorter; they may be overwritten. TCP packets wait for those
   * that follow them until `endTurn`, which comes by itself where nobody calls it.
   */
  receive(run: Uint8Array, size: number, source: PathSource): void {
    if (this.#closed) return;
    this.#now = this.#clock.now();
    this.#lastPeer = undefined;
    this.#batching = true;
    this.device.receiveDatagrams(run, size, source, this.#now);
    this.touch();
  }

  /** Does work that sends many packets, and ends the turn. */
  turn(work: () => void): void {
    this.#batching = true;
    try {
      work();
    } finally {
      this.endTurn();
    }
  }

  /** What was waiting in the socket has been received: hands on what was gathered of it. */
  endTurn(): void {
    if (this.#closed) return;
    clearImmediate(this.#turn);
    this.#turn = undefined;
    this.#now = this.#clock.now();
    this.#batching = true;
    try {
      this.#coalescer.flush();
      this.#face?.endTurn(this.#now);
      this.#poll();
    } finally {
      this.#batching = false;
      this.#batch.flush();
    }
  }

  touch(): void {
    if (this.#closed) return;
    this.#turn ??= setImmediate(() => this.endTurn());
  }

  close(): void {
    this.#closed = true;
    clearImmediate(this.#turn);
    this.#timer?.cancel();
  }

  #poll(): void {
    const now = this.#clock.now();
    if (this.device.pollAt() <= now) this.device.poll(now);
    const face = this.#face;
    if (face !== undefined && face.pollAt() <= now) face.poll(now);
    // What polling brought in is handed on in the next turn; here only the timer is left.
    const at = Math.min(this.device.pollAt(), face?.pollAt() ?? Infinity);
    // A timer that is too early costs one look; one that is too late would cost a deadline.
    if (this.#closed || at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#clock.after(at - now, () => {
      this.#timerAt = Infinity;
      this.#poll();
    });
  }
}

function isSource(value: unknown): value is PathSource {
  return typeof value === 'object' && value !== null && 'reply' in value;
}

/** What a cookie is bound to: a UDP address, behind a TURN server too. Our relay's packets come from a connection that has been proven. */
function sourceName(source: unknown): Uint8Array | undefined {
  return source instanceof UdpRemote || source instanceof RelayedRemote ? utf8(source.toString()) : undefined;
}
