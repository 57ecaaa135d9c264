// Load balancers before the gateway: each of their connections says first, in a PROXY header, whose it is. Nobody else's word is taken.
import type { Duplex } from 'node:stream';
import type { Clock } from '#lib/clock.ts';
import { parseIp, prefixContains, type IpPrefix } from '#lib/ip.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { Ends } from '#lib/net.ts';
import { readProxyHeader, type ProxyHeader } from '#wire/proxy-protocol.ts';
import { maxProxyHeaders, proxyHeaderMs } from '../constants.ts';

export interface ProxyDoorDeps {
  /** Who has to send a header; empty for nobody. */
  readonly trusted: readonly IpPrefix[];
  readonly clock: Clock;
  readonly log: Logger;
}

export class ProxyDoor implements Closable {
  readonly #deps: ProxyDoorDeps;
  /** Connections that have to say whose they are. */
  readonly #waiting = new Set<Duplex>();

  constructor(deps: ProxyDoorDeps) {
    this.#deps = deps;
  }

  /**
   * Calls `enter` at once for connections of their own, and for a load balancer's when its header has come, with all that follows it still in the
   * socket. A load balancer's connection without a good header in time is closed; a health check that it says is its own comes through as its own.
   */
  admit(socket: Duplex, ends: Ends, enter: (ends: Ends) => void): void {
    const ip = parseIp(ends.remote.address);
    if (ip === undefined || !this.#deps.trusted.some((prefix) => prefixContains(prefix, ip))) return enter(ends);
    if (this.#waiting.size >= maxProxyHeaders) return this.#refuse(socket, ends, 'too many at once');
    this.#waiting.add(socket);
    let held = Buffer.alloc(0);
    const over = (): void => {
      this.#waiting.delete(socket);
      timer.cancel();
      socket.off('readable', take);
      for (const event of ['end', 'error', 'close']) socket.off(event, gone);
    };
    const refuse = (reason: string): void => {
      over();
      this.#refuse(socket, ends, reason);
    };
    const gone = (): void => refuse('closed before its header');
    const timer = this.#deps.clock.after(proxyHeaderMs, () => refuse('no header in time'));
    // Read and not listened to, so that the socket begins to flow only for whoever takes it over.
    const take = (): void => {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) return;
      held = Buffer.concat([held, chunk]);
      const read = readProxyHeader(held);
      if (read.kind === 'more') return;
      if (read.kind === 'fault') return refuse(read.fault);
      const said = endsOf(read.header, ends);
      if (said === undefined) return refuse('not of a TCP connection');
      over();
      if (read.length < held.length) socket.unshift(held.subarray(read.length));
      enter(said);
    };
    socket.on('readable', take);
    for (const event of ['end', 'error', 'close']) socket.on(event, gone);
  }

  close(): Promise<void> {
    for (const socket of this.#waiting) socket.destroy();
    return Promise.resolve();
  }

  #refuse(socket: Duplex, { remote }: Ends, reason: string): void {
    this.#deps.log.debug('a connection of a load balancer was refused', { remote: remote.address, reason });
    socket.on('error', () => undefined);
    socket.destroy();
  }
}

function endsOf(header: ProxyHeader, ends: Ends): Ends | undefined {
  if (header.kind === 'local') return ends;
  return header.transport === 'tcp' ? { remote: header.source, local: header.destination } : undefined;
}
