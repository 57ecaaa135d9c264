// UDP services: each client's address has a flow of its own to a target, for as long as it is used. Nothing is queued, so that no client waits
// for another, and a flood of invented addresses pushes out what nobody has answered, never what is in use.
import type { Clock, Timer } from '#lib/clock.ts';
import { type Endpoint, type OpenUdpFlow, sendRun, type UdpFlow } from '#lib/net.ts';
import { NetworkShares } from '#lib/network-shares.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { writeProxyHeader } from '#wire/proxy-protocol.ts';
import { UDP_FLOWS, UDP_FLOWS_PER_ADDRESS, UDP_SWEEP_MS } from '../constants.ts';
import { createIdSource } from '../http/request-id.ts';
import { admitStream, type AdmissionDeps, type Admitted, countAdmitted, endUnder, type Standing } from './admission.ts';
import type { Place } from './open-connections.ts';
import type { AnyStreamService, StreamTable, UdpService } from './services.ts';
import type { StreamMember, StreamTargets } from './targets.ts';
import { sameTrust, type Unlock } from './unlocks.ts';

export interface UdpFlowsDeps extends AdmissionDeps {
  readonly open: OpenUdpFlow;
  readonly openDirect: OpenUdpFlow;
  readonly targets: StreamTargets;
  readonly accessLog: (entry: AccessLogEntry) => void;
  readonly clock: Clock;
}

/** Sends a run back to a client, one datagram where `size` is its length; the bytes are valid only during the call. */
export type Reply = (run: Uint8Array, size: number, to: Endpoint) => void;

interface Flow extends Standing {
  readonly id: string;
  readonly service: UdpService;
  readonly client: Endpoint;
  /** Who brought it: the client, or a load balancer that speaks for it. */
  readonly via: Endpoint;
  /** Put before each datagram to the target. */
  readonly header: Buffer | undefined;
  /** Whose share it is of. */
  readonly network: string;
  /** What it is counted under at its service. */
  readonly place: Place;
  readonly admitted: Admitted;
  readonly member: StreamMember;
  readonly upstream: UdpFlow;
  readonly started: number;
  readonly wall: number;
  usedAt: number;
  open: boolean;
  /** The target has sent something: somebody is there on both sides. */
  answered: boolean;
  bytesUp: number;
  bytesDown: number;
}

export class UdpFlows {
  readonly #deps: UdpFlowsDeps;
  readonly #flows = new FlowTable();
  /** Those that nobody has answered, oldest first. */
  readonly #unanswered = new Set<Flow>();
  readonly #shares = new NetworkShares(UDP_FLOWS_PER_ADDRESS);
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

  /** A run from a client: datagrams back to back, each `size` bytes long, the last may be shorter. The bytes are valid only during the call. */
  datagrams(run: Uint8Array, size: number, client: Endpoint, service: UdpService, reply: Reply, via: Endpoint = client): void {
    const known = this.#flows.get(service.port, client);
    // Another way back may be somebody else's: only who brought the first datagram of a flow gets its answers.
    const flow = known === undefined ? this.#open(client, service, reply, via) : sameEndpoint(known.via, via) ? known : undefined;
    if (flow === undefined) {
      this.#dropped += Math.max(1, Math.ceil(run.length / Math.max(1, size)));
      return;
    }
    flow.usedAt = this.#deps.clock.now();
    flow.bytesUp += run.length;
    if (flow.header === undefined) sendRun(flow.upstream, run, size);
    else sendEach(flow.upstream, flow.header, run, size);
  }

