// The subjects: one way each to bring a byte from the far end to the near one, with the same measurements.
import { rmSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toBase64 } from '#lib/bytes.ts';
import { generatePrivateKey, publicFromPrivate } from '#crypto/x25519.ts';
import type { DialTarget } from '#lib/net.ts';
import { type PublicKey, parsePublicKey } from '#model/ids.ts';
import { EndProcess } from './end-process.ts';
import type { Iperf } from './iperf.ts';
import type { Link } from './link.ts';
import { cpuSeconds, type CpuTime, cpuTime, peakMegabytes, residentMegabytes } from '../process-stat.ts';
import { DATAGRAM_PORT, KERNEL_APP_PORT, OVERLAY_APP_PORT } from './protocol.ts';
import { startGoTunnel } from './wireguard-go.ts';

export interface Bulk {
  /** Application bytes, Gb/s. */
  readonly rate: number;
  /** CPU seconds a gigabyte of everything at that end: tunnel, TCP and application. */
  readonly sourceCpu: number;
  readonly sinkCpu: number;
}

/** MB. */
export interface Memory {
  readonly resident: number;
  readonly peak: number;
}

export interface Subject {
  readonly name: string;
  /** What status says is in use, or the version. */
  readonly about: string;
  /** With the leanest application there is for the subject, or with our own Node application, whose sockets then cost it as they cost ours. */
  bulk(streams: number, seconds: number, application?: 'lean' | 'node'): Promise<Bulk>;
  /** Median, ms. */
  roundTrip(seconds: number): Promise<number>;
  /** Of the tunnel's process, mean of both ends; undefined where the kernel is the tunnel. */
  memory(): Memory | undefined;
  /** Datagrams received a second. */
  datagrams(bytes: number, perSecond: number | undefined, seconds: number): Promise<number>;
  close(): Promise<void>;
}

/** What the kernel-TCP subjects share: a Node application at both ends, and iperf3 where it is there. */
export interface KernelApps {
  readonly near: EndProcess;
  readonly far: EndProcess;
  readonly iperf: Iperf | undefined;
}

export async function startKernelApps(link: Link, iperf: Iperf | undefined): Promise<KernelApps> {
  const [near, far] = [new EndProcess(link.near), new EndProcess(link.far)];
  for (const end of [near, far]) await end.ask('start', { kind: 'kernel' });
  return { near, far, iperf };
}

export function rawSubject(apps: KernelApps, link: Link): Subject {
  return kernelSubject('raw', 'veth, offload on', apps, {
    nearAddress: link.near.address,
    farAddress: link.far.address,
    pids: undefined,
    close: async () => undefined,
  });
}

export async function goSubject(
  name: string,
  about: string,
  apps: KernelApps,
  link: Link,
  program: string,
  number: number,
  mtu: number,
): Promise<Subject> {
  const { nearPid, farPid, nearAddress, farAddress, close } = await startGoTunnel(link, program, number, mtu);
  return kernelSubject(name, about, apps, { nearAddress, farAddress, pids: { near: nearPid, far: farPid }, close });
}

interface KernelTunnel {
  readonly nearAddress: string;
  readonly farAddress: string;
  readonly pids: { readonly near: number; readonly far: number } | undefined;
  close(): Promise<void>;
}

/** A subject that applications reach through the kernel's TCP and UDP. */
function kernelSubject(name: string, about: string, apps: KernelApps, { nearAddress, farAddress, pids, close }: KernelTunnel): Subject {
  const app = { host: farAddress, port: KERNEL_APP_PORT };
  const spent = (): { readonly source: number; readonly sink: number } =>
    pids === undefined ? { source: 0, sink: 0 } : { source: cpuSeconds(pids.far), sink: cpuSeconds(pids.near) };
  return {
    name,
    about,
    close,
    bulk: async (streams, seconds, application = 'lean') => {
      const before = spent();
      const iperf = application === 'lean' ? apps.iperf : undefined;
      const load =
        iperf === undefined ? await nodeDownload(apps.near, apps.far, app, streams, seconds) : await iperf.download(farAddress, streams, seconds);
      const after = spent();
      const gigabytes = load.bytes / 1e9;
      return {
        rate: (load.bytes * 8) / load.seconds / 1e9,
        sourceCpu: (after.source - before.source + load.sourceCpu) / gigabytes,
        sinkCpu: (after.sink - before.sink + load.sinkCpu) / gigabytes,
      };
    },
    roundTrip: async (seconds) => median(await apps.near.ask('roundTrips', { to: app, seconds })),
    memory: () => (pids === undefined ? undefined : memoryOf(pids.near, pids.far)),
    datagrams: (bytes, perSecond, seconds) => receivedDatagrams(apps, nearAddress, bytes, perSecond, seconds),
  };
}

/** A subject that can also tell where its time goes, with the application in its own processes. */
export interface OwnSubject extends Subject {
  readonly pids: { readonly near: number; readonly far: number };
  readonly addresses: { readonly near: string; readonly far: string };
  profile(streams: number, seconds: number): Promise<Profiles>;
}

/** System mode as wireguard-go is measured: the tunnel alone in our processes, and the same applications beside it on kernel sockets. */
export async function systemSubject(
  name: string,
  apps: KernelApps,
  link: Link,
  number: number,
  mtu: number,
  env: Readonly<Record<string, string>>,
): Promise<Subject> {
  const { about, pids, addresses, close } = await overlaySubject(name, link, number, mtu, 'system', env);
  return kernelSubject(name, about, apps, { nearAddress: addresses.near, farAddress: addresses.far, pids, close });
}

