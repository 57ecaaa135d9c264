// What waits for one listening peer: a bounded queue that one loop empties into the peer's stream.
import type { EncryptedMessage } from '#wire/proto/gen/signalexchange_pb.ts';
import { signalError } from './errors.ts';

export class Inbox {
  readonly #limit: number;
  readonly #deliveryMs: number;
  readonly #send: (message: EncryptedMessage) => Promise<void>;
  readonly #queue: EncryptedMessage[] = [];
  #failure: Error | undefined;
  #wake: () => void = () => undefined;

  constructor(limit: number, deliveryMs: number, send: (message: EncryptedMessage) => Promise<void>) {
    this.#limit = limit;
    this.#deliveryMs = deliveryMs;
    this.#send = send;
  }

  /** Queues a message; returns false where the queue is full and the message is dropped. */
  put(message: EncryptedMessage): boolean {
    if (this.#failure !== undefined || this.#queue.length >= this.#limit) return false;
    this.#queue.push(message);
    this.#wake();
    return true;
  }

  /** Makes `run` reject with the reason. */
  end(reason: Error): void {
    this.#failure ??= reason;
    this.#wake();
  }

  /** Delivers until the signal aborts (resolves), or until it is ended, stalls or fails (rejects). */
  async run(signal: AbortSignal): Promise<void> {
    const abort = (): void => this.#wake();
    signal.addEventListener('abort', abort);
    try {
      while (!signal.aborted) {
        if (this.#failure !== undefined) throw this.#failure;
        const message = this.#queue.shift();
        if (message === undefined) await this.#woken(signal);
        else await this.#deliver(message);
      }
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  #woken(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (signal.aborted || this.#queue.length > 0 || this.#failure !== undefined) resolve();
    });
  }

  /** One message, or the stream is cut: a receiver that takes nothing must not hold what others send. */
  async #deliver(message: EncryptedMessage): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const stalled = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(signalError('SIGNAL_STALLED')), this.#deliveryMs);
    });
    try {
      await Promise.race([this.#send(message), stalled]);
    } finally {
      clearTimeout(timer);
    }
  }
}
