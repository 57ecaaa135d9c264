// Our HTTP publisher beside Caddy, nginx and Node's usual proxies: one core for the subject, the other for load and upstream, all subjects in
// one run, rounds interleaved, the other way round in every second one.
import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTestCa } from '../../support/test-ca.ts';
import { summarise } from '../profile.ts';
import { cpuSeconds, residentMegabytes } from '../process-stat.ts';
import { median, pair, type Held, type Pair } from '../report.ts';
import { AskedProcess, LOAD_CORE, SUBJECT_CORE } from './asking.ts';
import { openLoadGenerator, type Load, type LoadGenerator } from './load.ts';
import type { ScaleFigures } from './scale-process.ts';
import {
  missingPrograms,
  startCaddy,
  startMeshgate,
  startNginxProxy,
  startNodePeer,
  startUpstream,
  type Meshgate,
  type Subject,
  type SubjectSetup,
} from './subjects.ts';

export interface HttpBenchOptions {
  readonly rounds: number;
  /** Shorter measurements, fewer services. */
  readonly quick: boolean;
  /** Only these parts; empty for all. */
  readonly only: readonly string[];
}

export const httpParts: readonly string[] = ['requests', 'bulk', 'half-load', 'handshakes', 'memory', 'scale'];

const host = 'app.bench.test';
const connections = 32;
/** Many, so that exponential pauses on each come near to independent arrivals. */
const halfLoadConnections = 128;
const bulkConnections = 4;
const idleConnections = 2_000;
const stalled = 20;
const ours = 'meshgate';

/** Values by subject and figure, one for each round. */
class Figures {
  readonly #values = new Map<string, number[]>();

  add(subject: string, figure: string, value: number): void {
    const key = `${subject} ${figure}`;
    const values = this.#values.get(key);
    if (values === undefined) this.#values.set(key, [value]);
    else values.push(value);
  }

