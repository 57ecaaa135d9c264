// Access log towards the control plane: records are gathered, sent in batches, kept through an outage, and dropped oldest first beyond a bound.
import { Backoff } from '#lib/backoff.ts';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { LOG_BATCH, LOG_BATCH_MS, LOG_QUEUE, LOG_SEND_MS } from '../constants.ts';
import type { AccessLogSink } from './access-log.ts';

export interface BatchSinkDeps {
  /** Hands over at most `LOG_BATCH` records; rejecting keeps them for another try. */
  readonly send: (entries: readonly AccessLogEntry[], signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Uniform in [0, 1), for the waiting time after a failure. */
  readonly random: () => number;
}

export function createBatchSink(deps: BatchSinkDeps): AccessLogSink {
  return new BatchSink(deps);
}

class BatchSink implements AccessLogSink {
  dropped = 0;
  readonly #deps: BatchSinkDeps;
  readonly #backoff: Backoff;
  readonly #queue: AccessLogEntry[] = [];
  #timer: Timer | undefined;
  #sending: Promise<boolean> | undefined;
  #failing = false;
  #closing: Promise<void> | undefined;

  constructor(deps: BatchSinkDeps) {
    this.#deps = deps;
    this.#backoff = new Backoff({ firstMs: LOG_BATCH_MS, factor: 2, maxMs: 60_000, jitter: 0.2, random: deps.random });
  }

  get waiting(): number {
    return this.#queue.length;
  }

  push(entry: AccessLogEntry): void {
    if (this.#closing !== undefined) {
      this.dropped++;
      return;
    }
    if (this.#queue.length >= LOG_QUEUE) {
      this.#queue.shift();
      this.dropped++;
    }
    this.#queue.push(entry);
    if (!this.#failing && this.#queue.length >= LOG_BATCH) this.#sendSoon(0);
    else this.#timer ??= this.#deps.clock.after(LOG_BATCH_MS, () => this.#fire());
  }

  /** Sends what is left, once; what cannot be sent then is dropped. */
  close(): Promise<void> {
    this.#closing ??= this.#finish();
    return this.#closing;
  }

  async #finish(): Promise<void> {
    this.#timer?.cancel();
    await this.#sending;
    while (this.#queue.length > 0) {
      if (await this.#send()) continue;
      this.dropped += this.#queue.length;
      this.#queue.length = 0;
    }
  }

  #sendSoon(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#deps.clock.after(delayMs, () => this.#fire());
  }

  #fire(): void {
    this.#timer = undefined;
    if (this.#sending !== undefined || this.#closing !== undefined || this.#queue.length === 0) return;
    this.#sending = this.#send();
    void this.#sending.then((sent) => {
      this.#sending = undefined;
      if (this.#closing !== undefined || this.#queue.length === 0) return;
      this.#sendSoon(sent ? (this.#queue.length >= LOG_BATCH ? 0 : LOG_BATCH_MS) : this.#backoff.next());
    });
  }

  /** Never rejects. */
  async #send(): Promise<boolean> {
    const batch = this.#queue.splice(0, LOG_BATCH);
    try {
      await this.#deps.send(batch, AbortSignal.timeout(LOG_SEND_MS));
      this.#backoff.reset();
      this.#failing = false;
      return true;
    } catch (error) {
      if (!this.#failing) this.#deps.log.warn('access log not delivered; it is kept', { records: batch.length, error: describeError(error) });
      this.#failing = true;
      const room = LOG_QUEUE - this.#queue.length;
      this.dropped += Math.max(0, batch.length - room);
      this.#queue.unshift(...batch.slice(Math.max(0, batch.length - room)));
      return false;
    }
  }
}
