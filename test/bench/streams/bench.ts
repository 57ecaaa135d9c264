// Our stream publisher beside nginx and HAProxy: one core for the subject, the other for load and upstream, all subjects in one run, rounds
// interleaved, the other way round in every second one. The load without anything between stands beside, as what it can do.
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { freePort } from '../../support/mesh.ts';
import { summarise } from '../profile.ts';
import { cpuSeconds, residentMegabytes } from '../process-stat.ts';
import { median, pair, type Held, type Pair } from '../report.ts';
import { StreamLoad } from './load.ts';
import { direct, missingPrograms, startHaproxy, startMeshgate, startNginxStream, type Meshgate, type StreamSubject } from './subjects.ts';

export interface StreamsBenchOptions {
  readonly rounds: number;
  /** Shorter measurements, fewer connections. */
  readonly quick: boolean;
  /** Only these parts; empty for all. */
  readonly only: readonly string[];
}

export const streamsParts: readonly string[] = ['idle', 'bulk', 'connections', 'udp'];
export const streamsProfiles: readonly string[] = ['up', 'down', 'connections', 'sni', 'udp'];

const ours = 'meshgate';
const nginx = 'nginx';
const nginxLarge = 'nginx-64k';
const haproxy = 'haproxy';
const name = 'tls.bench.test';
const bulkStreams = 8;
const together = 64;
/** The load runs for so long before it counts. */
const warmSeconds = 0.5;
/** As a server of games has it: many clients, small datagrams, a few of each under way. */
const udp = { flows: 100, window: 4, bytes: 64 } as const;
/** Asked for; a process may hold 20,000 descriptors here, and each connection takes two of the subject. */
const idleConnections = 20_000;
const descriptorsOf = 20_000;

interface Bench {
  readonly subjects: readonly StreamSubject[];
  readonly meshgate: Meshgate;
  readonly load: StreamLoad;
  /** The first bytes of a TLS client. */
  readonly hello: string;
  readonly options: StreamsBenchOptions;
  readonly figures: Map<string, number[]>;
}

interface Setting {
  readonly bench: Bench;
  readonly stop: () => Promise<void>;
}

