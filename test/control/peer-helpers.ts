// A peer for tests: options with a fresh key, and handlers that collect what comes.
import { generatePrivateKey } from '#crypto/x25519.ts';
import { publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import type { PeerControlHandlers, PeerControlOptions } from '#control/types.ts';
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import type { MeshEndpoints, NetworkMap } from '#model/network-map.ts';
import type { PeerMeta } from '#model/network.ts';

export const goodKey = 'a2c8e62b-38f5-4553-b31e-dd66c696cebb';
export const expiredKey = 'b2c8e62b-38f5-4553-b31e-dd66c696cebb';
export const wrongKey = 'c2c8e62b-38f5-4553-b31e-dd66c696cebb';

export const meta: PeerMeta = {
  hostname: 'box',
  os: 'linux',
  osVersion: '13',
  kernel: '6.12',
  platform: 'x86_64',
  version: '0.70.0',
  uiVersion: '',
  ipv6: false,
};

export function peerOptions(server: { readonly url: string; readonly ca: { readonly caPem: string } }, setupKey?: string): PeerControlOptions {
  return { address: { url: server.url, ca: server.ca.caPem }, privateKey: generatePrivateKey(), meta, setupKey };
}

export function publicKeyOf(options: PeerControlOptions): PublicKey {
  const key = parsePublicKey(toBase64(publicFromPrivate(options.privateKey)));
  if (key === undefined) throw new TypeError('key');
  return key;
}

/** Collects; `next` resolves with the first value of that kind that was not taken yet. */
export class Inbound implements PeerControlHandlers {
  readonly maps = new Queue<NetworkMap>();
  readonly endpointUpdates = new Queue<MeshEndpoints>();
  readonly refusals = new Queue<string>();

  map(map: NetworkMap): void {
    this.maps.put(map);
  }
  endpoints(endpoints: MeshEndpoints): void {
    this.endpointUpdates.put(endpoints);
  }
  refused(reason: string): void {
    this.refusals.put(reason);
  }
}

export class Queue<T> {
  readonly #items: T[] = [];
  #waiting: ((item: T) => void)[] = [];

  put(item: T): void {
    const waiter = this.#waiting.shift();
    if (waiter === undefined) this.#items.push(item);
    else waiter(item);
  }

  /** Items that nobody took. */
  get length(): number {
    return this.#items.length;
  }

  next(): Promise<T> {
    const item = this.#items.shift();
    return item === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(item);
  }

  /** Takes items until one fits. */
  async until(fits: (item: T) => boolean): Promise<T> {
    for (;;) {
      const item = await this.next();
      if (fits(item)) return item;
    }
  }
}
