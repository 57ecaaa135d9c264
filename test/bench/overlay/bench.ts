// The overlay beside wireguard-go and the bare link: two namespaces, both ends of every tunnel on the same two cores, all in one run,
// in interleaved rounds.
import { describeError } from '#lib/errors.ts';
import { median, missingPair, pair, type Pair } from '../report.ts';
import { hasProgram } from '../../support/namespaces.ts';
import { missingForLink, openLink, type Link } from './link.ts';
import { Iperf } from './iperf.ts';
import { summarise } from '../profile.ts';
import { goSubject, overlaySubject, rawSubject, startKernelApps, systemSubject, type KernelApps, type Subject } from './subjects.ts';
import { debianWireGuardGo, newestWireGuardGo } from './wireguard-go.ts';

export interface OverlayBenchOptions {
  readonly rounds: number;
  /** Fewer and shorter measurements. */
  readonly quick: boolean;
  /** Only these subjects; empty for all. */
  readonly only: readonly string[];
}

const mtu = 1420;
const smallMtu = 1280;
const newest = 'wireguard-go';
const debian = 'wireguard-go-debian';

type Started = Subject | { readonly name: string; readonly missing: string };

interface SubjectPlan {
  readonly name: string;
  readonly mtu: number;
  readonly start: (link: Link, apps: KernelApps, number: number) => Promise<Started>;
}

const go = (name: string, find: () => ReturnType<typeof newestWireGuardGo> | ReturnType<typeof debianWireGuardGo>, mtu: number): SubjectPlan => ({
  name,
  mtu,
  start: async (link, apps, number) => {
    const found = await find();
    if (found.kind === 'missing') return { name, missing: found.reason };
    return goSubject(name, found.version, apps, link, found.program, number, mtu);
  },
});

/** Our own subjects: how each of their ends is started. */
const variants = {
  userspace: { mode: 'userspace', env: {} },
  'userspace-plain': { mode: 'userspace', env: { MESHGATE_ACCELERATORS: 'off' } },
  system: { mode: 'system', env: {} },
} as const;
type Ours = keyof typeof variants;

const ours = (name: Ours, mtu: number): SubjectPlan => ({
  name,
  mtu,
  start: (link, apps, number) =>
    name === 'system' ? systemSubject(name, apps, link, number, mtu, variants.system.env) : startOurs(name, link, number, mtu),
});

function startOurs(name: Ours, link: Link, number: number, mtu: number): ReturnType<typeof overlaySubject> {
  const { mode, env } = variants[name];
  return overlaySubject(name, link, number, mtu, mode, env);
}

const plans: readonly SubjectPlan[] = [
  { name: 'raw', mtu, start: async (link, apps) => rawSubject(apps, link) },
  go(newest, newestWireGuardGo, mtu),
  go(debian, debianWireGuardGo, mtu),
  ours('userspace', mtu),
  ours('userspace-plain', mtu),
  ours('system', mtu),
  go(newest, newestWireGuardGo, smallMtu),
  ours('userspace', smallMtu),
];

export const subjectNames: readonly string[] = [...new Set(plans.map(({ name }) => name))];

interface Measurement {
  readonly metrics: readonly string[];
  readonly mtu: number;
  readonly subjects: readonly string[];
  readonly quick: boolean;
  /** Values by metric. An absent one is what the subject cannot do. */
  measure(subject: Subject, quick: boolean): Promise<Readonly<Record<string, number | undefined>>>;
}

const everyone = ['raw', newest, debian, 'userspace', 'userspace-plain', 'system'];
const udp = { offered: 'UDP 1200 B at 40,000/s, received', flood: 'UDP 64 B flood, received' };
const memory = { resident: 'memory after load', peak: 'memory at most' };
const bulk = 'bulk download, one stream';
const sameApplication = 'bulk, one stream, Node application';

