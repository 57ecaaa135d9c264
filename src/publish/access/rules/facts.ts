// What rules are asked about, and what is known around a request.
import type { IpAddress } from '#lib/ip.ts';
import type { ProofKind } from '#model/access.ts';
import type { Identity } from '#model/identity.ts';

/** Where addresses are; undefined where that cannot be told. */
export interface GeoLookup {
  /** ISO 3166-1 alpha-2, upper case. */
  country(address: IpAddress): string | undefined;
  /** The number of the autonomous system that announces it. */
  network(address: IpAddress): number | undefined;
  /** Why countries, or networks, cannot be told at all; empty where they can. */
  problem(of: 'countries' | 'networks'): string;
}

export const noGeo: GeoLookup = {
  country: () => undefined,
  network: () => undefined,
  problem: (of) => `${of} cannot be told: the gateway has no data base of them (geo.${of === 'countries' ? 'countryFile' : 'asnFile'})`,
};

/** A request, a new connection or a flow, apart from who it is. */
export interface Facts {
  /** As sent; undefined for streams. */
  readonly path: string | undefined;
  /** As on the wire; undefined for streams. */
  readonly method: string | undefined;
  readonly address: IpAddress | undefined;
  /** Wall-clock milliseconds. */
  readonly now: number;
  readonly geo: GeoLookup;
}

/** Who it is, once that has been proven. */
export interface Caller {
  readonly identity: Identity;
  readonly proofs: readonly ProofKind[];
}
