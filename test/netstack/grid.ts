// The grid of links over which throughput is recorded: loss × delay × buffer at one bandwidth.
import type { LinkConditions } from './link-model.ts';

export const GRID_BYTES = 1_000_000;
const GRID_BITS_PER_SECOND = 20_000_000;
export const GRID_SEEDS = [1, 2, 3, 4, 5, 6, 7] as const;

export interface Cell {
  readonly loss: number;
  readonly delayMs: number;
  readonly queuePackets: number;
}

function cross(losses: readonly number[], delays: readonly number[], queues: readonly number[]): readonly Cell[] {
  return losses.flatMap((loss) => delays.flatMap((delayMs) => queues.map((queuePackets) => ({ loss, delayMs, queuePackets }))));
}

export const GRID = cross([0, 0.001, 0.01, 0.03, 0.1], [1, 10, 50, 150], [10, 40, 200]);
/** What the kernel runs too, in real time. Without the shortest queue, which a bridge that is not called for a few milliseconds fills by itself. */
export const KERNEL_GRID = cross([0, 0.01, 0.03], [1, 10, 50], [40, 200]);

export function cellName({ loss, delayMs, queuePackets }: Cell): string {
  return `loss ${(loss * 100).toFixed(1)} %, delay ${delayMs} ms, queue ${queuePackets}`;
}

export function conditionsOf(cell: Cell, seed: number): LinkConditions {
  return { ...cell, seed: seed * 1009, bitsPerSecond: GRID_BITS_PER_SECOND };
}

/** The middle one; of an even number the lower. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? Number.NaN;
}

export function mbit(bytes: number, ms: number): number {
  return (bytes * 8) / ms / 1000;
}