  /** Ends what came in under a sign-in that has ended. */
  endUnlock(ended: Unlock): void {
    for (const flow of this.#flows) if (flow.unlock !== undefined && sameTrust(flow.unlock, ended)) this.#end(flow, 'session_revoked');
  }

  /** Ends what the table does not keep, and what would not be let in any more; `again` as for streams. */
  keep(table: StreamTable, again: (service: AnyStreamService) => boolean): void {
    for (const flow of this.#flows) {
      const reason = endUnder(table, flow, this.#deps.around, again);
      if (reason !== undefined) this.#end(flow, reason);
    }
  }

  close(): void {
    this.#closed = true;
    this.#sweep?.cancel();
    for (const flow of this.#flows) this.#end(flow, 'draining');
  }

  #open(client: Endpoint, service: UdpService, reply: Reply, via: Endpoint): Flow | undefined {
    const { clock } = this.#deps;
    if (this.#closed) return undefined;
    const admitted = admitStream(service, client.address, this.#deps);
    if ('refused' in admitted) return undefined;
    const { unlock } = admitted;
    const member = this.#deps.targets.choose(service, client.address, undefined);
    const target = member === undefined ? undefined : service.targets[member.target.index];
    if (member === undefined || target === undefined) return undefined;
    const counted = countAdmitted(service, client.address, unlock, this.#deps);
    if ('refused' in counted) return undefined;
    const { place } = counted;
    const network = this.#makeRoom(client);
    if (network === undefined) {
      this.#deps.opened.give(place);
      return undefined;
    }
    const open = service.direct ? this.#deps.openDirect : this.#deps.open;
    const received = (run: Uint8Array, size: number): void => {
      if (!flow.open) return;
      flow.usedAt = clock.now();
      flow.bytesDown += run.length;
      if (!flow.answered) {
        flow.answered = true;
        this.#unanswered.delete(flow);
        this.#deps.targets.succeeded(member);
      }
      reply(run, size, client);
    };
    const flow: Flow = {
      id: this.#ids.next(),
      service,
      letInBy: service,
      address: client.address,
      client,
      via,
      header: service.proxy ? headerFor(client, service.port) : undefined,
      share: member.target,
      member,
      network,
      place,
      unlock,
      admitted,
      upstream: open(
        { address: target.host, port: target.port },
        (bytes) => received(bytes, bytes.length),
        () => {
          this.#deps.targets.failed(service, member, 'unreachable');
          this.#end(flow, 'upstream_unreachable');
        },
        received,
      ),
      started: clock.now(),
      wall: clock.wall(),
      usedAt: clock.now(),
      open: true,
      answered: false,
      bytesUp: 0,
      bytesDown: 0,
    };
    member.health.inFlight++;
    this.#flows.add(flow);
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
    if (!flow.open) return;
    flow.open = false;
    this.#flows.delete(flow);
    this.#unanswered.delete(flow);
    this.#shares.give(flow.network);
    this.#deps.opened.give(flow.place);
    flow.member.health.inFlight--;
    flow.upstream.close();
    this.#record(flow, reason);
  }

  #arm(): void {
    this.#sweep ??= this.#deps.clock.after(UDP_SWEEP_MS, () => {
      this.#sweep = undefined;
      const now = this.#deps.clock.now();
      for (const flow of this.#flows) if (flow.usedAt + flow.service.idleMs <= now) this.#end(flow, 'idle');
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
      rule: flow.admitted.rule,
      observed: flow.admitted.observed,
    });
  }
}

/** A socket for any address does not say at which of them a datagram came: that is left at zeros, in the client's family. */
function headerFor(client: Endpoint, port: number): Buffer {
  return writeProxyHeader(2, client, { address: client.address.includes(':') ? '::' : '0.0.0.0', port }, { transport: 'udp' });
}

/** Where a datagram with its header is put together: the bytes are free again when the send returns. */
const scratch = Buffer.allocUnsafeSlow(65_535);

/** Each with the header before it, as any of them may be lost. One that does not fit then is lost. */
function sendEach(upstream: UdpFlow, header: Buffer, run: Uint8Array, size: number): void {
  const step = Math.max(1, size);
  scratch.set(header);
  for (let at = 0; at === 0 || at < run.length; at += step) {
    const datagram = run.subarray(at, at + step);
    if (header.length + datagram.length > maxDatagram) continue;
    scratch.set(datagram, header.length);
    upstream.send(scratch.subarray(0, header.length + datagram.length));
  }
}

/** Payload of UDP over IPv4. */
const maxDatagram = 65_507;

function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return a === b || (a.port === b.port && a.address === b.address);
}

/** Flows by the service's port and the client's two: looked up for each datagram, so nothing is made for it. */
class FlowTable {
  readonly #all = new Set<Flow>();
  readonly #ports = new Map<number, Map<string, Map<number, Flow>>>();

  get size(): number {
    return this.#all.size;
  }

  [Symbol.iterator](): Iterator<Flow> {
    return this.#all.values();
  }

  get(port: number, client: Endpoint): Flow | undefined {
    return this.#ports.get(port)?.get(client.address)?.get(client.port);
  }

  add(flow: Flow): void {
    this.#all.add(flow);
    const { service, client } = flow;
    this.#ports
      .getOrInsertComputed(service.port, () => new Map())
      .getOrInsertComputed(client.address, () => new Map())
      .set(client.port, flow);
  }

  delete(flow: Flow): void {
    this.#all.delete(flow);
    const { service, client } = flow;
    const addresses = this.#ports.get(service.port);
    const ports = addresses?.get(client.address);
    ports?.delete(client.port);
    if (ports?.size === 0) addresses?.delete(client.address);
    if (addresses?.size === 0) this.#ports.delete(service.port);
  }
}
