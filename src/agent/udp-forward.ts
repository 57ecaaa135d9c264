// UDP from the overlay to internal targets: a socket at each port that the policies name, and for each caller there a flow of its own. A port
// that they do not name has no socket, and a flow that they no longer admit ends.
import { Backoff } from '#lib/backoff.ts';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { parseIp } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import type { DialTarget, Endpoint, OpenUdpFlow, UdpFlow } from '#lib/net.ts';
import type { Overlay, OverlayUdpSocket } from '#mesh/index.ts';
import { admitsInbound, closedFilter, type PacketFilter } from '#model/network-map.ts';
import { maxUdpFlows, maxUdpFlowsPerCaller, maxUdpPorts, udpIdleMs, udpPortRetry } from './constants.ts';

export interface UdpForwarderDeps {
  readonly overlay: Pick<Overlay, 'bindUdp'>;
  readonly open: OpenUdpFlow;
  /** Where a port leads; undefined for nowhere. */
  readonly targetOf: (port: number) => DialTarget | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

interface Flow {
  readonly port: number;
  readonly from: Endpoint;
  readonly target: UdpFlow;
  usedAt: number;
}

export class UdpForwarder {
  readonly #deps: UdpForwarderDeps;
  readonly #sockets = new Map<number, OverlayUdpSocket>();
  readonly #flows = new Map<string, Flow>();
  readonly #ofCaller = new Map<string, number>();
  #filter: PacketFilter = closedFilter;
  #work: Promise<void> = Promise.resolve();
  #sweep: Timer | undefined;
  readonly #backoff: Backoff;
  #retry: Timer | undefined;
  #closed = false;

  constructor(deps: UdpForwarderDeps) {
    this.#deps = deps;
    this.#backoff = new Backoff({ ...udpPortRetry, random: deps.random });
  }

  get open(): number {
    return this.#flows.size;
  }

  /** The policies as they are now. Resolves when the ports are as they want it; never rejects. */
  apply(filter: PacketFilter): Promise<void> {
    this.#filter = filter;
    this.#backoff.reset();
    for (const [key, flow] of this.#flows) if (!this.#admits(flow.from, flow.port)) this.#end(key, flow);
    return this.#again();
  }

  #again(): Promise<void> {
    this.#work = this.#work.then(() => this.#bind());
    return this.#work;
  }

  /** Where ports lead has changed: what led elsewhere through this one ends. Resolves when the ports are open; never rejects. */
  led(port: number): Promise<void> {
    for (const [key, flow] of this.#flows) if (flow.port === port) this.#end(key, flow);
    return this.apply(this.#filter);
  }

  close(): void {
    this.#closed = true;
    this.#sweep?.cancel();
    this.#retry?.cancel();
    for (const [key, flow] of this.#flows) this.#end(key, flow);
    for (const socket of this.#sockets.values()) socket.close();
    this.#sockets.clear();
  }

  /** Whoever has a port that is wanted may let it go: what could not be opened is tried again by and by. */
  async #bind(): Promise<void> {
    this.#retry?.cancel();
    let missing = false;
    const wanted = portsOf(this.#filter);
    for (const [port, socket] of this.#sockets) {
      if (wanted.has(port) && this.#deps.targetOf(port) !== undefined) continue;
      this.#sockets.delete(port);
      socket.close();
    }
    for (const port of wanted) {
      if (this.#closed || this.#sockets.has(port) || this.#deps.targetOf(port) === undefined) continue;
      try {
        const socket = await this.#deps.overlay.bindUdp(port, (bytes, from) => this.#datagram(bytes, from, port));
        if (this.#closed) socket.close();
        else this.#sockets.set(port, socket);
      } catch (error) {
        missing = true;
        this.#deps.log.warn('a granted UDP port cannot be opened', { port, reason: describeError(error) });
      }
    }
    if (!missing) return this.#backoff.reset();
    if (!this.#closed) this.#retry = this.#deps.clock.after(this.#backoff.next(), () => void this.#again());
  }

  #datagram(bytes: Uint8Array, from: Endpoint, port: number): void {
    const key = `${port} ${from.port} ${from.address}`;
    const flow = this.#flows.get(key) ?? this.#open(key, from, port);
    if (flow === undefined) return;
    flow.usedAt = this.#deps.clock.now();
    flow.target.send(bytes);
  }

  #open(key: string, from: Endpoint, port: number): Flow | undefined {
    const target = this.#deps.targetOf(port);
    const count = this.#ofCaller.get(from.address) ?? 0;
    if (target === undefined || this.#flows.size >= maxUdpFlows || count >= maxUdpFlowsPerCaller || !this.#admits(from, port)) return undefined;
    const flow: Flow = {
      port,
      from,
      target: this.#deps.open(
        { address: target.host, port: target.port },
        (bytes) => {
          if (this.#flows.get(key) !== flow) return;
          flow.usedAt = this.#deps.clock.now();
          this.#sockets.get(port)?.send(bytes, from);
        },
        () => this.#end(key, flow),
      ),
      usedAt: this.#deps.clock.now(),
    };
    this.#flows.set(key, flow);
    this.#ofCaller.set(from.address, count + 1);
    this.#arm();
    return flow;
  }

  #admits(from: Endpoint, port: number): boolean {
    const ip = parseIp(from.address);
    return ip !== undefined && admitsInbound(this.#filter, 'udp', ip, port);
  }

  #end(key: string, flow: Flow): void {
    if (this.#flows.get(key) !== flow) return;
    this.#flows.delete(key);
    const left = (this.#ofCaller.get(flow.from.address) ?? 1) - 1;
    if (left > 0) this.#ofCaller.set(flow.from.address, left);
    else this.#ofCaller.delete(flow.from.address);
    flow.target.close();
  }

  #arm(): void {
    this.#sweep ??= this.#deps.clock.after(udpIdleMs / 4, () => {
      this.#sweep = undefined;
      const idleSince = this.#deps.clock.now() - udpIdleMs;
      for (const [key, flow] of this.#flows) if (flow.usedAt <= idleSince) this.#end(key, flow);
      if (this.#flows.size > 0 && !this.#closed) this.#arm();
    });
  }
}

/** Ports that rules name one by one or in short ranges. A rule for every port or protocol says nothing of what is to be listened on. */
function portsOf(filter: PacketFilter): ReadonlySet<number> {
  const ports = new Set<number>();
  for (const rule of filter.kind === 'rules' ? filter.rules : []) {
    if (rule.direction !== 'in' || rule.action !== 'accept' || rule.protocol !== 'udp' || rule.ports === undefined) continue;
    for (let port = rule.ports.start; port <= rule.ports.end && ports.size < maxUdpPorts; port++) ports.add(port);
  }
  return ports;
}
