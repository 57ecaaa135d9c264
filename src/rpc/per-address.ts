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
    const key = keyOf(address);
    if (key === undefined) return () => undefined;
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

/** What is counted together; undefined for what is not counted. */
function keyOf(address: string | undefined): string | undefined {
  const parsed = parseIp((address ?? '').replace(/%.*$/, ''));
  if (parsed === undefined) return address ?? '';
  const { family, bytes } = unmapIp(parsed);
  if (family === 4) return bytes[0] === 127 ? undefined : bytes.join('.');
  const loopback = bytes.every((byte, index) => byte === (index === 15 ? 1 : 0));
  return loopback ? undefined : bytes.subarray(0, 8).join('.');
}
