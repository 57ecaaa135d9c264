// Seeded worlds: those that once found something first, then new ones until so many packets have passed. MESHGATE_FUZZ_PACKETS sets how many
// (default 150,000), MESHGATE_FUZZ_SEED where to begin. A seed that fails belongs into the corpus.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { runWorld } from './fuzz-world.ts';

interface Found {
  readonly seed: number;
  readonly found: string;
}

const corpus = JSON.parse(readFileSync(join(import.meta.dirname, 'fuzz.corpus.json'), 'utf8')) as readonly Found[];
const packetsWanted = Number(process.env['MESHGATE_FUZZ_PACKETS'] ?? 150_000);
const firstSeed = Number(process.env['MESHGATE_FUZZ_SEED'] ?? 1);
const LIMIT_MS = Number(process.env['MESHGATE_FUZZ_MS'] ?? 60_000);

function failure(seed: number): string | undefined {
  try {
    runWorld(seed);
    return undefined;
  } catch (error) {
    return `seed ${seed}: ${String(error instanceof Error ? error.stack : error)}`;
  }
}

void t.test('inputs that were found before', async (t) => {
  for (const { seed, found } of corpus) t.equal(failure(seed), undefined, `seed ${seed}: ${found}`);
  t.pass(`${corpus.length} of them`);
});

void t.test('new worlds', { timeout: LIMIT_MS + 60_000 }, async (t) => {
  const start = performance.now();
  let packets = 0;
  let worlds = 0;
  let finished = 0;
  let attacked = 0;
  for (let seed = firstSeed; packets < packetsWanted && performance.now() - start < LIMIT_MS; seed++) {
    try {
      const result = runWorld(seed);
      packets += result.packets;
      worlds++;
      if (result.finished) finished++;
      if (result.attacked) attacked++;
    } catch (error) {
      t.fail(`seed ${seed}: ${String(error instanceof Error ? error.stack : error)}`);
    }
  }
  t.ok(worlds > 10);
  t.comment(`${packets} packets in ${worlds} worlds, ${finished} came to rest, ${attacked} with an attacker`);
  t.comment(`figure: netstack.fuzz.packets=${packets}`);
});
