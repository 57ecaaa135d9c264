// Looks at this host's network about each second and tells what changed. Nothing but files and Node's own list of addresses, so it
// works without rights, without native code, and without a program that would have to be there.
import { closeSync, openSync, readSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { NETWORK_LOOK_MS, NETWORK_ROUTE_BYTES } from './constants.ts';
import { type NetworkChange, NetworkMonitor, type NetworkSample } from './network-monitor.ts';
import { isForeignInterface } from './path/host-addresses.ts';
import { usableAddress } from './path/ice-candidate.ts';

export interface NetworkReading extends Pick<NetworkSample, 'addresses' | 'routes'> {
  /** Every address of every interface that is up, without its name; undefined where that is not known. */
  readonly every: ReadonlySet<string> | undefined;
}

export interface NetworkWatchOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** At least one change. */
  readonly changed: (changes: readonly NetworkChange[]) => void;
  /** In the place of this host; for tests. */
  readonly read?: () => NetworkReading;
}

export class NetworkWatch {
  readonly #options: NetworkWatchOptions;
  #addresses: ReadonlySet<string> | undefined;
  readonly #monitor = new NetworkMonitor(NETWORK_LOOK_MS);
  #timer: Timer | undefined;
  #closed = false;
  #failed = false;

  /** The first look is at once. */
  constructor(options: NetworkWatchOptions) {
    this.#options = options;
    this.#look();
  }

  /** The addresses of now, loopback among them; undefined before the first look. */
  get hostAddresses(): ReadonlySet<string> | undefined {
    return this.#addresses;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #look(): void {
    const { clock, log, changed, read = readHostNetwork } = this.#options;
    try {
      const reading = read();
      this.#failed = false;
      this.#addresses = reading.every;
      const changes = this.#monitor.observe({ ...reading, now: clock.now(), wall: clock.wall() });
      if (changes.length > 0) changed(changes);
    } catch (error) {
      // Said once: it would be said each second.
      if (!this.#failed) log.warn('overlay: this host’s network cannot be looked at', { reason: describeError(error) });
      this.#failed = true;
    }
    if (!this.#closed) this.#timer = clock.after(NETWORK_LOOK_MS, () => this.#look());
  }
}

/** The addresses of interfaces that are up, tunnels and loopback left out, and the default routes where the system is Linux. */
export function readHostNetwork(): NetworkReading {
  const addresses = new Set<string>();
  const every = new Set<string>();
  for (const [name, entries] of Object.entries(networkInterfaces())) {
    const foreign = isForeignInterface(name);
    for (const { internal, address } of entries ?? []) {
      every.add(address);
      if (!foreign && !internal && usableAddress(address) !== undefined) addresses.add(`${name} ${address}`);
    }
  }
  if (process.platform !== 'linux') return { addresses, every, routes: undefined };
  const [v4, v6] = [readStart('/proc/net/route'), readStart('/proc/net/ipv6_route')];
  return { addresses, every, routes: new Set([...defaultRoutes4(v4), ...defaultRoutes6(v6)]) };
}

/** `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, numbers in hexadecimal. */
export function defaultRoutes4(table: string): readonly string[] {
  return table.split('\n').flatMap((line) => {
    const [name = '', destination, gateway = '', flags = '', , , , mask] = line.split('\t');
    const up = (Number.parseInt(flags, 16) & 1) === 1;
    return destination === '00000000' && mask === '00000000' && up && !isForeignInterface(name) ? [`${name} ${gateway}`] : [];
  });
}

/** `destination bits source bits gateway metric refs use flags interface`; unreachable routes are those of `lo`. */
export function defaultRoutes6(table: string): readonly string[] {
  return table.split('\n').flatMap((line) => {
    const [destination = '', bits, , , gateway = '', , , , , name = ''] = line.trim().split(/ +/);
    return /^0+$/.test(destination) && bits === '00' && name !== 'lo' && !isForeignInterface(name) ? [`${name} ${gateway}`] : [];
  });
}

/** The file's beginning; empty where there is none, as where IPv6 is switched off. These files are the kernel's memory: nothing waits. */
function readStart(path: string): string {
  let file: number | undefined;
  try {
    file = openSync(path, 'r');
    const bytes = Buffer.allocUnsafe(NETWORK_ROUTE_BYTES);
    let filled = 0;
    for (let got = -1; got !== 0 && filled < bytes.length; filled += got) got = readSync(file, bytes, filled, bytes.length - filled, null);
    return bytes.toString('latin1', 0, filled);
  } catch {
    return '';
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