const measurements: readonly Measurement[] = [
  {
    metrics: [bulk, 'CPU per gigabyte, sending end', 'CPU per gigabyte, receiving end'],
    mtu,
    subjects: everyone,
    quick: true,
    measure: async (subject, quick) => {
      const { rate, sourceCpu, sinkCpu } = await subject.bulk(1, quick ? 2 : 3);
      return {
        [bulk]: rate,
        'CPU per gigabyte, sending end': sourceCpu,
        'CPU per gigabyte, receiving end': sinkCpu,
      };
    },
  },
  {
    metrics: ['bulk download, 4 streams'],
    mtu,
    subjects: everyone,
    quick: false,
    measure: async (subject) => ({ 'bulk download, 4 streams': (await subject.bulk(4, 2)).rate }),
  },
  {
    metrics: ['bulk download, one stream, MTU 1280'],
    mtu: smallMtu,
    subjects: [newest, 'userspace'],
    quick: false,
    measure: async (subject) => ({ 'bulk download, one stream, MTU 1280': (await subject.bulk(1, 2)).rate }),
  },
  {
    metrics: [sameApplication],
    mtu,
    subjects: [newest, 'userspace', 'system'],
    quick: false,
    measure: async (subject) => ({ [sameApplication]: (await subject.bulk(1, 2, 'node')).rate }),
  },
  {
    metrics: ['idle round trip p50'],
    mtu,
    subjects: everyone,
    quick: true,
    measure: async (subject) => ({ 'idle round trip p50': await subject.roundTrip(1) }),
  },
  {
    metrics: [udp.offered, udp.flood],
    mtu,
    subjects: [newest, debian, 'userspace', 'system'],
    quick: false,
    measure: async (subject) => ({
      [udp.offered]: await subject.datagrams(1200, 40_000, 1.5),
      [udp.flood]: await subject.datagrams(64, undefined, 1.5),
    }),
  },
  {
    metrics: [memory.resident, memory.peak],
    mtu,
    subjects: everyone,
    quick: true,
    measure: async (subject) => ({ [memory.resident]: subject.memory()?.resident, [memory.peak]: subject.memory()?.peak }),
  },
];

interface Row {
  readonly metric: string;
  readonly unit: string;
  readonly subject: string;
  readonly peer?: string;
  readonly bar?: number;
  readonly lowerIsBetter?: boolean;
}

const rows: readonly Row[] = [
  { metric: bulk, unit: 'Gb/s', subject: 'userspace', peer: newest, bar: 1 },
  { metric: bulk, unit: 'Gb/s', subject: 'userspace-plain', peer: debian, bar: 1.5 },
  { metric: bulk, unit: 'Gb/s', subject: 'system', peer: newest, bar: 1.2 },
  { metric: bulk, unit: 'Gb/s', subject: 'userspace', peer: 'raw' },
  { metric: bulk, unit: 'Gb/s', subject: newest, peer: 'raw' },
  ...['userspace', 'userspace-plain', 'system'].map((subject) => ({ metric: 'bulk download, 4 streams', unit: 'Gb/s', subject, peer: newest })),
  { metric: 'bulk download, one stream, MTU 1280', unit: 'Gb/s', subject: 'userspace', peer: newest },
  ...['userspace', 'system'].map((subject) => ({ metric: sameApplication, unit: 'Gb/s', subject, peer: newest })),
  ...['sending', 'receiving'].flatMap((end) =>
    ['userspace', 'userspace-plain', 'system'].map((subject) => ({
      metric: `CPU per gigabyte, ${end} end`,
      unit: 's',
      subject,
      peer: newest,
      lowerIsBetter: true,
    })),
  ),
  ...['userspace', 'system'].flatMap((subject) => [
    { metric: 'idle round trip p50', unit: 'ms', subject, peer: newest, bar: 1.2, lowerIsBetter: true },
    { metric: memory.resident, unit: 'MB RSS', subject, peer: newest, bar: 0.3, lowerIsBetter: true },
    { metric: memory.peak, unit: 'MB RSS', subject, peer: newest, lowerIsBetter: true },
    { metric: udp.offered, unit: 'packets/s', subject, peer: newest, bar: 1 },
    { metric: udp.flood, unit: 'packets/s', subject, peer: newest, bar: 1 },
  ]),
];

/** What the machine lacks for the benchmark is an error; what only a subject lacks is said in its lines. */
export async function benchOverlay({ rounds, quick, only }: OverlayBenchOptions): Promise<readonly Pair[]> {
  const chosen = plans.filter(({ name }) => only.length === 0 || only.includes(name));
  return withLink(async (link, apps) => {
    const started: { readonly mtu: number; readonly subject: Subject }[] = [];
    const missing = new Map<string, string>();
    try {
      for (const [index, plan] of chosen.entries()) {
        if (quick && plan.mtu === smallMtu) continue;
        const subject = await startSubject(plan, link, apps, index + 1);
        if ('missing' in subject) missing.set(plan.name, subject.missing);
        else started.push({ mtu: plan.mtu, subject });
      }
      for (const { mtu, subject } of started) console.error(`${subject.name}, MTU ${mtu}: ${subject.about}`);
      for (const [name, reason] of missing) console.error(`${name}: missing: ${reason}`);
      const values = new Values();
      const asked = measurements.filter((each) => each.quick || !quick);
      for (let round = 0; round < rounds; round++) {
        for (const measurement of asked) {
          const subjects = started.filter(({ mtu, subject }) => mtu === measurement.mtu && measurement.subjects.includes(subject.name));
          // The other way round in every second round, so that none always follows the same one.
          for (const { subject } of round % 2 === 0 ? subjects : subjects.toReversed()) await values.take(measurement, subject, quick);
        }
      }
      const metrics = asked.flatMap((measurement) => measurement.metrics);
      return rows
        .filter(({ metric, subject }) => metrics.includes(metric) && (only.length === 0 || only.includes(subject)))
        .map((row) => values.judge(row, missing));
    } finally {
      for (const { subject } of started) await subject.close();
    }
  });
}

