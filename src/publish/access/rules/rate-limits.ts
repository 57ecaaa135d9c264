// How often: token buckets for services, addresses and identities, kept as the time at which each would be full again (GCRA, ITU-T I.371).
import { randomBytes } from 'node:crypto';
import type { Clock } from '#lib/clock.ts';
import type { RateLimit } from '#model/access.ts';
import type { ServiceId } from '#model/ids.ts';
import { RATE_BUCKETS, RATE_LOOK, RATE_SHARED } from '../../constants.ts';

/** One limit of one service, ready to be counted against. */
export interface CompiledLimit {
  readonly key: RateLimit['key'];
  /** Begins the names of its buckets. Another version of the service with the same limit goes on with them. */
  readonly name: string;
  /** Milliseconds until one more is there. */
  readonly each: number;
  /** How far ahead of now a bucket may be emptied. */
  readonly ahead: number;
}

export function compileLimits(service: ServiceId, limits: readonly RateLimit[]): readonly CompiledLimit[] {
  return limits.map(({ key, count, perMs, burst }) => ({
    key,
    name: `${service} ${key} ${count}/${perMs}/${burst} `,
    each: perMs / count,
    ahead: ((burst - 1) * perMs) / count,
  }));
}

/** Who is counted; what is undefined is not. */
export interface Counted {
  readonly service: boolean;
  readonly address: string | undefined;
  readonly identity: string | undefined;
}

/**
 * The buckets of a gateway, of which a full one needs no place. One that is in use is never given up for another: else whoever has many
 * addresses would empty the memory of what they did. Where all places are taken, newcomers share a fixed number of buckets by a keyed hash: they are
 * limited together with strangers then, those that have a place of their own notice nothing, and memory stays as it is.
 */
export class RateLimits {
  readonly #clock: Clock;
  /** Name → when it is full. */
  readonly #buckets = new Map<string, number>();
  readonly #shared = new Float64Array(RATE_SHARED);
  readonly #seed = randomBytes(4).readInt32LE();
  #look: IterableIterator<[string, number]> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Buckets that are in use, but for those that are shared. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Counts one more against each of the limits; where one has none left, against none, and returns the milliseconds until there is. Zero is yes. */
  take(limits: readonly CompiledLimit[], counted: Counted): number {
    if (limits.length === 0) return 0;
    const now = this.#clock.now();
    let wait = 0;
    for (const limit of limits) {
      const name = bucketName(limit, counted);
      if (name !== undefined) wait = Math.max(wait, this.#fullAt(name, now) - now - limit.ahead);
    }
    if (wait > 0) return wait;
    for (const limit of limits) {
      const name = bucketName(limit, counted);
      if (name !== undefined) this.#set(name, Math.max(this.#fullAt(name, now), now) + limit.each, now);
    }
    return 0;
  }

  #fullAt(name: string, now: number): number {
    const own = this.#buckets.get(name);
    if (own !== undefined) return own;
    return this.#buckets.size < RATE_BUCKETS ? now : (this.#shared[this.#slot(name)] ?? now);
  }

  #set(name: string, fullAt: number, now: number): void {
    if (!this.#buckets.has(name)) {
      this.#tidy(now);
      if (this.#buckets.size >= RATE_BUCKETS) {
        this.#shared[this.#slot(name)] = fullAt;
        return;
      }
    }
    this.#buckets.set(name, fullAt);
  }

  /** Each newcomer looks at a few others, so that those that have filled up again leave as fast as new ones come. */
  #tidy(now: number): void {
    for (let i = 0; i < RATE_LOOK; i++) {
      this.#look ??= this.#buckets.entries();
      const next = this.#look.next();
      if (next.done === true) this.#look = undefined;
      else if (next.value[1] <= now) this.#buckets.delete(next.value[0]);
    }
  }

  #slot(name: string): number {
    let hash = this.#seed;
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    return ((hash ^ (hash >>> 15)) >>> 0) % RATE_SHARED;
  }
}

function bucketName({ key, name }: CompiledLimit, { service, address, identity }: Counted): string | undefined {
  const who = key === 'service' ? (service ? '' : undefined) : key === 'address' ? address : identity;
  return who === undefined ? undefined : name + who;
}
