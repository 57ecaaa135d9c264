// Access-log records on their way to the control plane: bounded in number and in flight, the oldest dropped and counted when it stays away.
import type { Logger } from '#lib/log.ts';
import { describeError } from '#lib/errors.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { AccountId } from '#model/ids.ts';
import { accessLogInFlight, callTimeoutMs, maxQueuedAccessLog } from '../constants.ts';

interface Item {
  readonly entry: AccessLogEntry;
  readonly accountId: AccountId;
}

export type SendAccessLog = (entry: AccessLogEntry, accountId: AccountId, signal: AbortSignal) => Promise<void>;

export class AccessLogQueue {
  readonly #send: SendAccessLog;
  readonly #log: Logger;
  readonly #waiting: Item[] = [];
  #underWay = 0;
  #dropped = 0;
  #idle: (() => void) | undefined;

  constructor(send: SendAccessLog, log: Logger) {
    this.#send = send;
    this.#log = log;
  }

  push(entry: AccessLogEntry, accountId: AccountId): void {
    if (this.#waiting.length >= maxQueuedAccessLog) {
      this.#waiting.shift();
      this.#dropped++;
    }
    this.#waiting.push({ entry, accountId });
    this.#pump();
  }

  status(): { readonly waiting: number; readonly dropped: number } {
    return { waiting: this.#waiting.length + this.#underWay, dropped: this.#dropped };
  }

  /** Resolves when everything is sent, or has been tried once more. */
  drain(): Promise<void> {
    if (this.#waiting.length + this.#underWay === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idle = resolve;
    });
  }

  #pump(): void {
    while (this.#underWay < accessLogInFlight) {
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
      this.#dropped++;
      this.#log.debug('an access-log record was not taken by the control plane', { reason: describeError(error) });
    } finally {
      this.#underWay--;
      this.#pump();
    }
  }
}
