// Addresses and routes of system mode's device, set with iproute2's `ip`: what the map says, and nothing else of the host's network.
import { execFile } from 'node:child_process';
import { describeError } from '#lib/errors.ts';
import { formatPrefix, type IpPrefix, maskPrefix, prefixContains } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import { overlayError } from '../errors.ts';

const COMMAND_TIMEOUT_MS = 5000;

/** Runs `ip` with these arguments. Rejects with OVERLAY_INTERFACE. */
export type RunIp = (args: readonly string[]) => Promise<void>;

const runIp: RunIp = (args) =>
  new Promise((resolve, reject) => {
    execFile('ip', args, { timeout: COMMAND_TIMEOUT_MS }, (error, _out, complaint) => {
      if (error === null) resolve();
      else reject(overlayError('OVERLAY_INTERFACE', `ip ${args.join(' ')}: ${complaint.trim()}`, error));
    });
  });

export class SystemInterface {
  readonly #name: string;
  readonly #log: Logger;
  readonly #run: RunIp;
  #addresses: ReadonlySet<string> = new Set();
  #routes: ReadonlySet<string> = new Set();
  /** One change after the other; a new map waits for the last one. */
  #queue: Promise<void> = Promise.resolve();

  constructor(name: string, log: Logger, run: RunIp = runIp) {
    this.#name = name;
    this.#log = log;
    this.#run = run;
  }

  /** Sets the MTU and brings the device up. Rejects with OVERLAY_INTERFACE. */
  async up(mtu: number): Promise<void> {
    await this.#run(['link', 'set', 'dev', this.#name, 'mtu', String(mtu), 'up']);
  }

  /**
   * Gives the device exactly these addresses, with their network's length, and routes to those prefixes that no address's network
   * covers. A default route is never set: all of the host's traffic would follow it. Resolves when all is done; what fails is logged.
   */
  set(addresses: readonly IpPrefix[], prefixes: readonly IpPrefix[]): Promise<void> {
    const wantedAddresses = new Set(addresses.map(formatPrefix));
    const outside = prefixes.filter(
      (prefix) => prefix.bits > 0 && !addresses.some((own) => own.bits <= prefix.bits && prefixContains(maskPrefix(own), prefix.address)),
    );
    const wantedRoutes = new Set(outside.map((prefix) => formatPrefix(maskPrefix(prefix))));
    this.#queue = this.#queue.then(async () => {
      this.#routes = await this.#change('route', this.#routes, wantedRoutes);
      this.#addresses = await this.#change('addr', this.#addresses, wantedAddresses);
    });
    return this.#queue;
  }

  /** What is old goes before what is new comes. Returns what holds now. */
  async #change(kind: 'addr' | 'route', have: ReadonlySet<string>, want: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    const now = new Set(have);
    for (const old of have) {
      if (!want.has(old) && (await this.#try([...family(old), kind, 'del', old, 'dev', this.#name]))) now.delete(old);
    }
    for (const fresh of want) {
      // Without `nodad` an IPv6 address could not be used for the first second.
      const extra = kind === 'addr' && fresh.includes(':') ? ['nodad'] : [];
      if (!have.has(fresh) && (await this.#try([...family(fresh), kind, 'replace', fresh, 'dev', this.#name, ...extra]))) now.add(fresh);
    }
    return now;
  }

  async #try(args: readonly string[]): Promise<boolean> {
    try {
      await this.#run(args);
      return true;
    } catch (error) {
      this.#log.warn('overlay: the interface could not be changed', { reason: describeError(error) });
      return false;
    }
  }
}

function family(prefix: string): readonly string[] {
  return [prefix.includes(':') ? '-6' : '-4'];
}
