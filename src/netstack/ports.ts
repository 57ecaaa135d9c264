// Who listens where, and random local ports for connections and sockets that ask for none (RFC 6056 §3.3.1).
import { EPHEMERAL_ATTEMPTS, EPHEMERAL_FIRST, EPHEMERAL_LAST, MAX_LISTENERS } from './constants.ts';
import { netstackError } from './errors.ts';
import type { Listener } from './tcp/listener.ts';

/** The listen table: one listener per port, and one for every port that has none. */
export class ListenTable {
  readonly #byPort = new Map<number, Listener>();
  #any: Listener | undefined;

  /** Throws NETSTACK_PORT, NETSTACK_PORT_IN_USE or NETSTACK_TOO_MANY_SOCKETS. */
  add(listener: Listener): void {
    const { port } = listener;
    if (port === 'any') {
      if (this.#any !== undefined) throw netstackError('NETSTACK_PORT_IN_USE', 'any');
      this.#any = listener;
      return;
    }
    checkPort(port);
    if (this.#byPort.has(port)) throw netstackError('NETSTACK_PORT_IN_USE', String(port));
    if (this.#byPort.size >= MAX_LISTENERS) throw netstackError('NETSTACK_TOO_MANY_SOCKETS', 'listeners');
    this.#byPort.set(port, listener);
  }

  remove(listener: Listener): void {
    if (listener.port === 'any') {
      if (this.#any === listener) this.#any = undefined;
    } else if (this.#byPort.get(listener.port) === listener) {
      this.#byPort.delete(listener.port);
    }
  }

  find(port: number): Listener | undefined {
    return this.#byPort.get(port) ?? this.#any;
  }
}

/** Throws NETSTACK_PORT unless it is a port that can be sent to. */
export function checkPort(port: number): void {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw netstackError('NETSTACK_PORT', String(port));
}

/** A random dynamic port for which `free` holds, searching upwards from a random place; undefined when a bounded search finds none. */
export function pickPort(random32: number, free: (port: number) => boolean): number | undefined {
  const count = EPHEMERAL_LAST - EPHEMERAL_FIRST + 1;
  const start = (random32 >>> 0) % count;
  for (let i = 0; i < EPHEMERAL_ATTEMPTS; i++) {
    const port = EPHEMERAL_FIRST + ((start + i) % count);
    if (free(port)) return port;
  }
  return undefined;
}