  of(subject: string, figure: string): number {
    return median(this.#values.get(`${subject} ${figure}`) ?? []);
  }
}

interface Bench {
  readonly subjects: readonly Subject[];
  readonly meshgate: Meshgate;
  readonly load: LoadGenerator;
  readonly clients: AskedProcess;
  readonly endless: AskedProcess;
  readonly setup: SubjectSetup;
  readonly figures: Figures;
  readonly options: HttpBenchOptions;
}

interface Setting {
  readonly bench: Bench;
  readonly stop: () => Promise<void>;
}

async function setUp(options: HttpBenchOptions, peers: boolean): Promise<Setting> {
  const missing = missingPrograms();
  if (missing.length > 0) throw new Error(`the benchmark needs ${missing.join(', ')}`);
  if (process.getuid?.() !== 0) throw new Error('the benchmark needs root: it gives the load generator a private /etc/hosts');
  const directory = await mkdtemp(join(tmpdir(), 'mg-bench-'));
  const stops: (() => Promise<void>)[] = [() => rm(directory, { recursive: true, force: true })];
  const stop = async (): Promise<void> => {
    for (const end of stops.toReversed()) await end();
  };
  try {
    const upstream = await startUpstream(directory);
    stops.push(upstream.stop);
    const endless = new AskedProcess('upstream-process.ts', LOAD_CORE);
    stops.push(() => endless.stop());
    const clients = new AskedProcess('client-process.ts', LOAD_CORE);
    stops.push(() => clients.stop());
    const sessionId = randomBytes(32).toString('base64url');
    const setup: SubjectSetup = {
      ...(await (await createTestCa()).issue([host])),
      host,
      upstreamPort: upstream.port,
      endlessPort: await endless.ask<number>('start'),
      sessionId,
    };
    const meshgate = await startMeshgate(setup);
    stops.push(() => meshgate.stop());
    const subjects: Subject[] = [meshgate];
    if (peers) {
      for (const start of [
        () => startNginxProxy(directory, setup),
        () => startCaddy(directory, setup),
        () => startNodePeer('http-proxy', setup),
        () => startNodePeer('undici', setup),
      ]) {
        const subject = await start();
        stops.push(() => subject.stop());
        subjects.push(subject);
      }
    }
    const load = await openLoadGenerator(directory, host, `__Host-meshgate=${sessionId}; theme=dark`);
    return { bench: { subjects, meshgate, load, clients, endless, setup, figures: new Figures(), options }, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What the machine lacks for the benchmark is an error. */
export async function benchHttp(options: HttpBenchOptions): Promise<readonly Pair[]> {
  const { bench, stop } = await setUp(options, true);
  const wanted = (part: string): boolean => options.only.length === 0 || options.only.includes(part);
  try {
    const pairs: Pair[] = [];
    // Before any load, which leaves memory behind that connections then fill.
    if (wanted('memory')) pairs.push(...(await memory(bench)));
    // Half of the load needs the whole one's figures.
    if (wanted('requests') || wanted('half-load')) pairs.push(...(await requests(bench)));
    if (wanted('bulk')) pairs.push(...(await bulk(bench)));
    if (wanted('half-load')) pairs.push(...(await halfLoad(bench)));
    if (wanted('handshakes')) pairs.push(...(await handshakes(bench)));
    if (wanted('scale')) pairs.push(...(await scale(bench)));
    return pairs;
  } finally {
    await stop();
  }
}

export const httpProfiles: readonly string[] = ['requests', 'bulk', 'full', 'resumed'];

/** Loads our publisher alone with small or large answers or with handshakes, and tells where its time went. */
export async function profileHttp(what: string): Promise<void> {
  const file = join(mkdtempSync(join(tmpdir(), 'mg-profile-')), 'gateway.cpuprofile');
  const { bench, stop } = await setUp({ rounds: 1, quick: true, only: [] }, false);
  const { meshgate, load, clients } = bench;
  const run = async (seconds: number): Promise<number> => {
    if (what === 'requests' || what === 'bulk') {
      const [path, count] = what === 'bulk' ? ['10m', bulkConnections] : ['1k', connections];
      return (await load.run({ url: urlOf(meshgate, path), connections: count, seconds })).requests;
    }
    return clients.ask<number>('handshakes', { target: { port: meshgate.port, host }, resumed: what === 'resumed', seconds });
  };
  try {
    await run(2);
    const before = cpuSeconds(meshgate.pid);
    const count = await run(5);
    console.log(`${Math.round(count / 5)}/s, ${(((cpuSeconds(meshgate.pid) - before) / count) * 1e6).toFixed(1)} µs of CPU each`);
    await meshgate.startProfile();
    const profiled = await run(5);
    await meshgate.stopProfile(file);
    for (const line of summarise(file, 60, (micros) => `${(micros / profiled).toFixed(2).padStart(7)} µs each`)) console.log(line);
    console.log(file);
  } finally {
    await stop();
  }
}

/** Runs `work` for the subjects in turn, in each round the other way round. */
async function inRounds(bench: Bench, names: readonly string[] | undefined, work: (subject: Subject) => Promise<void>): Promise<void> {
  const chosen = bench.subjects.filter(({ name }) => names === undefined || names.includes(name));
  for (let round = 0; round < bench.options.rounds; round++) {
    for (const subject of round % 2 === 0 ? chosen : chosen.toReversed()) await work(subject);
  }
}

async function loaded(bench: Bench, subject: Subject, plan: Parameters<LoadGenerator['run']>[0]): Promise<Load & { readonly cpu: number }> {
  const before = cpuSeconds(subject.pid);
  const load = await bench.load.run(plan);
  return { ...load, cpu: cpuSeconds(subject.pid) - before };
}

const urlOf = (subject: Subject, path: string): string => `https://${host}:${subject.port}/${path}`;

function row(bench: Bench, metric: string, unit: string, subject: string, peer: string, figure: string, held: Partial<Held> = {}): Pair {
  const { figures } = bench;
  return pair('http', subject, { metric, unit, value: figures.of(subject, figure), peer: { name: peer, value: figures.of(peer, figure) }, ...held });
}

/** A line for a figure that has to stay below a fixed one. */
function atMost(metric: string, unit: string, value: number, limit: number): Pair {
  return pair('http', ours, { metric, unit, value, peer: { name: 'asked at most', value: limit }, bar: 1, lowerIsBetter: true });
}

async function requests(bench: Bench): Promise<Pair[]> {
  const seconds = bench.options.quick ? 2 : 4;
  for (const subject of bench.subjects) await bench.load.run({ url: urlOf(subject, '1k'), connections, seconds: 2 });
  await inRounds(bench, undefined, async (subject) => {
    const load = await loaded(bench, subject, { url: urlOf(subject, '1k'), connections, seconds });
    bench.figures.add(subject.name, 'rate', load.rate);
    bench.figures.add(subject.name, 'p99', load.p99);
    bench.figures.add(subject.name, 'cpu', (load.cpu / load.requests) * 1e6);
  });
  const metric = 'requests, 1 KB, TLS 1.3, keep-alive';
  const cpu = 'CPU per request';
  const lower = { lowerIsBetter: true };
  return [
    row(bench, metric, 'req/s', ours, 'caddy', 'rate', { bar: 1.5 }),
    row(bench, metric, 'req/s', ours, 'nginx', 'rate', { bar: 0.5 }),
    row(bench, metric, 'req/s', ours, 'http-proxy', 'rate'),
    row(bench, metric, 'req/s', ours, 'undici', 'rate'),
    row(bench, cpu, 'µs', ours, 'caddy', 'cpu', lower),
    row(bench, cpu, 'µs', ours, 'nginx', 'cpu', lower),
    row(bench, cpu, 'µs', ours, 'http-proxy', 'cpu', lower),
    row(bench, cpu, 'µs', ours, 'undici', 'cpu', lower),
    row(bench, 'latency p99 at full load', 'ms', ours, 'nginx', 'p99', lower),
  ];
}

async function bulk(bench: Bench): Promise<Pair[]> {
  const seconds = bench.options.quick ? 2 : 3;
  await inRounds(bench, [ours, 'nginx', 'caddy'], async (subject) => {
    const load = await loaded(bench, subject, { url: urlOf(subject, '10m'), connections: bulkConnections, seconds });
    bench.figures.add(subject.name, 'bulk', load.bytesPerSecond / 1e6);
    bench.figures.add(subject.name, 'bulk cpu', load.cpu / ((load.bytesPerSecond * seconds) / 1e9));
  });
  return [
    row(bench, '10 MB bodies', 'MB/s', ours, 'nginx', 'bulk', { bar: 1 }),
    row(bench, '10 MB bodies', 'MB/s', ours, 'caddy', 'bulk'),
    row(bench, 'CPU per gigabyte of 10 MB bodies', 's', ours, 'nginx', 'bulk cpu', { lowerIsBetter: true }),
  ];
}

async function halfLoad(bench: Bench): Promise<Pair[]> {
  const seconds = bench.options.quick ? 3 : 5;
  const names = [ours, 'nginx', 'caddy'];
  const half = (subject: Subject): Promise<Load> => {
    const perSecond = bench.figures.of(subject.name, 'rate') / 2;
    return bench.load.run({ url: urlOf(subject, '1k'), connections: halfLoadConnections, seconds, perSecond });
  };
  // Connections that come and go with the bursts were not there at full load, and the first ones run code that nobody has compiled.
  for (const subject of bench.subjects) if (names.includes(subject.name)) await half(subject);
  await inRounds(bench, names, async (subject) => {
    const load = await half(subject);
    bench.figures.add(subject.name, 'half p50', load.p50);
    bench.figures.add(subject.name, 'half p99', load.p99);
    bench.figures.add(subject.name, 'half rate', load.rate);
  });
  return [
    row(bench, 'latency p99 at half of its own load', 'ms', ours, 'nginx', 'half p99', { bar: 2, lowerIsBetter: true }),
    row(bench, 'latency p99 at half of its own load', 'ms', ours, 'caddy', 'half p99', { lowerIsBetter: true }),
    row(bench, 'latency p50 at half of its own load', 'ms', ours, 'nginx', 'half p50', { lowerIsBetter: true }),
    row(bench, 'half of its own load', 'req/s', ours, 'nginx', 'half rate'),
  ];
}

async function handshakes(bench: Bench): Promise<Pair[]> {
  const seconds = bench.options.quick ? 1.5 : 2.5;
  for (const { port } of bench.subjects) await bench.clients.ask('handshakes', { target: { port, host }, resumed: false, seconds: 1.5 });
  for (const [resumed, figure, group, names] of [
    [false, 'full handshake', 'X25519', [ours, 'nginx', 'caddy']],
    [true, 'resumed handshake', 'X25519', [ours, 'nginx', 'caddy']],
    // What browsers do with us, and cannot with the peers' TLS libraries.
    [false, 'full hybrid handshake', 'X25519MLKEM768', [ours]],
  ] as const) {
    await inRounds(bench, names, async (subject) => {
      const before = cpuSeconds(subject.pid);
      const count = await bench.clients.ask<number>('handshakes', { target: { port: subject.port, host, group }, resumed, seconds });
      bench.figures.add(subject.name, figure, ((cpuSeconds(subject.pid) - before) / count) * 1e6);
    });
  }
  return [
    ...['full handshake', 'resumed handshake'].flatMap((figure) => [
      row(bench, `CPU per ${figure}`, 'µs', ours, 'nginx', figure, { bar: 1.2, lowerIsBetter: true }),
      row(bench, `CPU per ${figure}`, 'µs', ours, 'caddy', figure, { lowerIsBetter: true }),
    ]),
    pair('http', ours, { metric: 'CPU per full handshake with X25519MLKEM768', unit: 'µs', value: bench.figures.of(ours, 'full hybrid handshake') }),
  ];
}

async function memory(bench: Bench): Promise<Pair[]> {
  const { clients, endless, figures, meshgate } = bench;
  const before = await settledMegabytes(bench, meshgate);
  const sentBefore = await endless.ask<number>('sent');
  const request = `GET /endless HTTP/1.1\r\nHost: ${host}\r\nCookie: __Host-meshgate=${bench.setup.sessionId}\r\n\r\n`;
  await clients.ask('stall', { target: { port: meshgate.port, host }, count: stalled, request });
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  const grown = (((await settledMegabytes(bench, meshgate)) - before) * 1024) / stalled;
  const taken = ((await endless.ask<number>('sent')) - sentBefore) / stalled / 1e6;
  await clients.ask('release');
  for (const subject of bench.subjects) {
    const target = { port: subject.port, host };
    const start = await settledMegabytes(bench, subject);
    await clients.ask('hold', { target, count: idleConnections });
    figures.add(subject.name, 'idle', (((await settledMegabytes(bench, subject)) - start) * 1024) / idleConnections);
    await clients.ask('release');
  }
  return [
    atMost('memory per idle TLS connection', 'KB RSS', figures.of(ours, 'idle'), 40),
    ...['nginx', 'caddy', 'http-proxy'].map((peer) =>
      row(bench, 'memory per idle TLS connection', 'KB RSS', ours, peer, 'idle', { lowerIsBetter: true }),
    ),
    atMost('memory per stalled reader of an endless body', 'KB RSS', grown, 1_024),
    // What both kernels' buffers hold on the way is among it.
    atMost('taken from an endless upstream for a stalled reader', 'MB', taken, 16),
  ];
}

/** Resident memory at rest; ours collects its garbage, as what is measured is what is kept. */
async function settledMegabytes(bench: Bench, subject: Subject): Promise<number> {
  for (let i = 0; i < 2; i++) {
    await new Promise((resolve) => setTimeout(resolve, 400));
    if (subject === bench.meshgate) await bench.meshgate.collect();
  }
  return residentMegabytes(subject.pid);
}

async function scale(bench: Bench): Promise<Pair[]> {
  const services = bench.options.quick ? 2_000 : 10_000;
  const process = new AskedProcess('scale-process.ts', SUBJECT_CORE);
  try {
    const found = await process.ask<ScaleFigures>('measure', { services });
    const many = `${services.toLocaleString('en')} services`;
    return [
      pair('http', ours, {
        metric: `route look-up, ${many}`,
        unit: 'ns',
        value: found.manyNs,
        peer: { name: '10 services', value: found.fewNs },
        bar: 2,
        lowerIsBetter: true,
      }),
      pair('http', ours, { metric: `route look-up, ${many} in turn`, unit: 'ns', value: found.coldNs }),
      atMost(`change in force, ${many}`, 'ms', found.appliedMs, 100),
      pair('http', ours, { metric: `change on disk, ${many}`, unit: 'ms', value: found.keptMs }),
      pair('http', ours, { metric: `snapshot of ${many}`, unit: 'ms', value: found.snapshotMs }),
      atMost('memory per idle service', 'KB', found.serviceBytes / 1024, 4),
      atMost('memory per idle service with its certificate', 'KB', (found.serviceBytes + found.certificateBytes) / 1024, 4),
    ];
  } finally {
    await process.stop();
  }
}
