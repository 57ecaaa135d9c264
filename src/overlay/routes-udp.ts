// UDP through a routing peer: each flow of a caller to a destination behind us is a socket of this host, for as long as it is used.
import type { Clock, Timer } from '#lib/clock.ts';
import { formatIp, type IpAddress } from '#lib/ip.ts';
import type { OpenUdpFlow, UdpFlow } from '#lib/net.ts';
import type { PublicKey } from '#model/ids.ts';
import type { SocketAddress } from '#netstack/types.ts';
import { CARRIED_FLOW_IDLE_MS, MAX_CARRIED_FLOWS, MAX_CARRIED_FLOWS_PER_PEER } from './constants.ts';
import type { CarriedRoutes } from './routes-carried.ts';

export interface CarriedFlowsDeps {
  readonly clock: Clock;
  readonly carried: CarriedRoutes;
  /** The peer that has the address now. */
  readonly ownerOf: (ip: IpAddress) => PublicKey | undefined;
  /** Sends a datagram into the overlay from an address behind us. */
  readonly send: (bytes: Uint8Array, from: SocketAddress, to: SocketAddress) => void;
  readonly open: OpenUdpFlow;
}

interface Flow {
  /** Whose flow it is: another peer that gets the address later has no part in it. */
  readonly owner: PublicKey;
  readonly from: SocketAddress;
  readonly to: SocketAddress;
  readonly socket: UdpFlow;
  usedAt: number;
  /** The state of the rules under which it was admitted last. */
  generation: number;
}

export class CarriedFlows {
  readonly #deps: CarriedFlowsDeps;
  readonly #flows = new Map<string, Flow>();
  readonly #ofCaller = new Map<string, number>();
  #sweep: Timer | undefined;
  #dropped = 0;

  constructor(deps: CarriedFlowsDeps) {
    this.#deps = deps;
  }

  /** A datagram from the overlay; the bytes are valid only during the call. What the rules do not admit is dropped. */
  datagram(bytes: Uint8Array, from: SocketAddress, to: SocketAddress): void {
    const key = `${formatIp(from.ip)} ${from.port} ${formatIp(to.ip)} ${to.port}`;
    const flow = this.#flows.get(key) ?? this.#open(key, from, to);
    if (flow === undefined || !this.#stillAdmitted(key, flow)) return;
    flow.usedAt = this.#deps.clock.now();
    flow.socket.send(bytes);
  }

  /** The rules, the routes or the peers changed: ends what is no longer admitted. */
  recheck(): void {
    for (const [key, flow] of this.#flows) this.#stillAdmitted(key, flow);
  }

  isOpen(to: IpAddress): boolean {
    const text = formatIp(to);
    for (const flow of this.#flows.values()) if (formatIp(flow.to.ip) === text) return true;
    return false;
  }

  /** Flows that are open, and datagrams that found no room for one. */
  get counts(): { readonly open: number; readonly dropped: number } {
    return { open: this.#flows.size, dropped: this.#dropped };
  }

  close(): void {
    this.#sweep?.cancel();
    for (const [key, flow] of this.#flows) this.#end(key, flow);
  }

  #open(key: string, from: SocketAddress, to: SocketAddress): Flow | undefined {
    const { clock, carried, ownerOf } = this.#deps;
    const caller = formatIp(from.ip);
    const owner = ownerOf(from.ip);
    if (owner === undefined || to.port === 0 || !carried.admits('udp', from.ip, to.ip, to.port, clock.now())) return undefined;
    const count = this.#ofCaller.get(caller) ?? 0;
    if (this.#flows.size >= MAX_CARRIED_FLOWS || count >= MAX_CARRIED_FLOWS_PER_PEER) {
      this.#dropped++;
      return undefined;
    }
    const source = { ip: { family: from.ip.family, bytes: Uint8Array.from(from.ip.bytes) }, port: from.port };
    const target = { ip: { family: to.ip.family, bytes: Uint8Array.from(to.ip.bytes) }, port: to.port };
    const socket = this.#deps.open(
      { address: formatIp(to.ip), port: to.port },
      (bytes) => this.#answered(key, bytes),
      () => {
        const failed = this.#flows.get(key);
        if (failed !== undefined) this.#end(key, failed);
      },
    );
    const flow = { owner, from: source, to: target, socket, usedAt: clock.now(), generation: carried.generation };
    this.#flows.set(key, flow);
    this.#ofCaller.set(caller, count + 1);
    this.#arm();
    return flow;
  }

  #answered(key: string, bytes: Uint8Array): void {
    const flow = this.#flows.get(key);
    if (flow === undefined || !this.#stillAdmitted(key, flow)) return;
    flow.usedAt = this.#deps.clock.now();
    this.#deps.send(bytes, flow.to, flow.from);
  }

  #stillAdmitted(key: string, flow: Flow): boolean {
    const { carried, ownerOf } = this.#deps;
    if (flow.generation === carried.generation) return true;
    if (ownerOf(flow.from.ip) === flow.owner && carried.keeps('udp', flow.from.ip, flow.to.ip, flow.to.port)) {
      flow.generation = carried.generation;
      return true;
    }
    this.#end(key, flow);
    return false;
  }

  #end(key: string, flow: Flow): void {
    if (!this.#flows.delete(key)) return;
    const caller = formatIp(flow.from.ip);
    const left = (this.#ofCaller.get(caller) ?? 1) - 1;
    if (left > 0) this.#ofCaller.set(caller, left);
    else this.#ofCaller.delete(caller);
    flow.socket.close();
  }

  #arm(): void {
    this.#sweep ??= this.#deps.clock.after(CARRIED_FLOW_IDLE_MS / 2, () => {
      this.#sweep = undefined;
      const idleSince = this.#deps.clock.now() - CARRIED_FLOW_IDLE_MS;
      for (const [key, flow] of this.#flows) if (flow.usedAt <= idleSince) this.#end(key, flow);
      if (this.#flows.size > 0) this.#arm();
    });
  }
}
