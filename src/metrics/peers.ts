// Figures of peers with a bounded number of labels: the first that are used have their own, the rest are counted together.
import type { PublicKey } from '#model/ids.ts';
import type { PeerPathStatus } from '#model/status.ts';
import { maxLabelledPeers } from './constants.ts';
import type { Sample } from './family.ts';

/** What only grows while a peer is known. */
const grown = {
  switches: (peer: PeerPathStatus): number => peer.switches,
  received: (peer: PeerPathStatus): number => peer.receivedBytes,
  sent: (peer: PeerPathStatus): number => peer.sentBytes,
} as const;

export type Grown = keyof typeof grown;
type Counts = Record<Grown, number>;

const names = Object.keys(grown) as readonly Grown[];

export class PeerSeries {
  readonly #max: number;
  /** Labels in use by peer. One keeps its label as long as the map names it. */
  readonly #labels = new Map<PublicKey, string>();
  /** Peers that came when the labels were used up, with what was added to `other` for each: they stay there, so that no sum goes back. */
  readonly #unlabelled = new Map<PublicKey, Counts>();
  readonly #other: Counts = { switches: 0, received: 0, sent: 0 };
  #peers: readonly PeerPathStatus[] = [];

  constructor(max = maxLabelledPeers) {
    this.#max = max;
  }

  /** The peers as they are now. */
  update(peers: readonly PeerPathStatus[]): void {
    this.#peers = peers;
    const there = new Set(peers.map(({ publicKey }) => publicKey));
    for (const known of [this.#labels, this.#unlabelled]) for (const key of known.keys()) if (!there.has(key)) known.delete(key);
    for (const peer of peers) {
      if (this.#labels.has(peer.publicKey)) continue;
      const counted = this.#unlabelled.get(peer.publicKey);
      if (counted !== undefined) this.#count(peer, counted);
      else if (peer.path !== undefined || names.some((name) => grown[name](peer) > 0)) this.#place(peer);
    }
  }

  /** A figure that grows: each peer with a label, then the others together where there are any. */
  *total(name: Grown): Iterable<Sample<number>> {
    for (const [peer, label] of this.labelled()) yield { labels: { peer: label }, value: grown[name](peer) };
    if (this.#unlabelled.size > 0 || this.#other[name] > 0) yield { labels: { peer: 'other' }, value: this.#other[name] };
  }

  *labelled(): Iterable<readonly [PeerPathStatus, string]> {
    for (const peer of this.#peers) {
      const label = this.#labels.get(peer.publicKey);
      if (label !== undefined) yield [peer, label];
    }
  }

  #place(peer: PeerPathStatus): void {
    if (this.#labels.size < this.#max) {
      this.#labels.set(peer.publicKey, this.#labelFor(peer));
    } else {
      const counted: Counts = { switches: 0, received: 0, sent: 0 };
      this.#unlabelled.set(peer.publicKey, counted);
      this.#count(peer, counted);
    }
  }

  #count(peer: PeerPathStatus, counted: Counts): void {
    for (const name of names) {
      const now = grown[name](peer);
      // Less than before: the engine forgot the peer and counts anew.
      this.#other[name] += now < counted[name] ? now : now - counted[name];
      counted[name] = now;
    }
  }

  /** The name; with the key's beginning where another peer has it, as a label may stand only once. */
  #labelFor({ fqdn, publicKey }: PeerPathStatus): string {
    const name = fqdn === '' ? publicKey : fqdn;
    const taken = name === 'other' || [...this.#labels.values()].includes(name);
    return taken ? `${name} ${publicKey.slice(0, 8)}` : name;
  }
}
