// Reads V8's CPU profiles: which functions and which files the time went to.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  /** Microseconds before each sample. */
  readonly timeDeltas: readonly number[];
}

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Lines with the share of the busy time of the most costly functions, and then of the files, and what that is for each unit of the work. */
export function summarise(file: string, functions: number, describeShare: (micros: number) => string): readonly string[] {
  const profile = JSON.parse(readFileSync(file, 'utf8')) as CpuProfile;
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
  const byFunction = new Map<string, number>();
  const byFile = new Map<string, number>();
  let busy = 0;
  let whole = 0;
  for (const [i, sample] of profile.samples.entries()) {
    const frame = frames.get(sample);
    // The time before the next sample is this one's.
    const micros = profile.timeDeltas[i + 1] ?? 0;
    whole += micros;
    if (frame === undefined || frame.functionName === '(idle)') continue;
    busy += micros;
    const place = frame.url === '' ? '(native)' : placeOf(frame.url);
    const name = `${frame.functionName || '(anonymous)'}  ${frame.url === '' ? place : `${place}:${frame.lineNumber + 1}`}`;
    byFunction.set(name, (byFunction.get(name) ?? 0) + micros);
    byFile.set(place, (byFile.get(place) ?? 0) + micros);
  }
  const top = (from: ReadonlyMap<string, number>, count: number): readonly string[] =>
    [...from]
      .sort(([, a], [, b]) => b - a)
      .slice(0, count)
      .map(([name, micros]) => `  ${((100 * micros) / busy).toFixed(1).padStart(5)} %  ${describeShare(micros)}  ${name}`);
  return [
    `busy ${((100 * busy) / whole).toFixed(0)} % of ${(whole / 1e6).toFixed(1)} s; self time by function:`,
    ...top(byFunction, functions),
    'by file:',
    ...top(byFile, 12),
  ];
}

function placeOf(url: string): string {
  const path = url.startsWith('file:') ? fileURLToPath(url) : url;
  return path.startsWith(root) ? path.slice(root.length) : path;
}
