// How many connections or flows each stream service has open: in all, of each source, and of each person. All are counted, also where nothing
// is limited, so that a limit that is set later holds for what is open already.
import { callerNetwork } from '#lib/ip.ts';
import type { ServiceId } from '#model/ids.ts';
import type { StreamLimits } from '#model/stream.ts';

/** What a connection is counted under; to be given back once. */
export type Place = readonly string[];

export class OpenConnections {
  readonly #counts = new Map<string, number>();

  /** Counts one more; undefined where its service, source or person has as many as are allowed. An IPv6 address counts with its /64. */
  take(id: ServiceId, limits: StreamLimits, address: string, userId: string | undefined): Place | undefined {
    const service = `${id}`;
    const source = `${id} a ${callerNetwork(address)}`;
    const person = userId === undefined ? undefined : `${id} u ${userId}`;
    const full =
      this.#has(service, limits.maxConnections) ||
      this.#has(source, limits.maxPerAddress) ||
      (person !== undefined && this.#has(person, limits.maxPerIdentity));
    if (full) return undefined;
    const place = person === undefined ? [service, source] : [service, source, person];
    for (const key of place) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    return place;
  }

  give(place: Place): void {
    for (const key of place) {
      const left = (this.#counts.get(key) ?? 1) - 1;
      if (left > 0) this.#counts.set(key, left);
      else this.#counts.delete(key);
    }
  }

  #has(key: string, limit: number | undefined): boolean {
    return limit !== undefined && (this.#counts.get(key) ?? 0) >= limit;
  }
}