/** Loads one of our subjects with one stream and prints where the time of both ends went. */
export async function profileOverlay(name: string, streams: number): Promise<void> {
  if (!isOurs(name)) throw new Error(`only ${Object.keys(variants).join(', ')} can be profiled, not ${name}`);
  await withLink(async (link) => {
    const subject = await startOurs(name, link, 1, mtu);
    try {
      const { rate, gigabytes, cpu, files } = await subject.profile(streams, 6);
      console.log(`${name}: ${subject.about}\n${rate.toFixed(3)} Gb/s`);
      for (const end of ['source', 'sink'] as const) {
        const { user, system } = cpu[end];
        console.log(`\n${end}: CPU seconds a gigabyte: user ${user.toFixed(2)}, system ${system.toFixed(2)} (${files[end]})`);
        for (const line of summarise(files[end], 30, (micros) => `${(micros / 1e6 / gigabytes).toFixed(2).padStart(6)} s/GB`)) console.log(line);
      }
    } finally {
      await subject.close();
    }
  });
}

function isOurs(name: string): name is Ours {
  return Object.hasOwn(variants, name);
}

async function withLink<T>(act: (link: Link, apps: KernelApps) => Promise<T>): Promise<T> {
  const lacking = missingForLink();
  if (lacking.length > 0) throw new Error(`the benchmark needs ${lacking.join(', ')}`);
  const link = openLink();
  let iperf: Iperf | undefined;
  let apps: KernelApps | undefined;
  try {
    if (hasProgram('iperf3')) iperf = await Iperf.start(link.near, link.far);
    else console.error('iperf3 is missing: the kernel subjects use our own Node application');
    apps = await startKernelApps(link, iperf);
    return await act(link, apps);
  } finally {
    iperf?.close();
    await apps?.near.close();
    await apps?.far.close();
    link.close();
  }
}

async function startSubject(plan: SubjectPlan, link: Link, apps: KernelApps, number: number): Promise<Started> {
  try {
    return await plan.start(link, apps, number);
  } catch (error) {
    return { name: plan.name, missing: `did not start: ${describeError(error)}` };
  }
}

/** What was measured, by subject and metric. */
class Values {
  readonly #values = new Map<string, number[]>();
  readonly #reasons = new Map<string, string>();
  readonly #cannot = new Set<string>();

  async take(measurement: Measurement, subject: Subject, quick: boolean): Promise<void> {
    let measured: Readonly<Record<string, number | undefined>>;
    try {
      measured = await measurement.measure(subject, quick);
    } catch (error) {
      console.error(`${subject.name}: ${measurement.metrics[0]} failed: ${describeError(error)}`);
      this.#reasons.set(subject.name, `failed: ${describeError(error)}`);
      return;
    }
    for (const [metric, value] of Object.entries(measured)) {
      const key = `${subject.name}/${metric}`;
      if (value === undefined) {
        this.#cannot.add(key);
        continue;
      }
      this.#values.set(key, [...(this.#values.get(key) ?? []), value]);
    }
  }

  judge({ metric, unit, subject, peer, bar, lowerIsBetter = false }: Row, missing: ReadonlyMap<string, string>): Pair {
    const value = this.#median(subject, metric);
    const peerValue = peer === undefined ? undefined : this.#median(peer, metric);
    const why = (name: string): string =>
      missing.get(name) ?? (this.#cannot.has(`${name}/${metric}`) ? 'cannot do it yet' : (this.#reasons.get(name) ?? 'not measured'));
    const asked = bar === undefined ? {} : { bar };
    if (value === undefined)
      return missingPair('overlay', subject, { metric, unit, ...asked, ...(peer === undefined ? {} : { peer, peerValue }) }, why(subject));
    if (peer === undefined) return pair('overlay', subject, { metric, unit, value });
    if (peerValue === undefined) return { ...pair('overlay', subject, { metric, unit, value }), note: `${peer}: ${why(peer)}` };
    return pair('overlay', subject, { metric, unit, value, peer: { name: peer, value: peerValue }, lowerIsBetter, ...asked });
  }

  #median(subject: string, metric: string): number | undefined {
    const values = this.#values.get(`${subject}/${metric}`);
    return values === undefined ? undefined : median(values);
  }
}
