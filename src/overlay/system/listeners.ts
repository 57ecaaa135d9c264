// Kernel sockets that listen on overlay addresses. A port is opened when the first admitted SYN for it arrives, and closed when it has
// not been used for a while: nobody has to know beforehand which ports will be asked for.
import { createServer, type Server, type Socket } from 'node:net';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { formatHostPort } from '#lib/net.ts';
import { SYSTEM_LISTENER_IDLE_MS, SYSTEM_LISTENERS_MAX, SYSTEM_WAITING_SYNS } from '../constants.ts';

interface Listener {
  readonly server: Server;
  /** What arrived before it listened, to be handed on when it does; undefined once it listens. */
  waiting: (() => void)[] | undefined;
  open: number;
  usedAt: number;
}

export interface ListenersDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly accepted: (socket: Socket) => void;
}

export class Listeners {
  readonly #deps: ListenersDeps;
  readonly #byName = new Map<string, Listener>();
  #sweep: Timer | undefined;
  #closed = false;

  constructor(deps: ListenersDeps) {
    this.#deps = deps;
  }

  /**
   * Calls `proceed` when the kernel listens on this address and port, at once where it does already; `refused` where it cannot, with
   * true where another program has the port. Drops both where too many wait: the other side tries again.
   */
  ensure(address: string, port: number, proceed: () => void, refused: (taken: boolean) => void): void {
    if (this.#closed) return refused(false);
    const name = formatHostPort(address, port);
    const known = this.#byName.get(name);
    if (known !== undefined) {
      known.usedAt = this.#deps.clock.now();
      if (known.waiting === undefined) proceed();
      else if (known.waiting.length < SYSTEM_WAITING_SYNS) known.waiting.push(proceed);
      return;
    }
    if (this.#byName.size >= SYSTEM_LISTENERS_MAX) return;
    this.#open(name, address, port, proceed, refused);
  }

  /** Ends all listeners on addresses that are not in the list; connections go on. */
  keep(addresses: readonly string[]): void {
    for (const [name, listener] of this.#byName) {
      if (!addresses.some((address) => name.startsWith(formatHostPort(address, 0).slice(0, -1)))) this.#end(name, listener);
    }
  }

  close(): void {
    this.#closed = true;
    this.#sweep?.cancel();
    for (const [name, listener] of this.#byName) this.#end(name, listener);
  }

  #open(name: string, address: string, port: number, proceed: () => void, refused: (taken: boolean) => void): void {
    const { clock, log } = this.#deps;
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    const listener: Listener = { server, waiting: [proceed], open: 0, usedAt: clock.now() };
    this.#byName.set(name, listener);
    server.on('connection', (socket) => {
      listener.open++;
      listener.usedAt = clock.now();
      socket.once('close', () => {
        listener.open--;
        listener.usedAt = clock.now();
      });
      this.#deps.accepted(socket);
    });
    server.on('error', (error) => {
      const taken = 'code' in error && error.code === 'EADDRINUSE';
      log[taken ? 'debug' : 'warn']('overlay: the port cannot be opened for the overlay', { address: name, reason: describeError(error) });
      this.#end(name, listener);
      refused(taken);
    });
    server.listen({ host: address, port, exclusive: true }, () => {
      const { waiting } = listener;
      listener.waiting = undefined;
      for (const one of waiting ?? []) one();
    });
    this.#sweep ??= clock.after(SYSTEM_LISTENER_IDLE_MS, () => this.#dropIdle());
  }

  #dropIdle(): void {
    this.#sweep = undefined;
    const before = this.#deps.clock.now() - SYSTEM_LISTENER_IDLE_MS;
    for (const [name, listener] of this.#byName) {
      if (listener.open === 0 && listener.usedAt <= before) this.#end(name, listener);
    }
    if (this.#byName.size > 0 && !this.#closed) this.#sweep = this.#deps.clock.after(SYSTEM_LISTENER_IDLE_MS, () => this.#dropIdle());
  }

  #end(name: string, listener: Listener): void {
    this.#byName.delete(name);
    listener.waiting = [];
    listener.server.close();
  }
}
