// The door to prom-client: families of ours, and what Node tells of the process, as Prometheus' text.
import { collectDefaultMetrics, Registry, type Gauge } from 'prom-client';
import { type Durations, durationBoundsMs } from '#lib/durations.ts';
import { loopSampleMs } from './constants.ts';
import { type Family, type Labels, labelText } from './family.ts';

interface Line {
  readonly metricName?: string;
  readonly labels: Record<string, string | number>;
  readonly value: number;
}

export interface MetricsText {
  readonly contentType: string;
  /** All families as of now. Rejects where one cannot be read. */
  read(): Promise<string>;
}

export function openRegistry(families: readonly Family[]): MetricsText {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: loopSampleMs });
  for (const family of families) {
    // Our counters live elsewhere; of a metric the registry asks nothing but what stands here.
    const metric = {
      name: family.name,
      help: family.help,
      type: family.kind,
      get: () => Promise.resolve({ name: family.name, help: family.help, type: family.kind, aggregator: 'sum', values: linesOf(family) }),
    };
    registry.registerMetric(metric as unknown as Gauge);
  }
  return { contentType: registry.contentType, read: () => registry.metrics() };
}

function linesOf(family: Family): readonly Line[] {
  const lines: Line[] = [];
  if (family.kind === 'histogram') for (const { labels, value } of family.read()) pushHistogram(lines, family.name, clean(labels), value);
  else for (const { labels, value } of family.read()) lines.push({ labels: clean(labels), value });
  return lines;
}

function pushHistogram(lines: Line[], name: string, labels: Record<string, string>, durations: Durations): void {
  let sum = 0;
  for (const [at, count] of durations.counts.entries()) {
    sum += count;
    const bound = durationBoundsMs[at];
    lines.push({ metricName: `${name}_bucket`, labels: { ...labels, le: bound === undefined ? '+Inf' : bound / 1_000 }, value: sum });
  }
  lines.push({ metricName: `${name}_sum`, labels, value: durations.sumMs / 1_000 });
  lines.push({ metricName: `${name}_count`, labels, value: durations.count });
}

function clean(labels: Labels): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, labelText(value)]));
}
