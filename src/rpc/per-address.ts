// How many connections each address holds, so that one alone cannot take them all.
import { parseIp, unmapIp } from '#lib/ip.ts';
import { NetworkShares } from '#lib/network-shares.ts';

export class PerAddress {
  readonly #shares: NetworkShares;

  constructor(limit: number) {
    this.#shares = new NetworkShares(limit);
  }

  /** Networks that hold something. */
  get size(): number {
    return this.#shares.size;
  }

  /** Counts one more and returns how to give it back, once; undefined where the address has its share already. Loopback has no limit. */
  take(address: string | undefined): (() => void) | undefined {
    if (isLoopback(address ?? '')) return () => undefined;
    const network = this.#shares.take(address ?? '');
    return network === undefined ? undefined : () => this.#shares.give(network);
  }
}

function isLoopback(address: string): boolean {
  const parsed = parseIp(address);
  if (parsed === undefined) return false;
  const { family, bytes } = unmapIp(parsed);
  return family === 4 ? bytes[0] === 127 : bytes.every((byte, index) => byte === (index === 15 ? 1 : 0));
}
