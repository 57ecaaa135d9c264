// What decides with the policy of a service and is not the request's: the time, where addresses are, what is said of them, and how much was used.
import type { Clock } from '#lib/clock.ts';
import { noReputation, type Reputation } from './reputation.ts';
import { type GeoLookup, noGeo } from './rules/facts.ts';
import { RateLimits } from './rules/rate-limits.ts';

export interface Surroundings {
  readonly clock: Clock;
  readonly geo: GeoLookup;
  readonly reputation: Reputation;
  readonly limits: RateLimits;
  /** Grows with each change of `geo` or `reputation` that may make another decision of one that was made. */
  version(): number;
}

/** Without data bases and CrowdSec: what asks for them cannot be told. */
export function plainSurroundings(clock: Clock): Surroundings {
  return { clock, geo: noGeo, reputation: noReputation, limits: new RateLimits(clock), version: () => 0 };
}
