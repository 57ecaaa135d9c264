// The public ports of services that have their own: opened and closed as the services come and go. Why one is not open is told by service.
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { portRetryMs } from '../constants.ts';

export interface StreamPortsDeps {
  readonly protocol: 'tcp' | 'udp';
  /** A port that is open anyway. */
  readonly except: number | undefined;
  readonly listen: (port: number) => Promise<Closable>;
  /** Who holds a port that is in use; undefined where it cannot be told. Never rejects. */
  readonly holder: (port: number) => Promise<string | undefined>;
  readonly clock: Clock;
  readonly log: Logger;
}

export class StreamPorts implements Closable {
  readonly #deps: StreamPortsDeps;
  readonly #open = new Map<number, Closable>();
  readonly #problems = new Map<number, string>();
  #wanted: ReadonlySet<number> = new Set();
  #work: Promise<void> = Promise.resolve();
  #closed = false;
  #retry: Timer | undefined;

  constructor(deps: StreamPortsDeps) {
    this.#deps = deps;
  }

  /** Opens what is new and closes what is not wanted any more; resolves when that is done. Never rejects. */
  apply(ports: Iterable<number>): Promise<void> {
    this.#wanted = new Set([...ports].filter((port) => port !== this.#deps.except));
    this.#work = this.#work.then(() => this.#reconcile());
    return this.#work;
  }

  /** Why the port is not open; empty where it is, or is about to be. */
  problem(port: number): string {
    return this.#problems.get(port) ?? '';
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#retry?.cancel();
    await this.#work;
    await Promise.all([...this.#open.values()].map((listener) => listener.close()));
    this.#open.clear();
  }

  async #reconcile(): Promise<void> {
    if (this.#closed) return;
    this.#retry?.cancel();
    for (const port of this.#problems.keys()) if (!this.#wanted.has(port)) this.#problems.delete(port);
    for (const [port, listener] of this.#open) {
      if (this.#wanted.has(port)) continue;
      this.#open.delete(port);
      // Accepting ends at once; its streams are the publisher's, and end by themselves.
      void listener.close();
      this.#deps.log.info('port closed', { port, protocol: this.#deps.protocol });
    }
    for (const port of this.#wanted) if (!this.#closed && !this.#open.has(port)) await this.#listen(port);
    // Whoever holds the port may let it go.
    if (this.#problems.size > 0 && !this.#closed) this.#retry = this.#deps.clock.after(portRetryMs, () => void this.apply(this.#wanted));
  }

  async #listen(port: number): Promise<void> {
    const { protocol, listen, holder, log } = this.#deps;
    try {
      this.#open.set(port, await listen(port));
      this.#problems.delete(port);
      log.info('port opened', { port, protocol });
    } catch (error) {
      const held = errorCode(error) === 'GATEWAY_PORT_IN_USE' ? await holder(port) : undefined;
      const problem = held === undefined ? describeError(error) : `${describeError(error)}: ${held} has it`;
      if (this.#problems.get(port) !== problem) log.warn('a port of a service cannot be opened', { port, protocol, reason: problem });
      this.#problems.set(port, problem);
    }
  }
}
