// Where peers last proved themselves without anything between, in this run or an earlier one.
import type { PublicKey } from '#model/ids.ts';
import type { TransportAddress } from './path/path.ts';
import type { LastEndpoint } from './types.ts';

export class LastEndpoints {
  readonly #byPeer = new Map<PublicKey, TransportAddress>();
  readonly #changed: () => void;

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  /** Takes what `list` said in an earlier run. */
  restore(endpoints: readonly LastEndpoint[]): void {
    for (const { peer, address, port } of endpoints) this.#byPeer.set(peer, { address, port });
  }

  of(peer: PublicKey): TransportAddress | undefined {
    return this.#byPeer.get(peer);
  }

  note(peer: PublicKey, { address, port }: TransportAddress): void {
    this.#byPeer.set(peer, { address, port });
    this.#changed();
  }

  forget(peer: PublicKey): void {
    if (this.#byPeer.delete(peer)) this.#changed();
  }

  /** Those of the peers that are in `known`. */
  list(known: { has(peer: PublicKey): boolean }): readonly LastEndpoint[] {
    return [...this.#byPeer].filter(([peer]) => known.has(peer)).map(([peer, { address, port }]) => ({ peer, address, port }));
  }
}
