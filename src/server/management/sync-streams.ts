// Every open Sync stream by peer: what it owes its peer, and the loop that pays. A stream sends whole maps only, so a dirty mark is
// all that waits, whatever happens how often.
import type { Clock, Timer } from '#lib/clock.ts';
import type { PublicKey } from '#model/ids.ts';
import { gatherMs } from './constants.ts';
import { managementError } from './errors.ts';
import type { EncodedMap } from './map-bytes.ts';

/** What goes out in one message. */
export interface SyncPush {
  readonly map: EncodedMap | undefined;
  /** Say where the meeting points are, with a fresh relay token. */
  readonly endpoints: boolean;
}

export interface SyncStreamDeps {
  build(publicKey: PublicKey): Promise<EncodedMap>;
  send(push: SyncPush): Promise<void>;
  readonly clock: Clock;
}

/** One peer's stream. `run` ends when the signal aborts or `end` was called. */
export class SyncStream {
  readonly #publicKey: PublicKey;
  readonly #deps: SyncStreamDeps;
  #mapDue = true;
  #endpointsDue = true;
  #failure: Error | undefined;
  /** Runs for 100 ms from each map that was told. */
  #timer: Timer | undefined;
  #changedAgain = false;
  #lastDigest = '';
  #wake: () => void = () => undefined;

  constructor(publicKey: PublicKey, deps: SyncStreamDeps) {
    this.#publicKey = publicKey;
    this.#deps = deps;
  }

  /**
   * The map may differ from now on. After a while without changes it is told at once, so that a peer grants a new service's port before
   * visitors come; what follows within 100 ms is gathered.
   */
  mapChanged(): void {
    if (this.#timer !== undefined) {
      this.#changedAgain = true;
      return;
    }
    this.#timer = this.#deps.clock.after(gatherMs, () => {
      this.#timer = undefined;
      if (!this.#changedAgain) return;
      this.#changedAgain = false;
      this.mapChanged();
    });
    this.#mapDue = true;
    this.#wake();
  }

  /** The meeting points or their tokens have to be told again. */
  endpointsChanged(): void {
    this.#endpointsDue = true;
    this.#wake();
  }

  /** Makes `run` reject with the reason. */
  end(reason: Error): void {
    this.#failure ??= reason;
    this.#wake();
  }

  async run(signal: AbortSignal): Promise<void> {
    const abort = (): void => this.#wake();
    signal.addEventListener('abort', abort);
    try {
      while (!signal.aborted) {
        if (this.#failure !== undefined) throw this.#failure;
        if (this.#mapDue || this.#endpointsDue) await this.#push();
        else await this.#woken(signal);
      }
    } finally {
      signal.removeEventListener('abort', abort);
      this.#timer?.cancel();
    }
  }

  async #push(): Promise<void> {
    const endpoints = this.#endpointsDue;
    const mapDue = this.#mapDue;
    this.#endpointsDue = false;
    this.#mapDue = false;
    const map = mapDue ? await this.#deps.build(this.#publicKey) : undefined;
    const digest = map?.digest ?? this.#lastDigest;
    const same = digest === this.#lastDigest;
    this.#lastDigest = digest;
    if (this.#failure !== undefined || (same && !endpoints)) return;
    await this.#deps.send({ map: same ? undefined : map, endpoints });
  }

  #woken(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (signal.aborted || this.#mapDue || this.#endpointsDue || this.#failure !== undefined) resolve();
    });
  }
}

/** The open streams, one per peer: a newer one replaces the older. */
export class SyncStreams {
  readonly #streams = new Map<PublicKey, SyncStream>();

  get size(): number {
    return this.#streams.size;
  }

  has(publicKey: PublicKey): boolean {
    return this.#streams.has(publicKey);
  }

  add(publicKey: PublicKey, stream: SyncStream): void {
    this.#streams.get(publicKey)?.end(managementError('MANAGEMENT_SYNC_REPLACED'));
    this.#streams.set(publicKey, stream);
  }

  /** Whether this was still the peer's stream. */
  remove(publicKey: PublicKey, stream: SyncStream): boolean {
    return this.#streams.get(publicKey) === stream && this.#streams.delete(publicKey);
  }

  /** `peers` undefined means all. */
  mapChanged(peers: readonly PublicKey[] | undefined): void {
    if (peers === undefined) for (const stream of this.#streams.values()) stream.mapChanged();
    else for (const peer of peers) this.#streams.get(peer)?.mapChanged();
  }

  endpointsChanged(): void {
    for (const stream of this.#streams.values()) stream.endpointsChanged();
  }

  endpointsChangedOf(publicKey: PublicKey): void {
    this.#streams.get(publicKey)?.endpointsChanged();
  }

  loginExpired(publicKey: PublicKey): void {
    this.#streams.get(publicKey)?.end(managementError('MANAGEMENT_LOGIN_EXPIRED'));
  }

  peerRemoved(publicKey: PublicKey): void {
    this.#streams.get(publicKey)?.end(managementError('MANAGEMENT_PEER_REMOVED'));
  }
}
