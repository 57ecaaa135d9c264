// Access log towards the control plane: records are gathered and sent in batches that it acknowledges. While it is away they wait, on disk where there
// is a spool, else in memory; beyond a bound the oldest are dropped and counted.
import { Backoff } from '#lib/backoff.ts';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { LOG_BATCH, LOG_BATCH_MS, LOG_QUEUE, LOG_SEND_MS } from '../constants.ts';
import type { AccessLogSink } from './access-log.ts';
import type { Spool } from './spool.ts';

export interface BatchSinkDeps {
  /** Hands over at most `LOG_BATCH` records; rejecting keeps them for another try. */
  readonly send: (entries: readonly AccessLogEntry[], signal: AbortSignal) => Promise<void>;
  /** Whether a failure says that these records will never be taken. */
  readonly refused?: (error: unknown) => boolean;
  /** Where records wait while they cannot be sent; the sink is its only user. */
  readonly spool?: Spool | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  /** Uniform in [0, 1), for the waiting time after a failure. */
  readonly random: () => number;
}

export function createBatchSink(deps: BatchSinkDeps): AccessLogSink {
  return new BatchSink(deps);
}

class BatchSink implements AccessLogSink {
  problem = '';
  readonly #deps: BatchSinkDeps;
  readonly #spool: Spool | undefined;
  readonly #backoff: Backoff;
  /** What is in memory; where there is a spool with records, these are newer. */
  readonly #queue: AccessLogEntry[] = [];
  #dropped = 0;
  #timer: Timer | undefined;
  #timerAt = Infinity;
  #working: Promise<void> | undefined;
  #failing = false;
  /** When sending is tried again. */
  #retryAt = -Infinity;
  #closing: Promise<void> | undefined;

  constructor(deps: BatchSinkDeps) {
    this.#deps = deps;
    this.#spool = deps.spool;
    this.#backoff = new Backoff({ firstMs: LOG_BATCH_MS, factor: 2, maxMs: 60_000, jitter: 0.2, random: deps.random });
    if (this.#onDisk > 0) this.#arm(LOG_BATCH_MS);
  }

  get dropped(): number {
    return this.#dropped + (this.#spool?.dropped ?? 0);
  }

  get waiting(): number {
    return this.#queue.length + this.#onDisk;
  }

  push(entry: AccessLogEntry): void {
    if (this.#closing !== undefined) {
      this.#dropped++;
      return;
    }
    if (this.#queue.length >= LOG_QUEUE) {
      this.#queue.shift();
      this.#dropped++;
    }
    this.#queue.push(entry);
    this.#arm(this.#soon());
  }

  /** Sends what is in memory, as long as it is taken; the rest goes to disk, and what cannot go there either is dropped. */
  close(): Promise<void> {
    this.#closing ??= this.#finish();
    return this.#closing;
  }

  async #finish(): Promise<void> {
    this.#timer?.cancel();
    await this.#working;
    if (this.#onDisk === 0) while (this.#queue.length > 0 && (await this.#send()));
    await this.#toDisk();
    this.#dropped += this.#queue.length;
    this.#queue.length = 0;
  }

  get #onDisk(): number {
    return this.#spool?.records ?? 0;
  }

  /** Works after that time, or earlier where that was said before. */
  #arm(delayMs: number): void {
    const at = this.#deps.clock.now() + delayMs;
    if (this.#closing !== undefined || this.#working !== undefined || at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#deps.clock.after(delayMs, () => {
      this.#timerAt = Infinity;
      this.#working = this.#work();
      void this.#working.then(() => {
        this.#working = undefined;
        this.#again();
      });
    });
  }

  #again(): void {
    if (this.waiting === 0) return;
    if (!this.#failing) return this.#arm(this.#onDisk > 0 ? 0 : this.#soon());
    const untilRetry = Math.max(0, this.#retryAt - this.#deps.clock.now());
    this.#arm(this.#spool !== undefined && this.#queue.length > 0 ? Math.min(untilRetry, this.#soon()) : untilRetry);
  }

  /** A full batch is sent, or goes to disk, at once; what can go nowhere, and a few records, have time. */
  #soon(): number {
    const goes = !this.#failing || (this.#spool !== undefined && this.problem === '');
    return goes && this.#queue.length >= LOG_BATCH ? 0 : LOG_BATCH_MS;
  }

  /** Sends one batch, or sees to it that what waits is safe. Never rejects. */
  async #work(): Promise<void> {
    const now = this.#deps.clock.now();
    if (now >= this.#retryAt) {
      if (await this.#send()) return;
      this.#retryAt = now + this.#backoff.next();
    }
    await this.#toDisk();
  }

  /** The oldest batch; false where it was not taken. Never rejects. */
  async #send(): Promise<boolean> {
    const spool = this.#onDisk > 0 ? this.#spool : undefined;
    const batch = spool === undefined ? this.#queue.slice(0, LOG_BATCH) : await spool.peek(LOG_BATCH);
    try {
      if (batch.length > 0) await this.#deps.send(batch, AbortSignal.timeout(LOG_SEND_MS));
    } catch (error) {
      if (this.#deps.refused?.(error) !== true) {
        if (!this.#failing) this.#deps.log.warn('access log not delivered; it is kept', { records: batch.length, error: describeError(error) });
        this.#failing = true;
        return false;
      }
      this.#dropped += batch.length;
      this.#deps.log.error('access log records were refused', { records: batch.length, error: describeError(error) });
    }
    if (spool === undefined) this.#forget(batch);
    else await spool.taken(batch.length).catch((error: unknown) => this.#diskFailed(error));
    this.#backoff.reset();
    this.#failing = false;
    return true;
  }

  /** Meanwhile the oldest may have been dropped for newer ones. */
  #forget(batch: readonly AccessLogEntry[]): void {
    const last = this.#queue.indexOf(batch.at(-1) as AccessLogEntry);
    this.#queue.splice(0, last + 1);
  }

  /** Never rejects. */
  async #toDisk(): Promise<void> {
    if (this.#spool === undefined || this.#queue.length === 0) return;
    const records = this.#queue.slice();
    try {
      await this.#spool.append(records);
      this.#forget(records);
      if (this.problem !== '') this.#deps.log.info('access log records can be kept on disk again');
      this.problem = '';
    } catch (error) {
      this.#diskFailed(error);
    }
  }

  #diskFailed(error: unknown): void {
    const reason = describeError(error);
    if (this.problem === '') this.#deps.log.error('access log records cannot be kept on disk; they wait in memory', { error: reason });
    this.problem = `access log records cannot be kept on disk (${reason}); at most ${LOG_QUEUE} wait in memory, the oldest are lost`;
  }
}
