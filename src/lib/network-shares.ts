// How many of something each caller's network holds, so that one alone cannot take them all.
import { callerNetwork } from './ip.ts';

/** An IPv6 address counts with its /64, which is what one customer has: see `callerNetwork`. */
export class NetworkShares {
  readonly #limit: number;
  readonly #counts = new Map<string, number>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Networks that hold something. */
  get size(): number {
    return this.#counts.size;
  }

  /** Counts one more and returns its network, to be given back once; undefined where that has its share already. */
  take(address: string): string | undefined {
    const network = callerNetwork(address);
    const count = this.#counts.get(network) ?? 0;
    if (count >= this.#limit) return undefined;
    this.#counts.set(network, count + 1);
    return network;
  }

  give(network: string): void {
    const left = (this.#counts.get(network) ?? 1) - 1;
    if (left > 0) this.#counts.set(network, left);
    else this.#counts.delete(network);
  }
}
