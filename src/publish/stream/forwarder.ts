// From an accepted connection to a target of a TCP or TLS service: one decision, one way, one record. What passes is not looked at.
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '#lib/clock.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import { parseIp, unmapIp } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import type { Dial, DialTarget, Endpoint, Ends } from '#lib/net.ts';
import { NetworkShares } from '#lib/network-shares.ts';
import { splice } from '#lib/splice.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { Identity } from '#model/identity.ts';
import type { ServiceId } from '#model/ids.ts';
import { writeProxyHeader } from '#wire/proxy-protocol.ts';
import { judgeAddress } from '../access/restrictions.ts';
import { KEEP_ALIVE_PROBE_MS, STREAMS, STREAMS_PER_ADDRESS } from '../constants.ts';
import type { Deadlined, Deadlines } from '../http/deadlines.ts';
import { createIdSource } from '../http/request-id.ts';
import type { StreamService, StreamTable } from './services.ts';
import { sameTrust, type Unlock, type Unlocks } from './unlocks.ts';

export interface StreamForwarderDeps {
  readonly dial: Dial;
  readonly directDial: Dial;
  /** Who has signed in for which service, from where. */
  readonly unlocks: Unlocks;
  readonly accessLog: (entry: AccessLogEntry) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** One connection that is being forwarded. Its deadline is that of the dial. */
class Flow implements Deadlined {
  readonly service: StreamService;
  readonly socket: Socket;
  /** Under whose sign-in it came in. */
  unlock: Unlock | undefined = undefined;
  /** Whose share it is of. */
  network: string | undefined = undefined;
  upstream: Duplex | undefined = undefined;
  /** Why it was ended from here; undefined while nobody has. */
  cut: string | undefined = undefined;
  deadline: number;
  slot = -1;
  readonly #abort = new AbortController();

  constructor(service: StreamService, socket: Socket, now: number) {
    this.service = service;
    this.socket = socket;
    this.deadline = now + service.dialMs;
  }

  /** Aborts where the dial is not wanted any more. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  expire(): void {
    this.deadline = Infinity;
    this.#abort.abort(new DOMException('the target was not reached in time', 'TimeoutError'));
  }

  readonly giveUp = (): void => this.#abort.abort();
}

export class StreamForwarder {
  readonly #deps: StreamForwarderDeps;
  readonly #flows = new Set<Flow>();
  readonly #shares = new NetworkShares(STREAMS_PER_ADDRESS);
  readonly #next = new Map<ServiceId, number>();
  readonly #ids = createIdSource();
  readonly #deadlines: Deadlines;
  #closed = false;
  #emptied: (() => void) | undefined;

  constructor(deps: StreamForwarderDeps, deadlines: Deadlines) {
    this.#deps = deps;
    this.#deadlines = deadlines;
  }

  get open(): number {
    return this.#flows.size;
  }

  /** Takes an accepted socket over, bytes that were put back included; never throws. */
  handle(socket: Socket, service: StreamService, ends: Ends): void {
    socket.on('error', () => undefined);
    const flow = new Flow(service, socket, this.#deadlines.now());
    void this.#run(flow, ends).catch((error: unknown) => {
      this.#deps.log.error('a stream failed', { service: service.domain, error: describeError(error) });
      socket.destroy();
    });
  }