async function setUp(options: StreamsBenchOptions, peers: boolean): Promise<Setting> {
  const missing = missingPrograms();
  if (missing.length > 0) throw new Error(`the benchmark needs ${missing.join(', ')}`);
  const directory = await mkdtemp(join(tmpdir(), 'mg-bench-'));
  const stops: (() => Promise<void>)[] = [() => rm(directory, { recursive: true, force: true })];
  const stop = async (): Promise<void> => {
    for (const end of stops.toReversed()) await end();
  };
  try {
    const load = new StreamLoad(directory);
    const upstreamPort = await freePort();
    const upstream = await load.open('upstream', upstreamPort);
    stops.push(() => upstream.end());
    const hello = join(directory, 'hello');
    await writeFile(hello, await clientHello());
    const meshgate = await startMeshgate(upstreamPort, name);
    stops.push(() => meshgate.stop());
    const subjects: StreamSubject[] = [meshgate];
    if (peers) {
      for (const start of [
        () => startNginxStream(directory, nginx, upstreamPort, undefined),
        () => startNginxStream(directory, nginxLarge, upstreamPort, '64k'),
        () => startHaproxy(directory, upstreamPort),
        () => Promise.resolve(direct(upstreamPort)),
      ]) {
        const subject = await start();
        stops.push(() => subject.stop());
        subjects.push(subject);
      }
    }
    return { bench: { subjects, meshgate, load, hello, options, figures: new Map() }, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What the machine lacks for the benchmark is an error. */
export async function benchStreams(options: StreamsBenchOptions): Promise<readonly Pair[]> {
  const { bench, stop } = await setUp(options, true);
  const wanted = (part: string): boolean => options.only.length === 0 || options.only.includes(part);
  try {
    const pairs: Pair[] = [];
    // Before any load, which leaves memory behind that connections then fill.
    if (wanted('idle')) pairs.push(...(await idle(bench)));
    if (wanted('bulk')) pairs.push(...(await bulk(bench)));
    if (wanted('connections')) pairs.push(...(await connections(bench)));
    if (wanted('udp')) pairs.push(...(await datagrams(bench)));
    return pairs;
  } finally {
    await stop();
  }
}

/** Loads our publisher alone and tells where its time went. */
export async function profileStreams(what: string): Promise<void> {
  const file = join(mkdtempSync(join(tmpdir(), 'mg-profile-')), 'gateway.cpuprofile');
  const { bench, stop } = await setUp({ rounds: 1, quick: true, only: [] }, false);
  const { meshgate } = bench;
  const seconds = 4;
  try {
    const run = (): Promise<number> => {
      if (what === 'udp') return echo(bench, meshgate.udp ?? 0, seconds);
      if (what === 'connections') return connect(bench, meshgate.tcp, seconds);
      if (what === 'sni') return connect(bench, meshgate.tls ?? 0, seconds);
      return bench.load.run('bulk', meshgate.tcp, what, bulkStreams, seconds);
    };
    await run();
    const before = cpuSeconds(meshgate.pid ?? 0);
    const rate = await run();
    console.log(
      `${rate.toFixed(0)}/s, ${(((cpuSeconds(meshgate.pid ?? 0) - before) / rate / (seconds + warmSeconds)) * 1e6).toFixed(3)} µs of CPU each`,
    );
    await meshgate.startProfile();
    const profiled = await run();
    await meshgate.stopProfile(file);
    for (const line of summarise(file, 60, (micros) => `${(micros / profiled / (seconds + warmSeconds)).toFixed(3).padStart(7)} µs each`))
      console.log(line);
    console.log(file);
  } finally {
    await stop();
  }
}

/** Runs `work` for the subjects in turn, in each round the other way round. */
async function inRounds(bench: Bench, work: (subject: StreamSubject) => Promise<void>): Promise<void> {
  for (let round = 0; round < bench.options.rounds; round++) {
    for (const subject of round % 2 === 0 ? bench.subjects : bench.subjects.toReversed()) await work(subject);
  }
}

/** Measures once, with the CPU time that the subject spent for each unit. */
async function measure(bench: Bench, { name: subject, pid }: StreamSubject, figure: string, run: () => Promise<number>): Promise<void> {
  const add = (key: string, value: number): void => void bench.figures.getOrInsertComputed(`${subject} ${key}`, () => []).push(value);
  const before = pid === undefined ? 0 : cpuSeconds(pid);
  const rate = await run();
  add(figure, rate);
  // It costs as much while the load warms up.
  const counted = rate * (secondsOf(bench) + warmSeconds);
  if (pid !== undefined) add(`${figure} cpu`, (cpuSeconds(pid) - before) / counted);
}

function of({ figures }: Bench, subject: string, figure: string, scale = 1): number {
  return median(figures.get(`${subject} ${figure}`) ?? []) * scale;
}

function row(bench: Bench, metric: string, unit: string, figure: string, scale: number, peer: string, held: Partial<Held> = {}): Pair {
  const value = of(bench, ours, figure, scale);
  return pair('streams', ours, { metric, unit, value, peer: { name: peer, value: of(bench, peer, figure, scale) }, ...held });
}

const secondsOf = ({ options }: Bench): number => (options.quick ? 1 : 3);

async function bulk(bench: Bench): Promise<readonly Pair[]> {
  for (const way of ['up', 'down'] as const)
    await inRounds(bench, (subject) => measure(bench, subject, way, () => bench.load.run('bulk', subject.tcp, way, bulkStreams, secondsOf(bench))));
  return (['up', 'down'] as const).flatMap((way) => {
    const metric = way === 'up' ? 'bulk to the upstream, 8 streams' : 'bulk from the upstream, 8 streams';
    const gigabits = 8 / 1e9;
    return [
      row(bench, metric, 'Gb/s', way, gigabits, nginx, { bar: 1.2 }),
      row(bench, metric, 'Gb/s', way, gigabits, nginxLarge, { bar: 0.9 }),
      row(bench, metric, 'Gb/s', way, gigabits, haproxy),
      row(bench, metric, 'Gb/s', way, gigabits, 'direct'),
      row(bench, `CPU a gigabyte: ${metric}`, 's', `${way} cpu`, 1e9, nginxLarge, { lowerIsBetter: true }),
    ];
  });
}

const connect = (bench: Bench, port: number, seconds: number): Promise<number> => bench.load.run('connect', port, together, seconds, bench.hello);

async function connections(bench: Bench): Promise<readonly Pair[]> {
  await inRounds(bench, async (subject) => {
    await measure(bench, subject, 'connections', () => connect(bench, subject.tcp, secondsOf(bench)));
    const { tls } = subject;
    if (tls !== undefined) await measure(bench, subject, 'sni', () => connect(bench, tls, secondsOf(bench)));
  });
  const metric = 'connections, one question each';
  const plain = of(bench, ours, 'connections');
  return [
    row(bench, metric, '/s', 'connections', 1, haproxy, { bar: 0.5 }),
    row(bench, metric, '/s', 'connections', 1, nginx),
    row(bench, metric, '/s', 'connections', 1, 'direct'),
    row(bench, 'CPU a connection', 'µs', 'connections cpu', 1e6, haproxy, { lowerIsBetter: true }),
    pair('streams', ours, {
      metric: 'connections by SNI, the same bytes',
      unit: '/s',
      value: of(bench, ours, 'sni'),
      peer: { name: 'plain TCP', value: plain },
      bar: 0.9,
    }),
  ];
}

const echo = (bench: Bench, port: number, seconds: number): Promise<number> =>
  bench.load.run('echo', port, udp.flows, udp.window, udp.bytes, seconds);

async function datagrams(bench: Bench): Promise<readonly Pair[]> {
  await inRounds(bench, async (subject) => {
    const { udp: port } = subject;
    if (port !== undefined) await measure(bench, subject, 'udp', () => echo(bench, port, secondsOf(bench)));
  });
  const metric = `UDP there and back, ${udp.bytes} B, ${udp.flows} flows`;
  return [
    row(bench, metric, '/s', 'udp', 1, nginx, { bar: 1 }),
    row(bench, metric, '/s', 'udp', 1, 'direct'),
    row(bench, 'CPU a datagram there and back', 'µs', 'udp cpu', 1e6, nginx, { lowerIsBetter: true }),
  ];
}

/** Growth of the resident set for each connection that does nothing. */
async function idle(bench: Bench): Promise<readonly Pair[]> {
  const count = bench.options.quick ? 2_000 : Math.min(idleConnections, descriptorsOf / 2 - 500);
  const kilobytes = async (subject: StreamSubject): Promise<number> => {
    const { pid = 0, tcp } = subject;
    const collect = async (): Promise<void> => {
      if (subject === bench.meshgate) await bench.meshgate.collect();
    };
    await collect();
    const before = residentMegabytes(pid);
    const held = await bench.load.open('idle', tcp, count);
    await collect();
    const growth = residentMegabytes(pid) - before;
    await held.end();
    return (growth * 1024) / count;
  };
  const rows: Pair[] = [];
  const metric = `memory an idle connection, ${count} of them`;
  const value = await kilobytes(bench.meshgate);
  rows.push(pair('streams', ours, { metric, unit: 'KB', value, peer: { name: 'asked at most', value: 8 }, bar: 1, lowerIsBetter: true }));
  for (const subject of bench.subjects) {
    if (subject.pid === undefined || subject === bench.meshgate) continue;
    rows.push(pair('streams', ours, { metric, unit: 'KB', value, peer: { name: subject.name, value: await kilobytes(subject) } }));
  }
  return rows;
}

/** What a TLS client says first when it asks for our name. */
async function clientHello(): Promise<Buffer> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = tlsConnect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, servername: name });
  client.on('error', () => undefined);
  const [socket] = (await once(server, 'connection')) as [Socket];
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
  return bytes;
}
