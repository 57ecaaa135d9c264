// How long something takes, counted in fixed classes: what a histogram is made of. Observing allocates nothing.

/** Upper bounds of the classes in milliseconds, for what ranges from a look-up to a slow upstream. */
export const durationBoundsMs = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000] as const;

export class Durations {
  /** Observations by class; the last class has no upper bound. Not cumulative. */
  readonly counts: Float64Array = new Float64Array(durationBoundsMs.length + 1);
  count = 0;
  sumMs = 0;

  /** Milliseconds; may have a fraction. */
  observe(ms: number): void {
    let at = 0;
    while (at < durationBoundsMs.length && ms > (durationBoundsMs[at] ?? Infinity)) at++;
    this.counts[at] = (this.counts[at] ?? 0) + 1;
    this.count++;
    this.sumMs += ms;
  }

  /** Takes over what another has counted. */
  add(other: Durations): void {
    for (let at = 0; at < this.counts.length; at++) this.counts[at] = (this.counts[at] ?? 0) + (other.counts[at] ?? 0);
    this.count += other.count;
    this.sumMs += other.sumMs;
  }
}
