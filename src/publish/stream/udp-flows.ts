// UDP services: each client's address has a flow of its own to a target, for as long as it is used. Nothing is queued, so that no client waits
// for another, and a flood of invented addresses pushes out what nobody has answered, never what is in use.
import type { Clock, Timer } from '#lib/clock.ts';
import { parseIp, unmapIp } from '#lib/ip.ts';
import type { Endpoint, OpenUdpFlow, UdpFlow } from '#lib/net.ts';
import { NetworkShares } from '#lib/network-shares.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { ServiceId } from '#model/ids.ts';
import { judgeAddress } from '../access/restrictions.ts';
import { UDP_FLOWS, UDP_FLOWS_PER_ADDRESS, UDP_SWEEP_MS } from '../constants.ts';
import { createIdSource } from '../http/request-id.ts';
import type { StreamTable, UdpService } from './services.ts';
import { sameTrust, type Unlock, type Unlocks } from './unlocks.ts';

export interface UdpFlowsDeps {
  readonly open: OpenUdpFlow;
  readonly openDirect: OpenUdpFlow;
  readonly unlocks: Unlocks;
  readonly accessLog: (entry: AccessLogEntry) => void;
  readonly clock: Clock;
}

/** Sends a datagram back to a client; the bytes are valid only during the call. */
export type Reply = (bytes: Uint8Array, to: Endpoint) => void;

interface Flow {
  readonly key: string;
  readonly id: string;
  readonly service: UdpService;
  readonly client: Endpoint;
  /** Whose share it is of. */
  readonly network: string;
  /** Under whose sign-in it was opened. */
  readonly unlock: Unlock | undefined;
  readonly upstream: UdpFlow;
  readonly started: number;
  readonly wall: number;
  usedAt: number;
  /** The target has sent something: somebody is there on both sides. */
  answered: boolean;
  bytesUp: number;
  bytesDown: number;
}

export class UdpFlows {
  readonly #deps: UdpFlowsDeps;
  readonly #flows = new Map<string, Flow>();
  /** Those that nobody has answered, oldest first. */
  readonly #unanswered = new Set<Flow>();
  readonly #shares = new NetworkShares(UDP_FLOWS_PER_ADDRESS);
  readonly #next = new Map<ServiceId, number>();
  readonly #ids = createIdSource();
  #sweep: Timer | undefined;
  #dropped = 0;
  #closed = false;

  constructor(deps: UdpFlowsDeps) {
    this.#deps = deps;
  }

  /** Flows that are open, and datagrams that found no room or were not let in. */
  get counts(): { readonly open: number; readonly dropped: number } {
    return { open: this.#flows.size, dropped: this.#dropped };
  }

  /** A datagram from a client; the bytes are valid only during the call. */
  datagram(bytes: Uint8Array, client: Endpoint, service: UdpService, reply: Reply): void {
    const key = `${service.port} ${client.port} ${client.address}`;
    const flow = this.#flows.get(key) ?? this.#open(key, client, service, reply);
    if (flow === undefined) {
      this.#dropped++;
      return;
    }
    flow.usedAt = this.#deps.clock.now();
    flow.bytesUp += bytes.length;
    flow.upstream.send(bytes);
  }

  /** Ends what came in under a sign-in that has ended. */
  endUnlock(ended: Unlock): void {
    for (const flow of this.#flows.values()) if (flow.unlock !== undefined && sameTrust(flow.unlock, ended)) this.#end(flow, 'session_revoked');
  }

  /** Ends what the table does not keep. */
  keep(table: StreamTable): void {
    for (const id of this.#next.keys()) if (!table.has(id)) this.#next.delete(id);
    for (const flow of this.#flows.values()) if (!table.keeps(flow.service)) this.#end(flow, 'service_changed');
  }

  close(): void {
    this.#closed = true;
    this.#sweep?.cancel();
    for (const flow of this.#flows.values()) this.#end(flow, 'draining');
  }

  #open(key: string, client: Endpoint, service: UdpService, reply: Reply): Flow | undefined {
    const { clock } = this.#deps;
    const ip = parseIp(client.address);
    const denied = service.closed !== undefined || judgeAddress(service.restrictions, ip === undefined ? undefined : unmapIp(ip)) !== undefined;
    if (denied || this.#closed) return undefined;
    const unlock = service.signIn ? this.#deps.unlocks.find(service, client.address) : undefined;
    if (service.signIn && unlock === undefined) return undefined;
    const turn = this.#next.get(service.id) ?? 0;
    const target = service.targets[turn % service.targets.length];
    if (target === undefined) return undefined;
    const network = this.#makeRoom(client);
    if (network === undefined) return undefined;
    this.#next.set(service.id, (turn + 1) % service.targets.length);
    const open = service.direct ? this.#deps.openDirect : this.#deps.open;
    const flow: Flow = {
      key,
      id: this.#ids.next(),
      service,
      client,
      network,
      unlock,
      upstream: open(
        { address: target.host, port: target.port },
        (bytes) => {
          if (this.#flows.get(key) !== flow) return;
          flow.usedAt = clock.now();
          flow.bytesDown += bytes.length;
          if (!flow.answered) {
            flow.answered = true;
            this.#unanswered.delete(flow);
          }
          reply(bytes, client);
        },
        () => this.#end(flow, 'upstream_unreachable'),
      ),
      started: clock.now(),
      wall: clock.wall(),
      usedAt: clock.now(),
      answered: false,
      bytesUp: 0,
      bytesDown: 0,
    };
    this.#flows.set(key, flow);
    this.#unanswered.add(flow);
    this.#arm();
    return flow;
  }

  /** A place for a flow of the client, and the network whose share it is of; undefined where there is none. */
  #makeRoom(client: Endpoint): string | undefined {
    const [oldest] = this.#flows.size >= UDP_FLOWS ? this.#unanswered : [];
    if (this.#flows.size >= UDP_FLOWS && oldest === undefined) return undefined;
    const network = this.#shares.take(client.address);
    if (network !== undefined && oldest !== undefined) this.#end(oldest, 'too_many_streams');
    return network;
  }

  #end(flow: Flow, reason: string): void {
    if (this.#flows.get(flow.key) !== flow) return;
    this.#flows.delete(flow.key);
    this.#unanswered.delete(flow);
    this.#shares.give(flow.network);
    flow.upstream.close();
    this.#record(flow, reason);
  }

  #arm(): void {
    this.#sweep ??= this.#deps.clock.after(UDP_SWEEP_MS, () => {
      this.#sweep = undefined;
      const now = this.#deps.clock.now();
      for (const flow of this.#flows.values()) if (flow.usedAt + flow.service.idleMs <= now) this.#end(flow, 'idle');
      if (this.#flows.size > 0 && !this.#closed) this.#arm();
    });
  }

  #record(flow: Flow, reason: string): void {
    this.#deps.accessLog({
      id: flow.id,
      serviceId: flow.service.id,
      timestamp: flow.wall,
      protocol: 'udp',
      method: '',
      host: flow.service.domain,
      path: '',
      durationMs: Math.round(this.#deps.clock.now() - flow.started),
      status: 0,
      sourceIp: flow.client.address,
      userId: flow.unlock?.identity.userId ?? '',
      authMethod: flow.unlock?.identity.method ?? '',
      authSuccess: true,
      bytesUp: flow.bytesUp,
      bytesDown: flow.bytesDown,
      reason,
    });
  }
}
