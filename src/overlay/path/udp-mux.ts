// One UDP socket for everything of this peer: WireGuard, ICE and STUN share it, so that the address that checks found open is the one
// that packets use (netbird-wire §5.4).
import { formatHostPort } from '#lib/net.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { decodeStun, isStun, type StunMessage } from '#wire/stun.ts';
import { isChannelData } from '#wire/turn.ts';
import { MAX_DATAGRAM_BYTES, MAX_KNOWN_REMOTES } from '../constants.ts';
import { openDatagramPort } from '../udp/open.ts';
import type { DatagramPort, OpenDatagramPort, UdpAccelerator } from '../udp/port.ts';
import type { PathSource, RemoteAddress, TransportAddress } from './path.ts';

/** A remote address of the socket; one object for each address. */
export class UdpRemote implements RemoteAddress {
  readonly kind = 'direct';
  readonly base = undefined;
  readonly address: string;
  readonly port: number;
  readonly #mux: UdpMux;

  constructor(mux: UdpMux, address: string, port: number) {
    this.#mux = mux;
    this.address = address;
    this.port = port;
  }

  reply(datagram: Uint8Array): void {
    this.#mux.send(datagram, this);
  }

  replyRun(run: Uint8Array, size: number): void {
    this.#mux.sendRun(run, size, this);
  }

  toString(): string {
    return formatHostPort(this.address, this.port);
  }
}

export interface UdpMuxHandlers {
  /** A run of datagrams that may be WireGuard's: each `size` bytes long, the last may be shorter. Valid only during the call. */
  wireGuard(run: Uint8Array, size: number, source: PathSource): void;
  /** The message's bytes are the receiver's own. */
  stun(message: StunMessage, source: RemoteAddress): void;
  /** What may be a TURN server's; valid only during the call. */
  turn(datagram: Uint8Array, source: RemoteAddress): void;
}

/** Hands a datagram to whom its first bytes say it belongs (§5.4); what came out of a relay is sorted the same way. */
export function sortDatagram(datagram: Uint8Array, source: RemoteAddress, handlers: UdpMuxHandlers): void {
  if (looksLikeWireGuard(datagram, 0, datagram.length)) return handlers.wireGuard(datagram, datagram.length, source);
  if (isStun(datagram)) {
    const message = decodeStun(new Uint8Array(datagram));
    if (message !== undefined) handlers.stun(message, source);
    else handlers.turn(datagram, source);
  } else if (isChannelData(datagram)) handlers.turn(datagram, source);
  else if (datagram.length > 0) handlers.wireGuard(datagram, datagram.length, source);
}

/** The same for a run, in order. WireGuard's datagrams stay together where they stand together. */
function sortRun(run: Uint8Array, size: number, source: RemoteAddress, handlers: UdpMuxHandlers): void {
  let from = 0;
  for (let at = 0; at < run.length; at += size) {
    if (looksLikeWireGuard(run, at, Math.min(size, run.length - at))) continue;
    if (at > from) handlers.wireGuard(run.subarray(from, at), size, source);
    sortDatagram(run.subarray(at, at + size), source, handlers);
    from = at + size;
  }
  if (from < run.length) handlers.wireGuard(from === 0 ? run : run.subarray(from), size, source);
}

export class UdpMux implements Closable {
  readonly #handlers: UdpMuxHandlers;
  /** By address, then by port: found without making anything. */
  #remotes = new Map<string, Map<number, UdpRemote>>();
  #remoteCount = 0;
  #socket: DatagramPort | undefined;
  #last: UdpRemote | undefined;

  private constructor(handlers: UdpMuxHandlers) {
    this.#handlers = handlers;
  }

  /** `drained` is called when what was waiting in the socket has been handed over. Rejects with OVERLAY_UDP_BIND. */
  static async open(
    port: number,
    handlers: UdpMuxHandlers,
    log: Logger,
    open: OpenDatagramPort = openDatagramPort,
    drained: () => void = () => undefined,
  ): Promise<UdpMux> {
    const mux = new UdpMux(handlers);
    mux.#socket = await open(port, { receive: (run, size, address, from) => mux.#receive(run, size, address, from), drained }, log);
    return mux;
  }

  get port(): number {
    return this.#socket?.port ?? 0;
  }

  get ipv6(): boolean {
    return this.#socket?.ipv6 ?? false;
  }

  /** What carries the datagrams. */
  get accelerator(): UdpAccelerator {
    return this.#socket?.accelerator ?? { kind: 'dgram', reason: 'not open' };
  }

  /** The one object of this address. */
  remote(address: string, port: number): UdpRemote {
    let ports = this.#remotes.get(address);
    const known = ports?.get(port);
    if (known !== undefined) return known;
    if (ports === undefined || this.#remoteCount >= MAX_KNOWN_REMOTES) {
      if (this.#remoteCount >= MAX_KNOWN_REMOTES) {
        this.#remotes = new Map();
        this.#remoteCount = 0;
      }
      ports = new Map();
      this.#remotes.set(address, ports);
    }
    const remote = new UdpRemote(this, address, port);
    ports.set(port, remote);
    this.#remoteCount++;
    return remote;
  }

  /** Sends, or drops; the bytes may change afterwards. */
  send(datagram: Uint8Array, to: TransportAddress): void {
    this.#socket?.send(datagram, to);
  }

  /** Sends, or drops, datagrams of `size` bytes that stand back to back; the last may be shorter. */
  sendRun(run: Uint8Array, size: number, to: TransportAddress): void {
    this.#socket?.sendRun(run, size, to);
  }

  async close(): Promise<void> {
    await this.#socket?.close();
  }

  #receive(run: Uint8Array, size: number, address: string, port: number): void {
    if (size > MAX_DATAGRAM_BYTES || size === 0 || port === 0) return;
    const last = this.#last;
    const source = last !== undefined && last.port === port && last.address === address ? last : this.remote(address, port);
    this.#last = source;
    sortRun(run, size, source, this.#handlers);
  }
}

/** At least 32 bytes, of which the first four are a message type from 1 to 4, little-endian. */
function looksLikeWireGuard(bytes: Uint8Array, at: number, length: number): boolean {
  const type = bytes[at] ?? 0;
  return length >= 32 && type >= 1 && type <= 4 && bytes[at + 1] === 0 && bytes[at + 2] === 0 && bytes[at + 3] === 0;
}
