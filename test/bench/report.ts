// What every benchmark prints: one line per pair of subject and peer, from the same run, as text or as JSON.

export interface Pair {
  readonly bench: string;
  readonly metric: string;
  readonly unit: string;
  readonly subject: string;
  /** Null where the subject is missing or cannot do it; `note` says why. */
  readonly value: number | null;
  /** What it is held against, or null where a figure stands alone. */
  readonly peer: string | null;
  readonly peerValue: number | null;
  readonly ratio: number | null;
  /** The ratio that an issue asks for, or null where none is asked yet. */
  readonly bar: number | null;
  readonly holds: boolean;
  /** What is missing, and why. */
  readonly note?: string;
}

export interface Held {
  readonly metric: string;
  readonly unit: string;
  readonly value: number;
  readonly peer?: { readonly name: string; readonly value: number };
  /** The ratio must be at least (or, for `lowerIsBetter`, at most) this. */
  readonly bar?: number;
  readonly lowerIsBetter?: boolean;
}

export function pair(bench: string, subject: string, held: Held): Pair {
  const ratio = held.peer === undefined ? null : held.value / held.peer.value;
  const bar = held.bar ?? null;
  const holds = bar === null || (ratio !== null && (held.lowerIsBetter === true ? ratio <= bar : ratio >= bar));
  return {
    bench,
    metric: held.metric,
    unit: held.unit,
    subject,
    value: round(held.value),
    peer: held.peer?.name ?? null,
    peerValue: held.peer === undefined ? null : round(held.peer.value),
    ratio: ratio === null ? null : round(ratio),
    bar,
    holds,
  };
}

/** A line for what could not be measured: a bar that is asked for is not met then. */
export function missingPair(
  bench: string,
  subject: string,
  asked: { readonly metric: string; readonly unit: string; readonly peer?: string; readonly peerValue?: number | undefined; readonly bar?: number },
  reason: string,
): Pair {
  const { metric, unit, peer = null, peerValue, bar = null } = asked;
  const theirs = peerValue === undefined ? null : round(peerValue);
  return { bench, metric, unit, subject, value: null, peer, peerValue: theirs, ratio: null, bar, holds: bar === null, note: `${subject}: ${reason}` };
}

export function print(pairs: readonly Pair[], json: boolean): void {
  for (const row of pairs) console.log(json ? JSON.stringify(row) : describe(row));
}

function describe({ bench, metric, unit, subject, value, peer, peerValue, ratio, bar, holds, note }: Pair): string {
  const parts = [`${bench}  ${metric.padEnd(36)} ${subject} ${value === null ? 'missing' : `${value} ${unit}`}`];
  if (peer !== null && peerValue !== null) parts.push(`${peer} ${peerValue} ${unit}${ratio === null ? '' : `, ratio ${ratio}`}`);
  if (bar !== null) parts.push(`bar ${bar}: ${holds ? 'holds' : 'MISSED'}`);
  if (note !== undefined) parts.push(`[${note}]`);
  return parts.join('   ');
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