/** Two overlays of ours, each in its own process, on a direct path. `number` tells tunnels of one link apart. */
export async function overlaySubject(
  name: string,
  link: Link,
  number: number,
  mtu: number,
  mode: 'userspace' | 'system',
  env: Readonly<Record<string, string>>,
): Promise<OwnSubject> {
  const keys = { near: generatePrivateKey(), far: generatePrivateKey() };
  const addresses = { near: `100.92.${number}.1`, far: `100.92.${number}.2` };
  const app = { host: addresses.far, port: OVERLAY_APP_PORT };
  const ends = { near: new EndProcess(link.near, env), far: new EndProcess(link.far, env) };
  const close = async (): Promise<void> => {
    await Promise.all([ends.near.close(), ends.far.close()]);
  };
  ends.near.onSignal((_to, message) => ends.far.signal(publicKey(keys.near), message));
  ends.far.onSignal((_to, message) => ends.near.signal(publicKey(keys.far), message));
  const start = (own: 'near' | 'far', other: 'near' | 'far'): Promise<undefined> =>
    ends[own].ask('start', {
      kind: 'overlay',
      mode,
      privateKey: keys[own],
      mtu,
      hostAddress: link[own].address,
      own: addresses[own],
      other: { publicKey: publicKey(keys[other]), address: addresses[other] },
    });
  let about: string;
  try {
    await Promise.all([start('far', 'near'), start('near', 'far')]);
    about = await ends.near.ask('ready', undefined);
  } catch (error) {
    await close();
    throw error;
  }
  const bulk = async (streams: number, seconds: number): Promise<Bulk> => {
    const load = await nodeDownload(ends.near, ends.far, app, streams, seconds);
    const gigabytes = load.bytes / 1e9;
    return { rate: (load.bytes * 8) / load.seconds / 1e9, sourceCpu: load.sourceCpu / gigabytes, sinkCpu: load.sinkCpu / gigabytes };
  };
  return {
    name,
    about,
    pids: { near: ends.near.pid, far: ends.far.pid },
    addresses,
    close,
    bulk,
    roundTrip: async (seconds) => median(await ends.near.ask('roundTrips', { to: app, seconds })),
    memory: () => memoryOf(ends.near.pid, ends.far.pid),
    datagrams: (bytes, perSecond, seconds) => receivedDatagrams(ends, addresses.near, bytes, perSecond, seconds),
    profile: async (streams, seconds) => {
      const folder = mkdtempSync(join(tmpdir(), 'mg-profile-'));
      try {
        await bulk(streams, 2);
        const files = { sink: join(folder, 'sink.cpuprofile'), source: join(folder, 'source.cpuprofile') };
        await Promise.all([ends.near.ask('startProfile', undefined), ends.far.ask('startProfile', undefined)]);
        const before = { source: cpuTime(ends.far.pid), sink: cpuTime(ends.near.pid) };
        const load = await bulk(streams, seconds);
        const after = { source: cpuTime(ends.far.pid), sink: cpuTime(ends.near.pid) };
        await Promise.all([ends.near.ask('stopProfile', files.sink), ends.far.ask('stopProfile', files.source)]);
        const gigabytes = (load.rate * seconds) / 8;
        const spent = (end: 'source' | 'sink'): CpuTime => ({
          user: (after[end].user - before[end].user) / gigabytes,
          system: (after[end].system - before[end].system) / gigabytes,
        });
        return { rate: load.rate, gigabytes, cpu: { source: spent('source'), sink: spent('sink') }, files };
      } catch (error) {
        rmSync(folder, { recursive: true, force: true });
        throw error;
      }
    },
  };
}

export interface Profiles {
  /** Gb/s. */
  readonly rate: number;
  readonly gigabytes: number;
  /** Seconds a gigabyte. */
  readonly cpu: { readonly source: CpuTime; readonly sink: CpuTime };
  readonly files: { readonly sink: string; readonly source: string };
}

async function nodeDownload(
  near: EndProcess,
  far: EndProcess,
  to: DialTarget,
  streams: number,
  seconds: number,
): Promise<{ readonly bytes: number; readonly seconds: number; readonly sourceCpu: number; readonly sinkCpu: number }> {
  const before = { source: cpuSeconds(far.pid), sink: cpuSeconds(near.pid) };
  const load = await near.ask('bulk', { to, streams, seconds });
  return { ...load, sourceCpu: cpuSeconds(far.pid) - before.source, sinkCpu: cpuSeconds(near.pid) - before.sink };
}

/** Received a second. */
async function receivedDatagrams(
  { near, far }: { readonly near: EndProcess; readonly far: EndProcess },
  address: string,
  bytes: number,
  perSecond: number | undefined,
  seconds: number,
): Promise<number> {
  const port = DATAGRAM_PORT;
  const [received] = await Promise.all([near.ask('count', { port, seconds }), far.ask('send', { to: { address, port }, bytes, perSecond, seconds })]);
  return received / seconds;
}

function memoryOf(near: number, far: number): Memory {
  const mean = (of: (pid: number) => number): number => (of(near) + of(far)) / 2;
  return { resident: mean(residentMegabytes), peak: mean(peakMegabytes) };
}

function publicKey(privateKey: Uint8Array): PublicKey {
  const key = parsePublicKey(toBase64(publicFromPrivate(privateKey)));
  if (key === undefined) throw new TypeError('no key');
  return key;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
