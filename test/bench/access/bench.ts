// What identity and policy cost: the access pipeline beside no checks at all, how soon an end of trust closes what is open, memory of sessions, and
// whether passwords hold the loop up. The gateway's process has one core for itself, everything else the other.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTestCa } from '../../support/test-ca.ts';
import { AskedProcess, LOAD_CORE, SUBJECT_CORE } from '../http/asking.ts';
import { openLoadGenerator, type LoadGenerator } from '../http/load.ts';
import { missingPrograms, startUpstream } from '../http/subjects.ts';
import { cpuSeconds } from '../process-stat.ts';
import { median, pair, type Pair } from '../report.ts';
import { hosts } from './hosts.ts';
import type { LoginFigures } from './server-process.ts';

export interface AccessBenchOptions {
  readonly rounds: number;
  /** Shorter measurements, fewer of everything. */
  readonly quick: boolean;
  /** Only these parts; empty for all. */
  readonly only: readonly string[];
}

export const accessParts: readonly string[] = ['pipeline', 'revocation', 'sessions', 'passwords'];

const ours = 'meshgate';
const connections = 32;
const socketsAsked = 10_000;
/** A process may hold 20,000 descriptors here, and each WebSocket takes two of the gateway. */
const socketsPossible = 9_750;
/** Within this all have to be closed, else the benchmark fails. */
const patienceMs = 30_000;
/** Connections to one upstream are bounded (`UPSTREAM_CONNECTIONS`). */
const socketUpstreams = 12;

interface Bench {
  readonly gateway: AskedProcess;
  readonly port: number;
  readonly load: LoadGenerator;
  readonly browsers: AskedProcess;
  readonly cookie: string;
  readonly options: AccessBenchOptions;
}

/** What the machine lacks for the benchmark is an error. */
export async function benchAccess(options: AccessBenchOptions): Promise<readonly Pair[]> {
  const missing = missingPrograms();
  if (missing.length > 0) throw new Error(`the benchmark needs ${missing.join(', ')}`);
  if (process.getuid?.() !== 0) throw new Error('the benchmark needs root: it gives the load generator a private /etc/hosts');
  const wanted = (part: string): boolean => options.only.length === 0 || options.only.includes(part);
  const directory = await mkdtemp(join(tmpdir(), 'mg-bench-'));
  const stops: (() => Promise<void>)[] = [() => rm(directory, { recursive: true, force: true })];
  const started = (program: string, core: number): AskedProcess => {
    const asked = new AskedProcess(`../access/${program}`, core);
    stops.push(() => asked.stop());
    return asked;
  };
  try {
    const upstream = await startUpstream(directory);
    stops.push(upstream.stop);
    const applications = started('sockets-process.ts', LOAD_CORE);
    const gateway = started('gateway-process.ts', SUBJECT_CORE);
    const sessionId = randomBytes(32).toString('base64url');
    const port = await gateway.ask<number>('start', {
      ...(await (await createTestCa()).issue(Object.values(hosts))),
      sessionId,
      upstreamPort: upstream.port,
      socketPorts: await applications.ask<readonly number[]>('serve', socketUpstreams),
    });
    const cookie = `__Host-meshgate=${sessionId}`;
    const load = await openLoadGenerator(directory, Object.values(hosts).join(' '), `${cookie}; theme=dark`);
    const browsers = started('sockets-process.ts', LOAD_CORE);
    const bench = { gateway, port, load, browsers, cookie, options };
    const pairs: Pair[] = [];
    if (wanted('pipeline')) pairs.push(...(await pipeline(bench)));
    if (wanted('revocation')) pairs.push(...(await revocation(bench)));
    if (wanted('sessions'))
      pairs.push(...(await sessions(started('gateway-process.ts', SUBJECT_CORE), started('server-process.ts', SUBJECT_CORE), options)));
    if (wanted('passwords')) pairs.push(...(await passwords(started('server-process.ts', SUBJECT_CORE), options)));
    return pairs;
  } finally {
    for (const end of stops.toReversed()) await end();
  }
}

/** A line for a figure that has to stay below a fixed one. */
function atMost(metric: string, unit: string, value: number, limit: number): Pair {
  return pair('access', ours, { metric, unit, value, peer: { name: 'asked at most', value: limit }, bar: 1, lowerIsBetter: true });
}

