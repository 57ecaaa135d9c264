// UDP sockets: a table by port. Nothing is queued, as datagrams are handed over and sent within the call.
import { MAX_UDP_SOCKETS } from './constants.ts';
import { netstackError } from './errors.ts';
import { checkPort, pickPort } from './ports.ts';
import type { SocketAddress } from './types.ts';

/** Gets a datagram; the bytes are valid only during the call. */
export type UdpReceiver = (bytes: Uint8Array, from: SocketAddress, to: SocketAddress, now: number) => void;

export class UdpTable {
  readonly #receivers = new Map<number, UdpReceiver>();
  readonly #random32: () => number;

  constructor(random32: () => number) {
    this.#random32 = random32;
  }

  /** Binds `port`, or a random one for 0, and returns it. Throws NETSTACK_PORT_IN_USE, NETSTACK_PORT or NETSTACK_TOO_MANY_SOCKETS. */
  bind(port: number, receive: UdpReceiver): number {
    if (this.#receivers.size >= MAX_UDP_SOCKETS) throw netstackError('NETSTACK_TOO_MANY_SOCKETS', 'udp');
    const chosen = port === 0 ? pickPort(this.#random32(), (candidate) => !this.#receivers.has(candidate)) : port;
    if (chosen === undefined) throw netstackError('NETSTACK_TOO_MANY_SOCKETS', 'udp ports');
    checkPort(chosen);
    if (this.#receivers.has(chosen)) throw netstackError('NETSTACK_PORT_IN_USE', String(chosen));
    this.#receivers.set(chosen, receive);
    return chosen;
  }

  find(port: number): UdpReceiver | undefined {
    return this.#receivers.get(port);
  }

  /** Frees the port if it still belongs to `receive`. */
  release(port: number, receive: UdpReceiver): void {
    if (this.#receivers.get(port) === receive) this.#receivers.delete(port);
  }
}
