// Dialling: find the peer, wait for a path to it, open the connection.
import type { Duplex } from 'node:stream';
import type { Dial, DialOptions, DialTarget } from '#lib/net.ts';
import type { PublicKey } from '#model/ids.ts';
import { MAX_WAITING_DIALS } from './constants.ts';
import { overlayError } from './errors.ts';
import type { Destination } from './peer-directory.ts';
import type { TcpEnd } from '#netstack/types.ts';

export interface DialsOptions {
  readonly find: (host: string) => Destination | undefined;
  /** Whether a path to the peer is there; where not, the peer is woken. */
  readonly wants: (peer: PublicKey) => boolean;
  /** Opens a connection; throws ENOBUFS where too many are open. */
  readonly connect: (to: Destination, port: number, opened: (reason: TcpEnd | undefined) => void) => Duplex;
}

interface Waiting {
  readonly proceed: () => void;
  readonly fail: (error: Error) => void;
}

export class Dials {
  readonly #options: DialsOptions;
  readonly #waiting = new Map<PublicKey, Set<Waiting>>();
  #waitingCount = 0;
  #closed = false;

  constructor(options: DialsOptions) {
    this.#options = options;
  }

  readonly dial: Dial = (target, options) =>
    new Promise((resolve, reject) => {
      this.#start(target, options, resolve, reject);
    });

  /** A path to the peer is there. */
  ready(peer: PublicKey): void {
    for (const waiting of this.#waiting.get(peer) ?? []) waiting.proceed();
  }

  /** Routes lead elsewhere now: what waits looks again for whom. */
  lookAgain(): void {
    const waiting = [...this.#waiting.values()].flatMap((set) => [...set]);
    for (const { proceed } of waiting) proceed();
  }

  /** The peer left the network: dials that wait for it fail. */
  gone(peer: PublicKey): void {
    for (const waiting of this.#waiting.get(peer) ?? []) waiting.fail(overlayError('EHOSTUNREACH', 'the peer left the network'));
  }

  /** Fails what waits, and every later dial. */
  close(): void {
    this.#closed = true;
    for (const peer of this.#waiting.keys()) this.gone(peer);
  }

  #start(target: DialTarget, { signal }: DialOptions, resolve: (stream: Duplex) => void, reject: (error: Error) => void): void {
    let stream: Duplex | undefined;
    let leave: (() => void) | undefined;
    let done = false;
    const finish = (error: Error | undefined): void => {
      if (done) return;
      done = true;
      signal.removeEventListener('abort', abort);
      leave?.();
      if (error === undefined && stream !== undefined) return resolve(stream);
      stream?.destroy();
      reject(error ?? overlayError('ECONNRESET'));
    };
    const abort = (): void => finish(overlayError('ABORT_ERR', `dial of ${target.host} port ${target.port}`, signal.reason));
    const connect = (to: Destination): void => {
      try {
        stream = this.#options.connect(to, target.port, (reason) =>
          finish(
            reason === undefined
              ? undefined
              : overlayError(reason === 'finished' ? 'ECONNRESET' : reason, `dial of ${target.host} port ${target.port}`),
          ),
        );
      } catch (error) {
        finish(error instanceof Error ? error : overlayError('ENOBUFS', String(error)));
      }
    };
    /** Who has the host may change while we wait for a path to him. */
    const seek = (): void => {
      leave?.();
      leave = undefined;
      const to = this.#options.find(target.host);
      if (to === undefined) return finish(overlayError('EHOSTUNREACH', `no peer has the address or name ${target.host}`));
      if (this.#options.wants(to.peer)) return connect(to);
      if (this.#waitingCount >= MAX_WAITING_DIALS) return finish(overlayError('ENOBUFS', 'too many dials wait for a path'));
      leave = this.#wait(to.peer, { proceed: seek, fail: finish });
    };

    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    if (this.#closed) return finish(overlayError('EHOSTUNREACH', 'the overlay is closed'));
    seek();
  }

  #wait(peer: PublicKey, waiting: Waiting): () => void {
    const set = this.#waiting.get(peer) ?? new Set();
    this.#waiting.set(peer, set);
    set.add(waiting);
    this.#waitingCount++;
    return () => {
      if (!set.delete(waiting)) return;
      this.#waitingCount--;
      if (set.size === 0 && this.#waiting.get(peer) === set) this.#waiting.delete(peer);
    };
  }
}
