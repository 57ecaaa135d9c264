// Access-log records on their way to the control plane: bounded in number and in flight. While it is away they wait; where they are too
// many, the oldest is dropped and counted.
import type { Clock } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { AccountId } from '#model/ids.ts';
import { accessLogInFlight, accessLogRetryMs, callTimeoutMs, maxQueuedAccessLog } from '../constants.ts';

interface Item {
  readonly entry: AccessLogEntry;
  readonly accountId: AccountId;
}

export type SendAccessLog = (entry: AccessLogEntry, accountId: AccountId, signal: AbortSignal) => Promise<void>;

export class AccessLogQueue {
  readonly #send: SendAccessLog;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #waiting: Item[] = [];
  #underWay = 0;
  #dropped = 0;
  #paused = false;
  #idle: (() => void) | undefined;

  constructor(send: SendAccessLog, log: Logger, clock: Clock) {
    this.#send = send;
    this.#log = log;
    this.#clock = clock;
  }

  push(entry: AccessLogEntry, accountId: AccountId): void {
    this.#waiting.push({ entry, accountId });
    this.#bound();
    this.#pump();
  }

  status(): { readonly waiting: number; readonly dropped: number } {
    return { waiting: this.#waiting.length + this.#underWay, dropped: this.#dropped };
  }

  /** Resolves when everything is sent, or the control plane proves to be away. */
  drain(): Promise<void> {
    if (this.#paused || this.#waiting.length + this.#underWay === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idle = resolve;
    });
  }

  #bound(): void {
    while (this.#waiting.length > maxQueuedAccessLog) {
      this.#waiting.shift();
      this.#dropped++;
    }
  }

  #pause(reason: string): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#log.debug('the control plane takes no access log for now', { reason });
    this.#clock.after(accessLogRetryMs, () => {
      this.#paused = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (!this.#paused && this.#underWay < accessLogInFlight) {
      const item = this.#waiting.shift();
      if (item === undefined) break;
      this.#underWay++;
      void this.#deliver(item);
    }
    if (this.#underWay === 0) this.#idle?.();
  }

  async #deliver(item: Item): Promise<void> {
    try {
      await this.#send(item.entry, item.accountId, AbortSignal.timeout(callTimeoutMs));
    } catch (error) {
      this.#waiting.unshift(item);
      this.#bound();
      this.#pause(describeError(error));
    } finally {
      this.#underWay--;
      this.#pump();
    }
  }
}
