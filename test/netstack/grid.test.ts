// Throughput over a grid of loss, delay and buffer, in virtual time, held against a snapshot; and, with root, against the Linux kernel's
// TCP over the same links in real time. MESHGATE_UPDATE_SNAPSHOTS=1 writes the snapshot anew.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { GRID, GRID_BYTES, GRID_SEEDS, KERNEL_GRID, cellName, conditionsOf, mbit, median } from './grid.ts';
import type { Cell } from './grid.ts';
import { oursOf } from './grid-run.ts';
import { KernelPair } from './kernel-pair.ts';
import { whyNoKernel } from './tun.ts';

const snapshotFile = join(import.meta.dirname, 'grid.snapshot.json');
/** Virtual time repeats exactly, but not every engine's cube root does. */
const TOLERANCE = 0.1;
/** Transfers of the kernel that run at a time. */
const PARALLEL = 3;
/** No transfer of the kernel begins after this. */
const BUDGET_MS = 70_000;
/** A bridge that is late for more of its time says nothing about the kernel. */
const LATE_ENOUGH = 0.2;
const KERNEL_SEEDS = GRID_SEEDS.slice(0, 3);
/** Transfers of ours that show how much of a cell's rate is chance. */
const SPREAD_SEEDS = Array.from({ length: 15 }, (_, i) => i + 1);

void t.test('throughput in virtual time is what the snapshot says', { timeout: 110_000 }, async (t) => {
  const now = Object.fromEntries(GRID.map((cell) => [cellName(cell), Number(oursOf(cell).toPrecision(4))]));
  if (process.env['MESHGATE_UPDATE_SNAPSHOTS'] === '1') writeFileSync(snapshotFile, `${JSON.stringify(now, undefined, 2)}\n`);
  const before = JSON.parse(readFileSync(snapshotFile, 'utf8')) as Record<string, number>;
  t.same(Object.keys(before), Object.keys(now), 'the same cells');
  for (const [name, value] of Object.entries(now)) {
    const was = before[name] ?? 0;
    if (Math.abs(value - was) > was * TOLERANCE) t.fail(`${name}: ${value} Mbit/s, ${was} in the snapshot`);
  }
  t.comment(`figure: netstack.grid.median_mbit=${median(Object.values(now))}`);
});

const reason = process.env['MESHGATE_KERNEL_GRID'] === '0' ? 'switched off by MESHGATE_KERNEL_GRID=0' : whyNoKernel();

void t.test('each cell against the kernel', { ...(reason === undefined ? {} : { skip: reason }), timeout: 115_000 }, async (t) => {
  const start = performance.now();
  const pair = new KernelPair();
  t.teardown(() => pair.close());
  const theirs = new Map<Cell, number[]>();
  const jobs = KERNEL_GRID.flatMap((cell) => KERNEL_SEEDS.map((seed) => ({ cell, seed })));
  const worker = async (): Promise<void> => {
    for (let job = jobs.shift(); job !== undefined && performance.now() - start < BUDGET_MS; job = jobs.shift()) {
      const ms = await pair.transfer(conditionsOf(job.cell, job.seed), GRID_BYTES);
      theirs.set(job.cell, [...(theirs.get(job.cell) ?? []), mbit(GRID_BYTES, ms)]);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  // Only where this is small is the comparison fair: our side runs in virtual time, the kernel's on a machine that may be busy.
  const late = pair.lateMs / (performance.now() - start);
  t.comment(`the bridge was late for ${(100 * late).toFixed(0)} % of the time`);
  t.comment(`figure: netstack.grid.kernel_bridge_late=${late.toFixed(2)}`);
  t.comment(`figure: netstack.grid.kernel_device_refused=${pair.refused}`);
  const ratios: number[] = [];
  const ahead: string[] = [];
  for (const cell of KERNEL_GRID) {
    if (theirs.get(cell)?.length !== KERNEL_SEEDS.length) {
      t.comment(`${cellName(cell)}: not measured, the machine was too busy`);
      continue;
    }
    const ours = oursOf(cell, KERNEL_SEEDS);
    const kernel = median(theirs.get(cell) ?? []);
    ratios.push(ours / kernel);
    // The same seed loses other packets of the two sides, and one early loss decides a short transfer over a long path.
    const spread = SPREAD_SEEDS.map((seed) => oursOf(cell, [seed]));
    const [least, most] = [Math.min(...spread), Math.max(...spread)];
    if (kernel > 1.05 * most) ahead.push(cellName(cell));
    t.comment(
      `${cellName(cell)}: ours ${ours.toFixed(2)} (${least.toFixed(2)} to ${most.toFixed(2)} by seed), kernel ${kernel.toFixed(2)} Mbit/s, ` +
        `ratio ${(ours / kernel).toFixed(2)}`,
    );
  }
  t.comment(`figure: netstack.grid.kernel_ahead_of_every_seed=${ahead.length === 0 ? 'none' : ahead.join('; ')}`);
  t.comment(`figure: netstack.grid.kernel_ratio_median=${median(ratios).toFixed(2)}`);
  t.comment(`figure: netstack.grid.kernel_ratio_least=${Math.min(...ratios).toFixed(2)}`);
  t.ok(late > LATE_ENOUGH || median(ratios) > 0.7, 'as a whole in the kernel’s class');
});
