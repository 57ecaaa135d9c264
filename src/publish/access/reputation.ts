// What is said of an address by others (CrowdSec), for services that ask.
import type { IpAddress } from '#lib/ip.ts';
import type { GeoLookup } from './rules/facts.ts';

export interface Reputation {
  /** Why the address is banned; undefined where it is not. Not to be asked while there is a `problem`. */
  banned(address: IpAddress, geo: GeoLookup): string | undefined;
  /** Why nothing can be said of any address; empty where it can. */
  problem(): string;
}

export const noReputation: Reputation = {
  banned: () => undefined,
  problem: () => 'CrowdSec cannot be asked: crowdsec.url is not set at this gateway',
};
