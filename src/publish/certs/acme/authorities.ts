// Care for the authorities: which may be asked now, and until when one is left alone. Pure; what it knows outlives a restart, so that a
// process that crashes again and again stays within the caps too.
import {
  AWAY_MS,
  CAP_WINDOW_MS,
  FAILURES_PER_NAME,
  LIMITED_MS,
  LIMITED_NAMES,
  ORDERS_PER_HOUR,
  ORDERS_PER_NAMES,
  RETRY_AFTER_MAX_MS,
} from './constants.ts';
import type { AcmeFailure } from './types.ts';

/** Wall-clock milliseconds. */
export interface Standing {
  /** Left alone until then, and why. */
  readonly awayUntil: number;
  readonly reason: string;
  /** New orders of the last hour: when, and for which names. */
  readonly orders: readonly { readonly at: number; readonly names: string }[];
  /** Names that it limits, until when. Many limits are about one name or its domain: others are still served. */
  readonly limited: readonly { readonly names: string; readonly until: number; readonly reason: string }[];
  /** Failed proofs of the last hour. */
  readonly failures: readonly { readonly at: number; readonly name: string }[];
}

export type AuthorityChoice =
  | { readonly kind: 'ask'; readonly authority: number }
  | { readonly kind: 'wait'; readonly until: number; readonly reason: string };

const untouched: Standing = { awayUntil: 0, reason: '', orders: [], limited: [], failures: [] };

export class Authorities {
  readonly #directories: readonly string[];
  readonly #standings: Standing[];

  /** In the order in which they are asked. `kept` is what an earlier run knew, by directory. */
  constructor(directories: readonly string[], kept: ReadonlyMap<string, Standing> = new Map()) {
    this.#directories = directories;
    this.#standings = directories.map((directory) => kept.get(directory) ?? untouched);
  }

  directory(authority: number): string {
    return this.#directories[authority] ?? '';
  }

  /** The first that may be asked for these names now; else the time at which one may be, and why not now. `passed` were tried in this round. */
  choose(names: readonly string[], now: number, passed: ReadonlySet<number>): AuthorityChoice {
    let wait: { readonly until: number; readonly reason: string } | undefined;
    for (let authority = 0; authority < this.#standings.length; authority++) {
      if (passed.has(authority)) continue;
      const barrier = this.#barrier(authority, names, now);
      if (barrier === undefined) return { kind: 'ask', authority };
      if (wait === undefined || barrier.until < wait.until) wait = barrier;
    }
    return { kind: 'wait', until: wait?.until ?? now, reason: wait?.reason ?? 'no certificate authority is left to ask' };
  }

  ordered(authority: number, names: readonly string[], now: number): void {
    this.#change(authority, now, (standing) => ({ ...standing, orders: [...standing.orders, { at: now, names: names.join(' ') }] }));
  }

  answered(authority: number, now: number): void {
    this.#change(authority, now, (standing) => ({ ...standing, awayUntil: 0, reason: '' }));
  }

  /** `names` are those of the order; `failing` those whose proof failed. */
  failed(authority: number, names: readonly string[], failing: readonly string[], failure: AcmeFailure, now: number): void {
    const { kind, reason } = failure;
    const asked = Math.min(failure.retryAfterMs ?? 0, RETRY_AFTER_MAX_MS);
    switch (kind) {
      case 'limited': {
        const until = now + (asked > 0 ? asked : LIMITED_MS);
        this.#change(authority, now, (standing) => {
          const limited = [...standing.limited.filter((entry) => entry.names !== names.join(' ')), { names: names.join(' '), until, reason }];
          const all = limited.filter((entry) => entry.until > now).length >= LIMITED_NAMES;
          return { ...standing, limited, ...(all ? { awayUntil: Math.max(standing.awayUntil, until), reason } : {}) };
        });
        return;
      }
      case 'unavailable': {
        const until = now + (asked > 0 ? asked : AWAY_MS);
        this.#change(authority, now, (standing) => ({ ...standing, awayUntil: Math.max(standing.awayUntil, until), reason }));
        return;
      }
      case 'validation':
        this.#change(authority, now, (standing) => ({
          ...standing,
          failures: [...standing.failures, ...failing.map((name) => ({ at: now, name }))],
        }));
        return;
      case 'refused':
      case 'local':
    }
  }

  /** To be kept. */
  standing(authority: number): Standing {
    return this.#standings[authority] ?? untouched;
  }

  #barrier(authority: number, names: readonly string[], now: number): { readonly until: number; readonly reason: string } | undefined {
    const standing = this.#standings[authority] ?? untouched;
    const host = hostOf(this.directory(authority));
    if (standing.awayUntil > now) return { until: standing.awayUntil, reason: `${host}: ${standing.reason}` };
    const limit = standing.limited.find((entry) => entry.names === names.join(' ') && entry.until > now);
    if (limit !== undefined) return { until: limit.until, reason: `${host}: ${limit.reason}` };
    const since = now - CAP_WINDOW_MS;
    const orders = standing.orders.filter(({ at }) => at > since);
    if (orders.length >= ORDERS_PER_HOUR) {
      return { until: freeAt(orders, ORDERS_PER_HOUR), reason: `${ORDERS_PER_HOUR} orders an hour at ${host} are enough` };
    }
    const same = orders.filter((order) => order.names === names.join(' '));
    if (same.length >= ORDERS_PER_NAMES) {
      return { until: freeAt(same, ORDERS_PER_NAMES), reason: `${ORDERS_PER_NAMES} orders an hour for one certificate at ${host} are enough` };
    }
    for (const name of names) {
      const failures = standing.failures.filter((failure) => failure.at > since && failure.name === name);
      if (failures.length >= FAILURES_PER_NAME) {
        return { until: freeAt(failures, FAILURES_PER_NAME), reason: `${name} failed ${FAILURES_PER_NAME} times within an hour at ${host}` };
      }
    }
    return undefined;
  }

  #change(authority: number, now: number, change: (standing: Standing) => Standing): void {
    const standing = this.#standings[authority];
    if (standing === undefined) return;
    const since = now - CAP_WINDOW_MS;
    const { orders, limited, failures, ...rest } = change(standing);
    this.#standings[authority] = {
      ...rest,
      orders: orders.filter(({ at }) => at > since),
      limited: limited.filter(({ until }) => until > now),
      failures: failures.filter(({ at }) => at > since),
    };
  }
}

/** When the oldest of the last `cap` leaves the window. */
function freeAt(entries: readonly { readonly at: number }[], cap: number): number {
  return (entries.at(-cap)?.at ?? 0) + CAP_WINDOW_MS;
}

function hostOf(directory: string): string {
  return URL.canParse(directory) ? new URL(directory).host : directory;
}
