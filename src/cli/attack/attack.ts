// `meshgate attack HOST`: the rows of the attack table that show from outside, against a gateway that has proven whose it is.
import { describeError } from '#lib/errors.ts';
import type { Echo, Baseline, Field, Finding, Probe } from './probe.ts';
import { Judge } from './probe.ts';
import { framingProbes } from './probes/framing.ts';
import { headerProbes } from './probes/headers.ts';
import { hostProbes } from './probes/hosts.ts';
import { pathProbes } from './probes/paths.ts';
import { sessionProbes } from './probes/sessions.ts';
import { Range, type ProvenTarget } from './range.ts';
import { rowIds, whyNotJudged } from './rows.ts';

export type RowReport = Finding & { readonly id: string; readonly what?: string };

export interface AttackOptions {
  readonly echo: Echo | undefined;
  /** The rows to run; all of them where there is none. */
  readonly only: readonly string[];
  readonly stop: AbortSignal;
  /** Told each row as soon as it is judged. */
  readonly onRow: (row: RowReport) => void;
}

const probes = new Map([...headerProbes, ...pathProbes, ...hostProbes, ...framingProbes, ...sessionProbes].map((probe) => [probe.id, probe]));

/** Runs one row after the other. Rejects where a plain request is not answered, and on `stop`. */
export async function attack(target: ProvenTarget, { echo, only, stop, onRow }: AttackOptions): Promise<readonly RowReport[]> {
  const range = new Range(target, stop);
  try {
    const baseline = await lookAround(range);
    const usable = echo === undefined || (await tellsFields(range, echo)) ? echo : undefined;
    const rows: RowReport[] = [];
    const tell = (row: RowReport): void => {
      rows.push(row);
      onRow(row);
    };
    for (const id of only.length === 0 ? rowIds : only) {
      const probe = probes.get(id);
      if (probe === undefined) tell({ id, kind: 'not judged', reason: whyNotJudged(id) });
      else tell({ id, what: probe.what, ...(await judgeRow(probe, { range, baseline, echo: usable }, stop)) });
    }
    return rows;
  } finally {
    range.close();
  }
}

async function lookAround(range: Range): Promise<Baseline> {
  const plain = await range.both();
  const seen = await range.h1(`GET / HTTP/1.1\r\nHost: ${range.authority}\r\nAccept: text/html\r\nConnection: close\r\n\r\n`);
  const door = Object.fromEntries(plain.map(({ variant, status }) => [variant, status]));
  const first = plain[0]?.status ?? 0;
  if (first === 0) throw new Error(`GET / of ${range.authority} is not answered`);
  return { door, guarded: first === 401 || first === 403, browserHead: seen.head };
}

/** Whether a field that is sent to the echo comes back: else its silence would prove nothing. */
async function tellsFields(range: Range, { path, authorization }: Echo): Promise<boolean> {
  const pass = authorization === undefined ? [] : [['Authorization', authorization] as const];
  const answers = await range.both({ target: `${path}?meshgate=asked`, fields: [...pass, ['X-Attack-Probe', 'meshgate-told']] });
  if (answers.every(({ body }) => body.includes('meshgate-told') && body.includes('meshgate=asked'))) return true;
  const [first] = answers;
  throw new Error(`--echo ${path} does not tell the target and the fields that it received (status ${first?.status ?? 0})`);
}

async function judgeRow(probe: Probe, field: Field, stop: AbortSignal): Promise<Finding> {
  const { range } = field;
  range.limited = false;
  const judge = new Judge();
  try {
    await probe.run(field, judge);
  } catch (error) {
    stop.throwIfAborted();
    const still = await range.both().catch(() => []);
    if (still.every(({ status }) => status === 0))
      return { kind: 'failed', problems: [`after it nothing is answered any more: ${describeError(error)}`] };
    return { kind: 'not judged', reason: describeError(error) };
  }
  stop.throwIfAborted();
  if (range.limited) return { kind: 'not judged', reason: 'the gateway limits how often this address may ask (429)' };
  return judge.finding();
}