/** The same application in the same process: only what decides about it differs. */
async function pipeline({ gateway, port, load, options }: Bench): Promise<readonly Pair[]> {
  const seconds = options.quick ? 1.5 : 3;
  const services = ['open', 'signedIn', 'ruled'] as const;
  const figures = { open: figuresOf(), signedIn: figuresOf(), ruled: figuresOf() };
  const url = (service: (typeof services)[number]): string => `https://${hosts[service]}:${port}/1k`;
  for (const service of services) await load.run({ url: url(service), connections, seconds: 2 });
  for (let round = 0; round < options.rounds; round++) {
    for (const service of round % 2 === 0 ? services : services.toReversed()) {
      const before = cpuSeconds(gateway.pid);
      const full = await load.run({ url: url(service), connections, seconds });
      figures[service].rate.push(full.rate);
      figures[service].cpu.push(((cpuSeconds(gateway.pid) - before) / full.requests) * 1e6);
      // One request at a time: what is in the way is only the work itself.
      figures[service].p50.push((await load.run({ url: url(service), connections: 1, seconds })).p50 * 1_000);
    }
  }
  const { open, signedIn, ruled } = figures;
  const line = (
    metric: string,
    unit: string,
    value: number,
    peer: number,
    more: { readonly bar?: number; readonly lowerIsBetter?: boolean } = {},
  ): Pair => pair('access', ours, { metric, unit, value, peer: { name: 'without checks', value: peer }, ...more });
  const lower = { lowerIsBetter: true };
  return [
    line('requests, 1 KB, signed in, ten rules', 'req/s', median(ruled.rate), median(open.rate), { bar: 0.95 }),
    line('requests, 1 KB, signed in', 'req/s', median(signedIn.rate), median(open.rate)),
    line('CPU per request, signed in, ten rules', 'µs', median(ruled.cpu), median(open.cpu), lower),
    line('CPU per request, signed in', 'µs', median(signedIn.cpu), median(open.cpu), lower),
    atMost('added to the median latency by sign-in and ten rules', 'µs', Math.max(0, median(ruled.p50) - median(open.p50)), 50),
    line('median latency, one connection, signed in, ten rules', 'µs', median(ruled.p50), median(open.p50), lower),
  ];
}

function figuresOf(): { readonly rate: number[]; readonly cpu: number[]; readonly p50: number[] } {
  return { rate: [], cpu: [], p50: [] };
}

/** From the control plane's word at the gateway to the end at each browser. */
async function revocation({ gateway, port, browsers, cookie, options }: Bench): Promise<readonly Pair[]> {
  const count = options.quick ? 1_000 : Math.min(socketsAsked, socketsPossible);
  const after = async (end: 'revoke' | 'change'): Promise<number> => {
    await browsers.ask('hold', { port, host: hosts.sockets, cookie, count });
    const at = await gateway.ask<number>(end);
    const closed = (await browsers.ask<readonly number[]>('closed', patienceMs)).toSorted((a, b) => a - b);
    if (closed.length !== count) throw new Error(`${closed.length} of ${count} were closed`);
    return (closed[Math.ceil(count * 0.99) - 1] ?? Number.NaN) - at;
  };
  const revoked: number[] = [];
  const changed: number[] = [];
  for (let round = 0; round < Math.min(options.rounds, 3); round++) {
    revoked.push(await after('revoke'));
    changed.push(await after('change'));
    await gateway.ask('restore');
  }
  const many = `${count.toLocaleString('en')} WebSockets`;
  return [
    atMost(`${many} closed after a revocation, p99`, 'ms', median(revoked), 1_000),
    pair('access', ours, { metric: `${many} closed after a change of policy, p99`, unit: 'ms', value: median(changed) }),
  ];
}

async function sessions(gateway: AskedProcess, server: AskedProcess, options: AccessBenchOptions): Promise<readonly Pair[]> {
  const count = options.quick ? 20_000 : 100_000;
  const { bytes, kept } = await gateway.ask<{ readonly bytes: number; readonly kept: number }>('sessionBytes', count);
  if (kept !== count) throw new Error(`only ${kept} of ${count} sessions are kept`);
  const stored = await server.ask<number>('sessionBytes', count);
  return [
    atMost('100,000 sessions in the gateway', 'MB', (bytes * 100_000) / 1e6, 100),
    atMost('100,000 sessions at the server', 'MB RSS', (stored * 100_000) / 1e6, 100),
  ];
}

async function passwords(server: AskedProcess, options: AccessBenchOptions): Promise<readonly Pair[]> {
  // Its threads have to take turns as they do everywhere: in the real-time class each would keep the core for a tenth of a second.
  execFileSync('chrt', ['--other', '--all-tasks', '--pid', '0', String(server.pid)]);
  const count = 100;
  const figures: LoginFigures[] = [];
  for (let round = 0; round < Math.min(options.rounds, 3); round++) figures.push(await server.ask<LoginFigures>('logins', count));
  const of = (figure: keyof LoginFigures): number => median(figures.map((one) => one[figure]));
  return [
    atMost(`loop delay under ${count} logins at once, p99`, 'ms', of('p99'), 50),
    pair('access', ours, { metric: `loop delay under ${count} logins at once, most`, unit: 'ms', value: of('max') }),
    pair('access', ours, { metric: `${count} logins answered`, unit: 's', value: of('tookMs') / 1_000 }),
    pair('access', ours, { metric: `of ${count} logins, told to come again later`, unit: 'logins', value: of('refused') }),
  ];
}