  /** Ends what the table does not keep; returns how many. */
  sweep(table: StreamTable): number {
    for (const id of this.#next.keys()) if (!table.has(id)) this.#next.delete(id);
    return this.end(({ service }) => !table.keeps(service), 'service_changed');
  }

  /** Ends what came in under a sign-in that has ended. */
  endUnlock(ended: Unlock): number {
    return this.end(({ unlock }) => unlock !== undefined && sameTrust(unlock, ended), 'session_revoked');
  }

  /** Ends what the predicate names. */
  end(predicate: (flow: Flow) => boolean, reason: string): number {
    let ended = 0;
    for (const flow of this.#flows) {
      if (!predicate(flow)) continue;
      ended++;
      flow.cut = reason;
      flow.giveUp();
      flow.socket.resetAndDestroy();
      flow.upstream?.destroy();
    }
    return ended;
  }

  /** Takes nothing new; resolves when the last stream has ended, or at the deadline. */
  async drain(deadlineMs: number): Promise<void> {
    this.#closed = true;
    if (this.#flows.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = this.#deps.clock.after(deadlineMs, resolve);
      this.#emptied = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  close(): void {
    this.#closed = true;
    this.end(() => true, 'draining');
  }

  async #run(flow: Flow, { remote, local }: Ends): Promise<void> {
    const { clock } = this.#deps;
    const { service, socket } = flow;
    const refused = this.#refusal(flow, remote);
    const entry = { id: this.#ids.next(), timestamp: clock.wall(), started: clock.now(), identity: flow.unlock?.identity };
    if (refused !== undefined) {
      socket.destroy();
      return this.#record(entry, service, remote, refused, false, 0, 0);
    }
    this.#flows.add(flow);
    socket.once('close', flow.giveUp);
    socket.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
    this.#deadlines.add(flow);
    try {
      flow.upstream = await this.#dial(service, flow.signal);
      this.#deadlines.remove(flow);
      socket.off('close', flow.giveUp);
      if (flow.cut !== undefined) flow.upstream.destroy();
      // Before the client's first byte: what the client itself sends as a header is only bytes to the target.
      if (service.proxy !== undefined) flow.upstream.write(writeProxyHeader(service.proxy, remote, local));
      const spliced = splice(socket, flow.upstream, { idleMs: service.idleMs });
      // Paused where its first bytes were looked at.
      socket.resume();
      const { forward, backward, error } = await spliced;
      this.#record(entry, service, remote, flow.cut ?? (error === undefined ? 'done' : 'broken'), true, forward, backward);
    } catch (error) {
      socket.destroy();
      this.#record(entry, service, remote, flow.cut ?? dialReason(error), true, 0, 0);
    } finally {
      this.#deadlines.remove(flow);
      this.#flows.delete(flow);
      if (this.#flows.size === 0) this.#emptied?.();
      if (flow.network !== undefined) this.#shares.give(flow.network);
    }
  }

  /** Why the connection is not forwarded; one that is has its share afterwards. */
  #refusal(flow: Flow, remote: Endpoint): string | undefined {
    const { service } = flow;
    const { log } = this.#deps;
    if (this.#closed) return 'draining';
    if (service.closed !== undefined) {
      log.debug('a stream was refused', { service: service.domain, reason: service.closed });
      return 'auth_unsupported';
    }
    const ip = parseIp(remote.address);
    const denied = judgeAddress(service.restrictions, ip === undefined ? undefined : unmapIp(ip));
    if (denied !== undefined) return denied.reason;
    if (service.signIn) {
      flow.unlock = this.#deps.unlocks.find(service, remote.address);
      if (flow.unlock === undefined) return 'not_signed_in';
    }
    flow.network = this.#flows.size >= STREAMS ? undefined : this.#shares.take(remote.address);
    return flow.network === undefined ? 'too_many_streams' : undefined;
  }

  /** The targets take turns; one that cannot be reached is passed over while there is time. */
  async #dial(service: StreamService, signal: AbortSignal): Promise<Duplex> {
    const dial = service.direct ? this.#deps.directDial : this.#deps.dial;
    const { targets } = service;
    const first = this.#next.get(service.id) ?? 0;
    this.#next.set(service.id, (first + 1) % targets.length);
    let failure: unknown;
    for (let i = 0; i < targets.length && !signal.aborted; i++) {
      const target = targets[(first + i) % targets.length] as DialTarget;
      try {
        return await dial(target, { signal });
      } catch (error) {
        failure = error;
        this.#deps.log.debug('a target could not be reached', { service: service.domain, error: describeError(error) });
      }
    }
    throw failure ?? signal.reason;
  }

  #record(
    entry: { readonly id: string; readonly timestamp: number; readonly started: number; readonly identity: Identity | undefined },
    service: StreamService,
    remote: Endpoint,
    reason: string,
    allowed: boolean,
    bytesUp: number,
    bytesDown: number,
  ): void {
    this.#deps.accessLog({
      id: entry.id,
      serviceId: service.id,
      timestamp: entry.timestamp,
      protocol: service.mode,
      method: '',
      host: service.domain,
      path: '',
      durationMs: Math.round(this.#deps.clock.now() - entry.started),
      status: 0,
      sourceIp: remote.address,
      userId: entry.identity?.userId ?? '',
      authMethod: entry.identity?.method ?? '',
      authSuccess: allowed,
      bytesUp,
      bytesDown,
      reason,
    });
  }
}

function dialReason(error: unknown): string {
  switch (errorCode(error)) {
    case 'ECONNREFUSED':
    case 'ECONNRESET':
      return 'upstream_refused';
    case 'ETIMEDOUT':
      return 'upstream_timeout';
    case 'ABORT_ERR':
      return 'client_closed';
    case undefined:
    default:
      return error instanceof DOMException && error.name === 'TimeoutError' ? 'upstream_timeout' : 'upstream_unreachable';
  }
}
