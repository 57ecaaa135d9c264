// `npm run bench -- NAME [--json] [--rounds N]`: runs one benchmark; exit code 1 where a bar is missed.
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { describeError } from '#lib/errors.ts';
import { accessParts, benchAccess } from './access/bench.ts';
import { benchChain } from './chain.ts';
import { benchHttp, httpParts, httpProfiles, profileHttp } from './http/bench.ts';
import { benchOverlay, profileOverlay, subjectNames } from './overlay/bench.ts';
import { print, type Pair } from './report.ts';
import { benchStreams, profileStreams, streamsParts, streamsProfiles } from './streams/bench.ts';

const usage = `Usage: npm run bench -- access [--json] [--rounds N] [--quick] [--only PART,...]
       npm run bench -- chain [--json] [--rounds N]
       npm run bench -- http [--json] [--rounds N] [--quick] [--only PART,...]
       npm run bench -- http --profile ${httpProfiles.join('|')}
       npm run bench -- overlay [--json] [--rounds N] [--quick] [--only SUBJECT,...]
       npm run bench -- overlay --profile userspace|userspace-plain|system [--streams N]
       npm run bench -- streams [--json] [--rounds N] [--quick] [--only PART,...]
       npm run bench -- streams --profile ${streamsProfiles.join('|')}
With --alone (root, Linux) all processes of a benchmark run in the kernel's real-time class: other work on the machine waits, and does not count.
Parts of access: ${accessParts.join(', ')}
Parts of http: ${httpParts.join(', ')}
Subjects of overlay: ${subjectNames.join(', ')}
Parts of streams: ${streamsParts.join(', ')}`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    alone: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    profile: { type: 'string' },
    streams: { type: 'string', default: '1' },
  },
});
/** What `--only` of each may name. */
const choicesOf: Readonly<Record<string, readonly string[]>> = {
  access: accessParts,
  chain: [],
  http: httpParts,
  overlay: subjectNames,
  streams: streamsParts,
};
const rounds = Number(values.rounds ?? (values.quick ? '1' : '5'));
const streams = Number(values.streams);
const only = values.only.split(',').filter((name) => name !== '');

process.exitCode = await run().catch((error: unknown) => {
  console.error(describeError(error));
  return 2;
});

async function run(): Promise<number> {
  const [name] = positionals;
  const numbers = [rounds, streams].every((number) => Number.isInteger(number) && number > 0);
  const choices = name === undefined ? undefined : choicesOf[name];
  if (!numbers || choices === undefined || !only.every((choice) => choices.includes(choice))) {
    console.error(usage);
    return 2;
  }
  if (name === 'http' && values.profile !== undefined && httpProfiles.includes(values.profile)) {
    await profileHttp(values.profile);
    return 0;
  }
  if (name === 'overlay' && values.profile !== undefined) {
    await profileOverlay(values.profile, streams);
    return 0;
  }
  if (name === 'streams' && values.profile !== undefined && streamsProfiles.includes(values.profile)) {
    await profileStreams(values.profile);
    return 0;
  }
  // What this process starts has its class.
  if (values.alone) execFileSync('chrt', ['--rr', '--pid', '1', String(process.pid)]);
  const options = { rounds, quick: values.quick, only };
  const benches: Readonly<Record<string, () => Promise<readonly Pair[]>>> = {
    access: () => benchAccess(options),
    chain: () => benchChain(rounds),
    http: () => benchHttp(options),
    overlay: () => benchOverlay(options),
    streams: () => benchStreams(options),
  };
  const pairs = (await benches[name ?? '']?.()) ?? [];
  print(pairs, values.json);
  return pairs.every(({ holds }) => holds) ? 0 : 1;
}
