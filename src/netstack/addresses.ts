// The host's own addresses: which packets are for us, and which address we speak from.
import { asBuffer } from '#lib/bytes.ts';
import type { IpAddress } from '#lib/ip.ts';
import { readInt32 } from '#wire/tcp.ts';

export class OwnAddresses {
  #all: readonly IpAddress[] = [];

  replace(addresses: readonly IpAddress[]): void {
    this.#all = addresses.map((ip) => ({ family: ip.family, bytes: new Uint8Array(ip.bytes) }));
  }

  /** Our address that stands at `at` in `packet`, or undefined where the packet is not for us. */
  match(packet: Uint8Array, at: number, family: 4 | 6): IpAddress | undefined {
    const first = readInt32(packet, at);
    for (const ip of this.#all) {
      if (ip.family !== family || readInt32(ip.bytes, 0) !== first) continue;
      if (family === 4 || asBuffer(ip.bytes).compare(packet, at, at + 16) === 0) return ip;
    }
    return undefined;
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
