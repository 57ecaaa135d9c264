// The addresses of some peers as few prefixes. A rule for thousands of sources, told to a router for hundreds of resources, would be larger
// than a stock client takes (netbird-wire §8, row 43). A prefix may hold addresses that nobody has: whoever gets one later comes to the
// router with the same map that has the new prefixes, and before that the router takes no packet from him.
import { maskPrefix, prefixContains, type IpAddress, type IpPrefix } from '#lib/ip.ts';
import { listedSources } from './constants.ts';
import type { MapPeer, PeerSet } from './map-peer.ts';

/** By family. */
export interface Sources {
  readonly v4: readonly IpPrefix[];
  readonly v6: readonly IpPrefix[];
}

export class SourceLists {
  readonly #peers: readonly MapPeer[];
  readonly #bits: { readonly v4: number; readonly v6: number };
  readonly #made = new Map<PeerSet, Sources>();

  /** `peers` is everybody who has an address, `bits` are the prefix lengths of the network. */
  constructor(peers: readonly MapPeer[], bits: { readonly v4: number; readonly v6: number }) {
    this.#peers = peers;
    this.#bits = bits;
  }

  of(sources: PeerSet): Sources {
    let made = this.#made.get(sources);
    if (made === undefined) {
      const { v4, v6 } = this.#bits;
      made = { v4: this.#list(sources, (peer) => peer.v4, v4), v6: this.#list(sources, (peer) => peer.v6, v6) };
      this.#made.set(sources, made);
    }
    return made;
  }

  #list(sources: PeerSet, addressOf: (peer: MapPeer) => IpPrefix | undefined, bits: number): readonly IpPrefix[] {
    const inside = [...sources.values()].flatMap((peer) => addressOf(peer) ?? []);
    if (inside.length <= listedSources) return inside;
    const outside = this.#peers.filter((peer) => !sources.has(peer.peer.id)).flatMap((peer) => addressOf(peer)?.address ?? []);
    const covers = coverOf(
      inside.map(({ address }) => address),
      outside,
      bits,
    );
    return covers === undefined || covers.length >= inside.length ? inside : covers;
  }
}

/**
 * The widest prefixes, none wider than the network of `bits`, that together hold all of `inside` and none of `outside`; undefined where the
 * former are not of one network.
 */
export function coverOf(inside: readonly IpAddress[], outside: readonly IpAddress[], bits: number): readonly IpPrefix[] | undefined {
  const [first] = inside;
  if (first === undefined) return [];
  const network = maskPrefix({ address: first, bits });
  if (!inside.every((address) => prefixContains(network, address))) return undefined;
  const covers: IpPrefix[] = [];
  const split = (within: readonly IpAddress[], without: readonly IpAddress[], depth: number): void => {
    const [one] = within;
    if (one === undefined) return;
    if (without.length === 0) {
      covers.push(maskPrefix({ address: one, bits: depth }));
      return;
    }
    if (depth >= 8 * one.bytes.length) return; // the same address on both sides: it is not let in
    for (const bit of [0, 1]) {
      const here = (address: IpAddress): boolean => bitOf(address, depth) === bit;
      split(within.filter(here), without.filter(here), depth + 1);
    }
  };
  split(
    inside,
    outside.filter((address) => prefixContains(network, address)),
    bits,
  );
  return covers;
}

function bitOf({ bytes }: IpAddress, index: number): number {
  return ((bytes[index >> 3] ?? 0) >> (7 - (index & 7))) & 1;
}
