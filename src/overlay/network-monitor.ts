// What changed about this host's network, told from two looks at it: a pure comparison without I/O. The watch looks, the overlay acts.
import { NETWORK_SLEEP_MS } from './constants.ts';

/** One look at the host. */
export interface NetworkSample {
  /** Monotonic milliseconds. On some systems they stand still while the host sleeps. */
  readonly now: number;
  /** Milliseconds since 1970. */
  readonly wall: number;
  /** Addresses of interfaces that are up, as `name address`. */
  readonly addresses: ReadonlySet<string>;
  /** Default routes, as `interface gateway`; undefined where the system does not tell. */
  readonly routes: ReadonlySet<string> | undefined;
}

export type NetworkChange =
  | { readonly kind: 'address-added' | 'address-lost' | 'route-changed'; readonly what: string }
  /** The host or this process stood still for so long. A wall clock that was set forward looks the same. */
  | { readonly kind: 'woke'; readonly what: string; readonly sleptMs: number }
  /** The outer address that STUN servers see is another. */
  | { readonly kind: 'mapping-changed'; readonly what: string };

/** Whether paths that are up may be dead after it: they have to prove themselves. A new address alone breaks nothing. */
export function breaksPaths(change: NetworkChange): boolean {
  return change.kind !== 'address-added';
}

export class NetworkMonitor {
  readonly #lookMs: number;
  #last: NetworkSample | undefined;

  /** `lookMs`: how far apart the looks are meant to be. */
  constructor(lookMs: number) {
    this.#lookMs = lookMs;
  }

  /** What changed since the look before; the first finds nothing. */
  observe(sample: NetworkSample): readonly NetworkChange[] {
    const last = this.#last;
    this.#last = sample;
    if (last === undefined) return [];
    const changes: NetworkChange[] = [];
    const sleptMs = Math.max(sample.now - last.now - this.#lookMs, sample.wall - last.wall - (sample.now - last.now));
    if (sleptMs >= NETWORK_SLEEP_MS) changes.push({ kind: 'woke', what: `stood still for ${(sleptMs / 1000).toFixed(0)} s`, sleptMs });
    const lost = missing(last.addresses, sample.addresses);
    const added = missing(sample.addresses, last.addresses);
    if (lost !== '') changes.push({ kind: 'address-lost', what: lost });
    if (added !== '') changes.push({ kind: 'address-added', what: added });
    if (last.routes !== undefined && sample.routes !== undefined) {
      const gone = missing(last.routes, sample.routes);
      const come = missing(sample.routes, last.routes);
      if (gone !== '' || come !== '') changes.push({ kind: 'route-changed', what: `default route ${gone || 'none'}, now ${come || 'none new'}` });
    }
    return changes;
  }
}

/** What is in the first set and not in the second, for people. */
function missing(from: ReadonlySet<string>, to: ReadonlySet<string>): string {
  let text = '';
  for (const entry of from) if (!to.has(entry)) text += text === '' ? entry : `, ${entry}`;
  return text;
}
