// One transfer over a cell of the grid between two of our stacks, in virtual time.
import { GRID_BYTES, GRID_SEEDS, conditionsOf, mbit, median } from './grid.ts';
import type { Cell } from './grid.ts';
import { Network, dial } from './link.ts';

const bytes = new Uint8Array(GRID_BYTES);
const LIMIT_MS = 3_600_000;

/** Mbit/s from the first SYN to the last byte, of one seed. */
function runCell(cell: Cell, seed: number): number {
  const network = new Network(conditionsOf(cell, seed));
  const start = network.now;
  const { client, server } = dial(network);
  client.send(bytes, false, network.now);
  network.runUntil(() => server.received === GRID_BYTES, LIMIT_MS);
  return mbit(server.received, network.now - start);
}

/** The median over the seeds. */
export function oursOf(cell: Cell, seeds: readonly number[] = GRID_SEEDS): number {
  return median(seeds.map((seed) => runCell(cell, seed)));
}
