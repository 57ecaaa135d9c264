// What was refused, and why: counted for the status, told to the log with the id that stands on the page.
import type { Clock } from '#lib/clock.ts';
import type { LogFields, Logger } from '#lib/log.ts';
import { WARNINGS_PER_SECOND } from '../constants.ts';

const windowMs = 1_000;

export class Refusals {
  readonly #log: Logger;
  readonly #clock: Clock;
  /** By reason; reasons are words of the program, never a client's. */
  readonly #counts = new Map<string, number>();
  #windowStart = -Infinity;
  #warned = 0;

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** A connection that came to no request. */
  connection(reason: string, fields: LogFields): void {
    this.#count(reason);
    this.#log.debug('handshake failed', { reason, ...fields });
  }

  /** A request with an answer of our own. Faults behind us (5xx) are warnings, up to a rate; what clients do wrong is for debugging. */
  request(reason: string, status: number, fields: LogFields): void {
    this.#count(reason);
    if (status >= 500 && this.#mayWarn()) this.#log.warn('request failed', { reason, status, ...fields });
    else this.#log.debug('request refused', { reason, status, ...fields });
  }

  /** How often each reason ended a connection or a request since the start. */
  counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }

  #count(reason: string): void {
    this.#counts.set(reason, (this.#counts.get(reason) ?? 0) + 1);
  }

  #mayWarn(): boolean {
    const now = this.#clock.now();
    if (now - this.#windowStart >= windowMs) {
      this.#windowStart = now;
      this.#warned = 0;
    }
    return ++this.#warned <= WARNINGS_PER_SECOND;
  }
}
