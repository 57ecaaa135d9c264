// From the overlay to an internal target. What may reach this point at all is the packet filter's choice, made from the policies of
// the control plane: default deny. Here a granted port is mapped to its target, and to nothing else; a connection to a network that this
// peer carries goes where it was sent.
import type { Duplex } from 'node:stream';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { formatHostPort, type Dial, type DialTarget } from '#lib/net.ts';
import { splice } from '#lib/splice.ts';
import type { OpenPort, OverlayConnection } from '#mesh/index.ts';
import { agentError } from './errors.ts';
import { dialTimeoutMs, idleTimeoutMs, maxConnections, maxTargetsInStatus } from './constants.ts';

/** Overlay port → where it leads. */
export type TargetMap = ReadonlyMap<number, DialTarget>;

export interface TargetStatus {
  readonly target: string;
  readonly open: number;
  readonly total: number;
  /** Empty after a success; otherwise why the last dial failed. */
  readonly reason: string;
}

export interface ForwarderDeps {
  /** Dials internal targets: the host's own network. */
  readonly dial: Dial;
  readonly log: Logger;
}

/** A port that leads to a target for as long as somebody needs it. */
export interface Lead {
  readonly port: number;
  /** The port leads where it led before; what came through it is reset. */
  end(): void;
}

interface Led {
  readonly target: DialTarget;
  readonly streams: Set<Duplex>;
}

interface TargetRecord {
  open: number;
  total: number;
  reason: string;
}

export class Forwarder {
  readonly #targets: TargetMap;
  readonly #defaultHost: string | undefined;
  readonly #deps: ForwarderDeps;
  readonly #records = new Map<string, TargetRecord>();
  readonly #streams = new Set<Duplex>();
  readonly #led = new Map<number, Led>();
  /** Ways that are being opened for callers who wait; those that are open, with where they lead. */
  #opening = 0;
  readonly #ways = new WeakMap<Duplex, DialTarget>();
  #total = 0;
  #failed = 0;

  /** Ports without an entry lead to the same port of `defaultHost`, or nowhere where that is undefined. */
  constructor(targets: TargetMap, defaultHost: string | undefined, deps: ForwarderDeps) {
    this.#targets = targets;
    this.#defaultHost = defaultHost;
    this.#deps = deps;
  }

  /** Whether a connection to this port would be forwarded: asked at the SYN, a no is a reset. */
  wants(port: number): boolean {
    return this.#streams.size + this.#opening < maxConnections && this.targetOf(port) !== undefined;
  }

  /** Opens the way to a port's target before the caller hears that its connection is taken. Rejects with what the target said. */
  readonly open: OpenPort = async (port, signal) => {
    const target = this.targetOf(port);
    if (target === undefined) throw agentError('AGENT_PORT_CLOSED', String(port));
    this.#opening++;
    try {
      const way = await this.dialCarried(target, { signal });
      this.#ways.set(way, target);
      return way;
    } catch (error) {
      const name = formatHostPort(target.host, target.port);
      this.#record(name).total++;
      this.#total++;
      this.#failed++;
      if (!signal.aborted) this.#deps.log.warn('target refused', { target: name, reason: describeError(error) });
      throw error;
    } finally {
      this.#opening--;
    }
  };

