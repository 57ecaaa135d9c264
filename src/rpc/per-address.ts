// How many connections each address holds, so that one alone cannot take them all. An IPv6 address counts with its /64: that is what one
// customer has.
import { parseIp, unmapIp } from '#lib/ip.ts';

export class PerAddress {
  readonly #limit: number;
  readonly #counts = new Map<string, number>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Addresses that hold something. */
  get size(): number {
    return this.#counts.size;
  }

  /** Counts one more and returns how to give it back, once; undefined where the address has its share already. Loopback has no limit. */
  take(address: string | undefined): (() => void) | undefined {
    if (isLoopback(address ?? '')) return () => undefined;
    const key = addressShare(address ?? '');
    const count = this.#counts.get(key) ?? 0;
    if (count >= this.#limit) return undefined;
    this.#counts.set(key, count + 1);
    return () => {
      const left = (this.#counts.get(key) ?? 1) - 1;
      if (left > 0) this.#counts.set(key, left);
      else this.#counts.delete(key);
    };
  }
}

/** What one customer has, as a key for tables: an IPv4 address, or the /64 of an IPv6 address. Text that is no address is its own key. */
export function addressShare(address: string): string {
  const parsed = parseIp(address.replace(/%.*$/, ''));
  if (parsed === undefined) return address;
  const { family, bytes } = unmapIp(parsed);
  return bytes.subarray(0, family === 4 ? 4 : 8).join('.');
}

function isLoopback(address: string): boolean {
  const parsed = parseIp(address);
  if (parsed === undefined) return false;
  const { family, bytes } = unmapIp(parsed);
  return family === 4 ? bytes[0] === 127 : bytes.every((byte, index) => byte === (index === 15 ? 1 : 0));
}
