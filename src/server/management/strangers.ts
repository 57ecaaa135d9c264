// Calls of peers that have not proved themselves yet cost us a key agreement and a look into the database each. So each address may make
// so many of them; peers that were let in before are not concerned, also not by a neighbour that misbehaves.
import { callerNetwork } from '#lib/ip.ts';
import type { PublicKey } from '#model/ids.ts';
import { SendRate } from '#rpc/send-rate.ts';
import { maxFailingAddresses, maxProvenPeers, strangerBurst, strangersPerSecond } from './constants.ts';
import { managementError } from './errors.ts';

export interface StrangerLimits {
  readonly burst: number;
  readonly perSecond: number;
  readonly maxProven: number;
}

const defaultLimits: StrangerLimits = { burst: strangerBurst, perSecond: strangersPerSecond, maxProven: maxProvenPeers };

export class Strangers {
  readonly #rate: SendRate;
  readonly #maxProven: number;
  readonly #proven = new Set<PublicKey>();

  /** `now` is monotonic milliseconds. */
  constructor(now: () => number, limits: StrangerLimits = defaultLimits) {
    this.#rate = new SendRate(limits.burst, limits.perSecond, maxFailingAddresses, now);
    this.#maxProven = limits.maxProven;
  }

  /** To be asked before anything is opened. Throws MANAGEMENT_STRANGERS where the address has used up its calls and the key is not known to be good. */
  admit(key: PublicKey, address: string): void {
    if (!this.#proven.has(key) && !this.#rate.take(callerNetwork(address))) throw managementError('MANAGEMENT_STRANGERS');
  }

  /** The peer proved its key, and is one of ours. */
  prove(key: PublicKey): void {
    this.#proven.delete(key);
    this.#proven.add(key);
    if (this.#proven.size <= this.#maxProven) return;
    const oldest = this.#proven.values().next();
    if (oldest.done !== true) this.#proven.delete(oldest.value);
  }

  /** The peer was removed. */
  forget(key: PublicKey): void {
    this.#proven.delete(key);
  }
}
