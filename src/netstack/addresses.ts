// The host's own addresses: which packets are for us, and which address we speak from.
import { asBuffer } from '#lib/bytes.ts';
import type { IpAddress } from '#lib/ip.ts';
import { readInt32 } from '#wire/tcp.ts';
import type { StackOptions } from './types.ts';

export class OwnAddresses {
  readonly #routed: StackOptions['routed'];
  #all: readonly IpAddress[] = [];
  /** The address of the last packet for somebody behind us: the next one is mostly to the same. */
  #lastRouted: IpAddress | undefined;

  constructor(routed: StackOptions['routed']) {
    this.#routed = routed;
  }

  replace(addresses: readonly IpAddress[]): void {
    this.#all = addresses.map((ip) => ({ family: ip.family, bytes: new Uint8Array(ip.bytes) }));
  }

  /** The address that stands at `at` in `packet`: ours, or one that we stand in for; undefined where the packet is not for us. */
  match(packet: Uint8Array, at: number, family: 4 | 6): IpAddress | undefined {
    const first = readInt32(packet, at);
    for (const ip of this.#all) {
      if (ip.family !== family || readInt32(ip.bytes, 0) !== first) continue;
      if (family === 4 || asBuffer(ip.bytes).compare(packet, at, at + 16) === 0) return ip;
    }
    return this.#routed?.(packet, at, family) === true ? this.#addressAt(packet, at, family) : undefined;
  }

  /** Whether what `match` returned is our own. */
  owns(ip: IpAddress): boolean {
    return this.#all.includes(ip);
  }

  #addressAt(packet: Uint8Array, at: number, family: 4 | 6): IpAddress {
    const end = at + (family === 4 ? 4 : 16);
    const last = this.#lastRouted;
    if (last?.family === family && asBuffer(last.bytes).compare(packet, at, end) === 0) return last;
    this.#lastRouted = { family, bytes: new Uint8Array(packet.subarray(at, end)) };
    return this.#lastRouted;
  }

  /** The address to speak from to a remote of this family: the first one given. */
  sourceFor(family: 4 | 6): IpAddress | undefined {
    return this.#all.find((ip) => ip.family === family);
  }
}

/** Whether an address can be the source of something that is answered: not unspecified, multicast, loopback or broadcast. */
export function isUnicast(bytes: Uint8Array, at: number, family: 4 | 6): boolean {
  const first = bytes[at] as number;
  if (family === 4) return first !== 0 && first !== 127 && first < 224;
  if (first === 0xff) return false;
  for (let i = at; i < at + 15; i++) if (bytes[i] !== 0) return true;
  return (bytes[at + 15] as number) > 1;
}
