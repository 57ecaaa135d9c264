// One UDP socket for everything of this peer: WireGuard, ICE and STUN share it, so that the address that checks found open is the one
// that packets use (netbird-wire §5.4).
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { asBuffer } from '#lib/bytes.ts';
import { describeError } from '#lib/errors.ts';
import { formatHostPort } from '#lib/net.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { decodeStun, isStun, type StunMessage } from '#wire/stun.ts';
import { MAX_DATAGRAM_BYTES, MAX_KNOWN_REMOTES, MAX_QUEUED_DATAGRAMS, UDP_BUFFER_BYTES, UDP_PORT_ATTEMPTS } from '../constants.ts';
import { overlayError } from '../errors.ts';
import type { PathSource, TransportAddress } from './path.ts';

/** An open UDP port. Addresses are text, IPv4 never in its mapped form. */
export interface DatagramPort extends Closable {
  readonly port: number;
  /** False where the host has no IPv6. */
  readonly ipv6: boolean;
  /** Sends, or drops; the bytes must not change afterwards. */
  send(datagram: Uint8Array, to: TransportAddress): void;
}

/** The bytes are valid after the call too. */
export type DatagramReceiver = (datagram: Uint8Array, address: string, port: number) => void;

/** How a port is opened; tests put one in between that loses packets. Rejects where none is free. */
export type OpenDatagramPort = (port: number, receive: DatagramReceiver, log: Logger) => Promise<DatagramPort>;

const mappedPrefix = '::ffff:';

/** Opens the port for both families, or for IPv4 where the host has no IPv6; where it is taken, one of the next. */
export const openDatagramPort: OpenDatagramPort = async (port, receive, log) => {
  let failure: unknown;
  for (const type of ['udp6', 'udp4'] as const) {
    for (let attempt = 0; attempt < UDP_PORT_ATTEMPTS && port + attempt < 65_536; attempt++) {
      try {
        return await bind(type, port === 0 ? 0 : port + attempt, receive, log);
      } catch (error) {
        failure = error;
        if (!(error instanceof Error) || !('code' in error) || error.code !== 'EADDRINUSE' || port === 0) break;
      }
    }
  }
  throw overlayError('OVERLAY_UDP_BIND', `port ${port}`, failure);
};

async function bind(type: 'udp4' | 'udp6', port: number, receive: DatagramReceiver, log: Logger): Promise<DatagramPort> {
  // Addresses are always literal, so the look-up answers at once and a packet does not wait for another turn of the loop.
  const lookup = (host: string, _options: unknown, done: (error: null, address: string, family: number) => void): void =>
    done(null, host, host.includes(':') ? 6 : 4);
  const socket = createSocket({ type, lookup });
  try {
    const listening = once(socket, 'listening');
    socket.bind(port);
    await listening;
  } catch (error) {
    socket.close();
    throw error;
  }
  enlargeBuffers(socket);
  socket.on('error', (error) => log.warn('overlay: the UDP socket reports an error', { reason: describeError(error) }));
  socket.on('message', (datagram, from) => {
    const address = from.address;
    receive(datagram, address.startsWith(mappedPrefix) ? address.slice(mappedPrefix.length) : address, from.port);
  });
  const six = type === 'udp6';
  let closing: Promise<void> | undefined;
  return {
    port: socket.address().port,
    ipv6: six,
    send(datagram, to) {
      if (closing !== undefined || socket.getSendQueueCount() > MAX_QUEUED_DATAGRAMS) return;
      const v6 = to.address.includes(':');
      if (v6 && !six) return;
      // Without a callback nothing is scheduled for each packet. One that cannot be sent is as one that was lost: checks notice.
      socket.send(datagram, to.port, six && !v6 ? mappedPrefix + to.address : to.address);
    },
    close: () => {
      closing ??= new Promise((resolve) => socket.close(() => resolve()));
      return closing;
    },
  };
}

function enlargeBuffers(socket: Socket): void {
  try {
    socket.setRecvBufferSize(UDP_BUFFER_BYTES);
    socket.setSendBufferSize(UDP_BUFFER_BYTES);
  } catch {
    // The system's own size has to do.
  }
}

/** A remote address of the socket; one object for each address. */
export class UdpRemote implements PathSource, TransportAddress {
  readonly kind = 'direct';
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

  toString(): string {
    return formatHostPort(this.address, this.port);
  }
}

export interface UdpMuxHandlers {
  /** A datagram that may be WireGuard's. */
  wireGuard(datagram: Uint8Array, source: UdpRemote): void;
  stun(message: StunMessage, source: UdpRemote): void;
}

export class UdpMux implements Closable {
  readonly #handlers: UdpMuxHandlers;
  readonly #remotes = new Map<string, UdpRemote>();
  #socket: DatagramPort | undefined;
  #last: UdpRemote | undefined;

  private constructor(handlers: UdpMuxHandlers) {
    this.#handlers = handlers;
  }

  /** Rejects with OVERLAY_UDP_BIND. */
  static async open(port: number, handlers: UdpMuxHandlers, log: Logger, open: OpenDatagramPort = openDatagramPort): Promise<UdpMux> {
    const mux = new UdpMux(handlers);
    mux.#socket = await open(port, (datagram, address, from) => mux.#receive(datagram, address, from), log);
    return mux;
  }

  get port(): number {
    return this.#socket?.port ?? 0;
  }

  get ipv6(): boolean {
    return this.#socket?.ipv6 ?? false;
  }

  /** The one object of this address. */
  remote(address: string, port: number): UdpRemote {
    const key = `${address} ${port}`;
    let remote = this.#remotes.get(key);
    if (remote === undefined) {
      if (this.#remotes.size >= MAX_KNOWN_REMOTES) this.#remotes.clear();
      remote = new UdpRemote(this, address, port);
      this.#remotes.set(key, remote);
    }
    return remote;
  }

  /** Sends a copy of the datagram: the socket may keep it for a while. */
  send(datagram: Uint8Array, to: TransportAddress): void {
    const copy = Buffer.allocUnsafe(datagram.length);
    copy.set(datagram);
    this.#socket?.send(copy, to);
  }

  async close(): Promise<void> {
    await this.#socket?.close();
  }

  #receive(datagram: Uint8Array, address: string, port: number): void {
    if (datagram.length > MAX_DATAGRAM_BYTES || port === 0) return;
    const last = this.#last;
    const source = last !== undefined && last.port === port && last.address === address ? last : this.remote(address, port);
    this.#last = source;
    if (!looksLikeWireGuard(datagram) && isStun(datagram)) {
      const message = decodeStun(datagram);
      if (message !== undefined) this.#handlers.stun(message, source);
      return;
    }
    this.#handlers.wireGuard(datagram, source);
  }
}

/** At least 32 bytes, of which the first four are a message type from 1 to 4, little-endian. */
function looksLikeWireGuard(datagram: Uint8Array): boolean {
  if (datagram.length < 32) return false;
  const type = asBuffer(datagram).readUInt32LE(0);
  return type >= 1 && type <= 4;
}
