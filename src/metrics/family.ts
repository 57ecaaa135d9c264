// What a process exposes: families of figures that are read when somebody asks, from counters that other parts keep anyway.
import type { Durations } from '#lib/durations.ts';
import { maxLabelText } from './constants.ts';

export type Labels = Readonly<Record<string, string>>;

export interface Sample<Value> {
  readonly labels: Labels;
  readonly value: Value;
}

interface Named {
  /** With its unit, and `_total` where it only grows. */
  readonly name: string;
  readonly help: string;
}

export type Family =
  | (Named & { readonly kind: 'counter' | 'gauge'; read(): Iterable<Sample<number>> })
  /** Exposed in seconds. */
  | (Named & { readonly kind: 'histogram'; read(): Iterable<Sample<Durations>> });

export function counter(name: string, help: string, read: () => Iterable<Sample<number>>): Family {
  return { name, help, kind: 'counter', read };
}

export function gauge(name: string, help: string, read: () => Iterable<Sample<number>>): Family {
  return { name, help, kind: 'gauge', read };
}

export function histogram(name: string, help: string, read: () => Iterable<Sample<Durations>>): Family {
  return { name, help, kind: 'histogram', read };
}

/** One figure without labels. */
export function single<Value>(read: () => Value): () => readonly Sample<Value>[] {
  return () => [{ labels: {}, value: read() }];
}

/** Text from elsewhere as a label: short and without control characters. */
export function labelText(text: string): string {
  return text.slice(0, maxLabelText).replaceAll(/\p{C}/gu, '');
}
