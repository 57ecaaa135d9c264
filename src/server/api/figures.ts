// What the API counts of itself: requests by the route's template, never by what callers put into paths.
import { Durations } from '#lib/durations.ts';

const statusClasses = 5;

export interface ApiCount {
  readonly route: string;
  readonly method: string;
  readonly status: string;
  readonly count: number;
}

export class ApiFigures {
  readonly time: Durations = new Durations();
  readonly #counts = new Map<string, { readonly route: string; readonly method: string; readonly byStatus: Float64Array }>();

  /** `route` is undefined for what found none. */
  record(route: { readonly method: string; readonly path: string } | undefined, status: number, ms: number): void {
    const key = route === undefined ? '' : `${route.method} ${route.path}`;
    let row = this.#counts.get(key);
    if (row === undefined) {
      row = { route: route === undefined ? 'none' : `/api${route.path}`, method: route?.method ?? 'any', byStatus: new Float64Array(statusClasses) };
      this.#counts.set(key, row);
    }
    const at = Math.min(statusClasses, Math.max(1, Math.floor(status / 100))) - 1;
    row.byStatus[at] = (row.byStatus[at] ?? 0) + 1;
    this.time.observe(ms);
  }

  /** At most one row for each status class of each route. */
  *counts(): Iterable<ApiCount> {
    for (const { route, method, byStatus } of this.#counts.values())
      for (const [at, count] of byStatus.entries()) if (count > 0) yield { route, method, status: `${at + 1}xx`, count };
  }
}
