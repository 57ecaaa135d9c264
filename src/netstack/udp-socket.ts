// UDP sockets: a table by port. Nothing is queued, as datagrams are handed over and sent within the call.
import { MAX_UDP_SOCKETS } from './constants.ts';
import { netstackError } from './errors.ts';
import { checkPort, pickPort } from './ports.ts';
import type { SocketAddress, UdpFailure } from './types.ts';

/** Gets a datagram; the bytes are valid only during the call. */
export type UdpReceiver = (bytes: Uint8Array, from: SocketAddress, to: SocketAddress, now: number) => void;

/** A bound port. */
export interface UdpBinding {
  readonly receive: UdpReceiver;
  readonly failed: ((reason: UdpFailure, to: SocketAddress, now: number) => void) | undefined;
}

export class UdpTable {
  readonly #bindings = new Map<number, UdpBinding>();
  readonly #random32: () => number;

  constructor(random32: () => number) {
    this.#random32 = random32;
  }

  /** Binds `port`, or a random one for 0, and returns it. Throws NETSTACK_PORT_IN_USE, NETSTACK_PORT or NETSTACK_TOO_MANY_SOCKETS. */
  bind(port: number, binding: UdpBinding): number {
    if (this.#bindings.size >= MAX_UDP_SOCKETS) throw netstackError('NETSTACK_TOO_MANY_SOCKETS', 'udp');
    const chosen = port === 0 ? pickPort(this.#random32(), (candidate) => !this.#bindings.has(candidate)) : port;
    if (chosen === undefined) throw netstackError('NETSTACK_TOO_MANY_SOCKETS', 'udp ports');
    checkPort(chosen);
    if (this.#bindings.has(chosen)) throw netstackError('NETSTACK_PORT_IN_USE', String(chosen));
    this.#bindings.set(chosen, binding);
    return chosen;
  }

  find(port: number): UdpBinding | undefined {
    return this.#bindings.get(port);
  }

  /** Frees the port if it is still bound so. */
  release(port: number, binding: UdpBinding): void {
    if (this.#bindings.get(port) === binding) this.#bindings.delete(port);
  }
}
