// `npm run bench -- NAME [--json] [--rounds N]`: runs one benchmark; exit code 1 where a bar is missed.
import { parseArgs } from 'node:util';
import { benchChain } from './chain.ts';
import { print, type Pair } from './report.ts';

const benches: Readonly<Record<string, (rounds: number) => Promise<readonly Pair[]>>> = { chain: benchChain };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean', default: false }, rounds: { type: 'string', default: '5' } },
});
const name = positionals[0] ?? '';
const bench = benches[name];
const rounds = Number(values.rounds);
if (bench === undefined || !Number.isInteger(rounds) || rounds < 1) {
  console.error(`Usage: npm run bench -- ${Object.keys(benches).join('|')} [--json] [--rounds N]`);
  process.exitCode = 2;
} else {
  const pairs = await bench(rounds);
  print(pairs, values.json);
  process.exitCode = pairs.every(({ holds }) => holds) ? 0 : 1;
}