  /** Forwards one accepted connection until it ends; never rejects. `way` leads to its target where that is open already. */
  async handle(connection: OverlayConnection, way?: Duplex): Promise<void> {
    const led = this.#led.get(connection.local.port);
    const target = this.targetOf(connection.local.port);
    const stale = way !== undefined && (way.destroyed || target === undefined || !sameTarget(this.#ways.get(way) ?? target, target));
    if (target === undefined || stale) {
      connection.stream.destroy();
      way?.destroy();
      return;
    }
    led?.streams.add(connection.stream);
    await this.#forward(connection, target, way);
    led?.streams.delete(connection.stream);
  }

  /**
   * Leads a port to the target until `end`. Undefined where the port leads somewhere else, by the configuration or for somebody else: what
   * a policy grants there must not come to mean another thing.
   */
  lead(port: number, target: DialTarget): Lead | undefined {
    const there = this.targetOf(port);
    if (this.#led.has(port) || (there !== undefined && !sameTarget(there, target))) return undefined;
    const led: Led = { target, streams: new Set() };
    this.#led.set(port, led);
    return {
      port,
      end: () => {
        if (this.#led.get(port) === led) this.#led.delete(port);
        for (const stream of led.streams) stream.destroy();
      },
    };
  }

  /** Opens the way to an address behind this host for a peer; why it failed is in the status. */
  readonly dialCarried: Dial = async (target, { signal }) => {
    const record = this.#record(formatHostPort(target.host, target.port));
    try {
      const upstream = await this.#deps.dial(target, { signal: AbortSignal.any([signal, AbortSignal.timeout(dialTimeoutMs)]) });
      record.reason = '';
      return upstream;
    } catch (error) {
      record.reason = describeError(error);
      throw error;
    }
  };

  /** Joins a connection to an address behind this host with the way that was opened for it; never rejects. */
  async carry(connection: OverlayConnection, upstream: Duplex): Promise<void> {
    const { address, port } = connection.local;
    if (this.#streams.size < maxConnections) return this.#forward(connection, { host: address, port }, upstream);
    connection.stream.destroy();
    upstream.destroy();
  }

  /** `opened` is the way to the target where it is open already. */
  async #forward(connection: OverlayConnection, target: DialTarget, opened?: Duplex): Promise<void> {
    const name = formatHostPort(target.host, target.port);
    const record = this.#record(name);
    record.open++;
    record.total++;
    this.#total++;
    this.#streams.add(connection.stream);
    try {
      const upstream = opened ?? (await this.#dialTarget(target, connection.stream));
      record.reason = '';
      await splice(connection.stream, upstream, { idleMs: idleTimeoutMs });
    } catch (error) {
      record.reason = describeError(error);
      this.#failed++;
      this.#deps.log.warn('target refused', { target: name, peer: connection.remote.address, reason: record.reason });
      connection.stream.destroy();
    } finally {
      record.open--;
      this.#streams.delete(connection.stream);
    }
  }

  status(): readonly TargetStatus[] {
    return [...this.#records].map(([target, record]) => ({ target, ...record }));
  }

  /** Of all targets together, since the start. */
  get figures(): { readonly open: number; readonly total: number; readonly failed: number } {
    return { open: this.#streams.size, total: this.#total, failed: this.#failed };
  }

  /** Resets everything that is open. */
  close(): void {
    for (const stream of this.#streams) stream.destroy();
  }

  /** Dials with a deadline, and gives up where the overlay side goes away first. */
  async #dialTarget(target: DialTarget, waiting: Duplex): Promise<Duplex> {
    const gone = new AbortController();
    const abort = (): void => gone.abort();
    waiting.once('close', abort);
    waiting.on('error', abort);
    try {
      return await this.#deps.dial(target, { signal: AbortSignal.any([gone.signal, AbortSignal.timeout(dialTimeoutMs)]) });
    } finally {
      waiting.off('close', abort);
    }
  }

  /** Where a port leads; undefined for nowhere. */
  targetOf(port: number): DialTarget | undefined {
    return (
      this.#led.get(port)?.target ?? this.#targets.get(port) ?? (this.#defaultHost === undefined ? undefined : { host: this.#defaultHost, port })
    );
  }

  #record(name: string): TargetRecord {
    const known = this.#records.get(name);
    if (known !== undefined) return known;
    const record: TargetRecord = { open: 0, total: 0, reason: '' };
    if (this.#records.size < maxTargetsInStatus) this.#records.set(name, record);
    return record;
  }
}

function sameTarget(a: DialTarget, b: DialTarget): boolean {
  return a.host === b.host && a.port === b.port;
}
