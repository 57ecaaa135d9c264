// The UDP port on Node's own socket: works everywhere, one system call and one event for each datagram.
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { TransportAddress } from '../path/path.ts';
import { MAX_QUEUED_DATAGRAMS, MAX_RUN_BYTES, UDP_BUFFER_BYTES } from './constants.ts';
import { type DatagramEvents, type DatagramPort, mappedPrefix, type UdpAccelerator } from './port.ts';

/** Opens one port of one family, at all addresses or at one. Rejects with the system's error. */
export async function openDgramPort(
  type: 'udp4' | 'udp6',
  port: number,
  events: DatagramEvents,
  log: Logger,
  accelerator: UdpAccelerator,
  host?: string,
): Promise<DatagramPort> {
  // Addresses are always literal, so the look-up answers at once and a packet does not wait for another turn of the loop.
  const lookup = (host: string, _options: unknown, done: (error: null, address: string, family: number) => void): void =>
    done(null, host, host.includes(':') ? 6 : 4);
  const socket = createSocket({ type, lookup });
  try {
    const listening = once(socket, 'listening');
    socket.bind(port, host);
    await listening;
  } catch (error) {
    socket.close();
    throw error;
  }
  enlargeBuffers(socket);
  return new DgramPort(socket, type === 'udp6', events, log, accelerator);
}

class DgramPort implements DatagramPort {
  readonly port: number;
  readonly ipv6: boolean;
  readonly accelerator: UdpAccelerator;
  readonly #socket: Socket;
  readonly #events: DatagramEvents;
  /** Where a run stands while it is sent. */
  #memory = Buffer.allocUnsafeSlow(MAX_RUN_BYTES);
  #turn: NodeJS.Immediate | undefined;
  #closing: Promise<void> | undefined;

  constructor(socket: Socket, ipv6: boolean, events: DatagramEvents, log: Logger, accelerator: UdpAccelerator) {
    this.port = socket.address().port;
    this.ipv6 = ipv6;
    this.accelerator = accelerator;
    this.#socket = socket;
    this.#events = events;
    socket.on('error', (error) => log.warn('overlay: the UDP socket reports an error', { reason: describeError(error) }));
    socket.on('message', (datagram, from) => this.#received(datagram, from));
  }

  send(datagram: Uint8Array, to: TransportAddress): void {
    this.sendRun(datagram, Math.max(1, datagram.length), to);
  }

  sendRun(run: Uint8Array, size: number, to: TransportAddress): void {
    const v6 = to.address.includes(':');
    if (this.#closing !== undefined || (v6 && !this.ipv6)) return;
    const address = this.ipv6 && !v6 ? mappedPrefix + to.address : to.address;
    const copy = run.length > this.#memory.length ? Buffer.from(run) : this.#memory;
    if (copy === this.#memory) copy.set(run);
    const end = run.length;
    for (let at = 0; at === 0 || at < end; at += size) {
      if (this.#socket.getSendQueueCount() > MAX_QUEUED_DATAGRAMS) break;
      // Without a callback nothing is scheduled for each packet. One that cannot be sent is as one that was lost: checks notice.
      this.#socket.send(copy.subarray(at, Math.min(at + size, end)), to.port, address);
    }
    // Mostly the system has taken everything at once. What waits in the socket needs its memory until it has gone.
    if (this.#socket.getSendQueueCount() > 0 && copy === this.#memory) this.#memory = Buffer.allocUnsafeSlow(MAX_RUN_BYTES);
  }

  close(): Promise<void> {
    clearImmediate(this.#turn);
    this.#closing ??= new Promise((resolve) => this.#socket.close(() => resolve()));
    return this.#closing;
  }

  #received(datagram: Uint8Array, from: RemoteInfo): void {
    const { address, port } = from;
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#events.drained();
    });
    this.#events.receive(datagram, datagram.length, address.startsWith(mappedPrefix) ? address.slice(mappedPrefix.length) : address, port);
  }
}

function enlargeBuffers(socket: Socket): void {
  try {
    socket.setRecvBufferSize(UDP_BUFFER_BYTES);
    socket.setSendBufferSize(UDP_BUFFER_BYTES);
  } catch {
    // The system's own size has to do.
  }
}
