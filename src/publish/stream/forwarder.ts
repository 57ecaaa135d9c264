// From an accepted connection to a target of a TCP or TLS service: one decision, one way, one record. What passes is not looked at.
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '#lib/clock.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import { watchPeer } from '#lib/ffi-socket.ts';
import type { Logger } from '#lib/log.ts';
import type { Dial, DialTarget, Endpoint, Ends } from '#lib/net.ts';
import { NetworkShares } from '#lib/network-shares.ts';
import { resetStream, splice } from '#lib/splice.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { CredentialCheck, Identity } from '#model/identity.ts';
import type { ServiceId } from '#model/ids.ts';
import type { ClientHello } from '#wire/client-hello.ts';
import { writeProxyHeader } from '#wire/proxy-protocol.ts';
import { CERTIFICATE_ASK_MS, CONFIRM_MS, KEEP_ALIVE_PROBE_MS, PEER_UNHEARD_MS, STREAM_WATCH_MS, STREAMS, STREAMS_PER_ADDRESS } from '../constants.ts';
import type { Deadlined, Deadlines } from '../http/deadlines.ts';
import { createIdSource } from '../http/request-id.ts';
import { admitStream, type AdmissionDeps, countAdmitted, countIdentity, endUnder, judgeAs, type Standing } from './admission.ts';
import type { ClientCertificate } from '../tls/client-certificates.ts';
import type { HandshakeFault, Terminated } from '../tls/terminate.ts';
import type { Place } from './open-connections.ts';
import type { AnyStreamService, StreamService, StreamTable, Termination } from './services.ts';
import type { StreamMember, StreamTargets } from './targets.ts';
import { secureTarget, vectorsOf } from './target-tls.ts';
import { sameTrust, type Unlock } from './unlocks.ts';

export interface StreamForwarderDeps extends AdmissionDeps {
  readonly dial: Dial;
  readonly directDial: Dial;
  /** Ends TLS on a connection whose hello was read and put back. Never rejects; after a fault the socket is closed or closing. */
  readonly terminate: (
    socket: Socket,
    hello: ClientHello | undefined,
    termination: Termination,
  ) => Promise<Terminated | { readonly fault: HandshakeFault }>;
  /** Whose a certificate of the account's own authority is; left out, nobody's. Rejects where nobody can be asked. */
  readonly certificateHolder?:
    | ((fingerprint: string, service: ServiceId, address: string, signal: AbortSignal) => CredentialCheck | Promise<CredentialCheck>)
    | undefined;
  readonly accessLog: (entry: AccessLogEntry) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What a record begins with. */
interface Entry extends Pick<AccessLogEntry, 'id' | 'timestamp'> {
  rule: string | undefined;
  observed: readonly string[] | undefined;
  readonly started: number;
  identity: Identity | undefined;
  /** The subject of the certificate that the client has shown. */
  clientCertificate: string | undefined;
}

/**
 * One connection that is being forwarded. Its deadline is that of the dial at first, and then the moment from which its two ends are watched: of
 * the many that are over before, nothing has to be asked of the system.
 */
class Flow implements Deadlined, Standing {
  readonly service: StreamService;
  letInBy: AnyStreamService;
  readonly address: string;
  readonly socket: Socket;
  /** Under whose sign-in it came in, or whose certificate. */
  unlock: Unlock | undefined = undefined;
  /** Nobody knows yet who it is: a certificate has to say it. */
  unknown = false;
  /** When the holder of its certificate is asked for again; monotonic milliseconds. */
  confirmAt = 0;
  /** Which rule let it in or kept it out, and what was only observed. */
  rule: string | undefined = undefined;
  observed: readonly string[] | undefined = undefined;
  /** Whose share it is of. */
  network: string | undefined = undefined;
  /** What it is counted under at its service. */
  place: Place | undefined = undefined;
  upstream: Duplex | undefined = undefined;
  share: DialTarget | undefined = undefined;
  /** Why it was ended from here; undefined while nobody has. */
  cut: string | undefined = undefined;
  deadline: number;
  slot = -1;
  #dialling: AbortController | undefined = new AbortController();

  constructor(service: StreamService, socket: Socket, address: string, now: number) {
    this.service = service;
    this.letInBy = service;
    this.address = address;
    this.socket = socket;
    this.deadline = now + service.dialMs;
  }

  /** Aborts where the dial is not wanted any more. */
  get signal(): AbortSignal {
    return this.#dialling?.signal ?? AbortSignal.abort();
  }

  reached(upstream: Duplex, now: number): void {
    this.upstream = upstream;
    this.#dialling = undefined;
    this.deadline = now + STREAM_WATCH_MS;
  }

  expire(): void {
    this.deadline = Infinity;
    if (this.upstream === undefined) this.#dialling?.abort(new DOMException('the target was not reached in time', 'TimeoutError'));
    else for (const end of [this.socket, this.upstream]) if (end instanceof Socket) watchPeer(end, KEEP_ALIVE_PROBE_MS, PEER_UNHEARD_MS);
  }

  readonly giveUp = (): void => this.#dialling?.abort();
}

export class StreamForwarder {
  readonly #deps: StreamForwarderDeps;
  readonly #flows = new Set<Flow>();
  /** Those that came with a certificate of the account's own authority. */
  readonly #certified = new Set<Flow>();
  readonly #shares = new NetworkShares(STREAMS_PER_ADDRESS);
  readonly #ids = createIdSource();
  readonly #deadlines: Deadlines;
  readonly #targets: StreamTargets;
  #closed = false;
  #emptied: (() => void) | undefined;

  constructor(deps: StreamForwarderDeps, deadlines: Deadlines, targets: StreamTargets) {
    this.#deps = deps;
    this.#targets = targets;
    this.#deadlines = deadlines;
  }

  get open(): number {
    return this.#flows.size;
  }

  /** Takes an accepted socket over, bytes that were put back included; never throws. */
  handle(socket: Socket, service: StreamService, ends: Ends, hello?: ClientHello): void {
    socket.on('error', () => undefined);
    const flow = new Flow(service, socket, ends.remote.address, this.#deadlines.now());
    void this.#run(flow, ends, hello).catch((error: unknown) => {
      this.#deps.log.error('a stream failed', { service: service.domain, error: describeError(error) });
      socket.destroy();
    });
  }

  /** Ends what the table does not keep, and what would not be let in any more; `again` names the services that it is asked for though they are the same. */
  sweep(table: StreamTable, again: (service: AnyStreamService) => boolean): void {
    for (const flow of this.#flows) {
      const reason = endUnder(table, flow, this.#deps.around, again);
      if (reason !== undefined) this.#cut(flow, reason);
    }
  }

  /** Ends what came in under a sign-in that has ended. */
  endUnlock(ended: Unlock): number {
    return this.end(({ unlock }) => unlock !== undefined && sameTrust(unlock, ended), 'session_revoked');
  }

  /** Ends what came in under a trust that has ended at a service. */
  endTrust(trustKey: string, serviceId: ServiceId): number {
    return this.end(({ unlock }) => unlock?.trustKey === trustKey && unlock.serviceId === serviceId, 'session_revoked');
  }

  /** Asks again for the holders of certificates, now and then; most answers come from a cache. What is not trusted any more ends. */
  confirm(): void {
    const now = this.#deps.clock.now();
    for (const flow of this.#certified) {
      if (flow.confirmAt > now) continue;
      flow.confirmAt = now + CONFIRM_MS;
      void this.#holder(flow, flow.unlock?.trustKey ?? '').then((check) => {
        if (check === undefined || check.kind === 'denied') this.#cut(flow, 'session_revoked');
      });
    }
  }

  /** Undefined where nobody can be asked. Never rejects. */
  async #holder({ service, address }: Flow, fingerprint: string): Promise<CredentialCheck | undefined> {
    try {
      return await this.#deps.certificateHolder?.(fingerprint, service.id, address, AbortSignal.timeout(CERTIFICATE_ASK_MS));
    } catch (error) {
      this.#deps.log.error('whose a certificate is could not be asked', { service: service.domain, error: describeError(error) });
      return undefined;
    }
  }

  /** Lets in by the certificate that was shown, or says why not. A bad one lets nobody in, whoever has signed in at the page. */
  async #identify(flow: Flow, entry: Entry, certificate: ClientCertificate | undefined): Promise<string | undefined> {
    const { service, address } = flow;
    if (certificate === undefined) return flow.unknown ? 'not_signed_in' : undefined;
    const check = await this.#holder(flow, certificate.fingerprint);
    if (check === undefined) return 'auth_unavailable';
    if (check.kind === 'denied') return check.why === 'group_not_allowed' ? 'group_not_allowed' : 'credential_invalid';
    const { identity } = check;
    const unlock: Unlock = {
      serviceId: service.id,
      access: service.access,
      address,
      trustKey: certificate.fingerprint,
      identity,
      expiresAt: Number.POSITIVE_INFINITY,
      confirm: () => true, // never opened for its address: see `confirm` above
    };
    const { refused, rule, observed } = judgeAs(flow.letInBy, address, unlock, this.#deps.around);
    if (refused !== undefined) {
      if (!flow.unknown) return undefined;
      entry.identity = identity;
      entry.rule = rule;
      return refused;
    }
    if (!countIdentity(service, unlock, this.#deps)) return 'rate_limited';
    flow.unlock = unlock;
    flow.unknown = false;
    flow.confirmAt = this.#deps.clock.now() + CONFIRM_MS;
    this.#certified.add(flow);
    entry.identity = identity;
    entry.rule = rule;
    entry.observed = observed ?? entry.observed;
    return undefined;
  }

  /** Ends what the predicate names. */
  end(predicate: (flow: Flow) => boolean, reason: string): number {
    let ended = 0;
    for (const flow of this.#flows) {
      if (!predicate(flow)) continue;
      ended++;
      this.#cut(flow, reason);
    }
    return ended;
  }

  #cut(flow: Flow, reason: string): void {
    flow.cut = reason;
    flow.giveUp();
    flow.socket.resetAndDestroy();
    if (flow.upstream !== undefined) resetStream(flow.upstream);
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

  async #run(flow: Flow, { remote, local }: Ends, hello: ClientHello | undefined): Promise<void> {
    const { clock } = this.#deps;
    const { service, socket } = flow;
    const refused = this.#refusal(flow, remote);
    const { unlock, rule, observed } = flow;
    const started = clock.now();
    const entry: Entry = {
      id: this.#ids.next(),
      timestamp: clock.wall(),
      started,
      identity: unlock?.identity,
      rule,
      observed,
      clientCertificate: undefined,
    };
    if (refused !== undefined) {
      socket.destroy();
      return this.#record(entry, service, remote, refused, false, 0, 0);
    }
    this.#flows.add(flow);
    socket.once('close', flow.giveUp);
    let member: StreamMember | undefined;
    let dialled: Duplex;
    try {
      const tls = service.termination === undefined ? undefined : await this.#deps.terminate(socket, hello, service.termination);
      if (tls !== undefined && 'fault' in tls) {
        // A certificate authority that saw its answer is no visitor.
        if (tls.fault !== 'challenge') this.#record(entry, service, remote, flow.cut ?? `tls_${tls.fault}`, false, 0, 0);
        return;
      }
      const client = tls?.socket ?? socket;
      if (tls !== undefined) client.on('error', () => undefined);
      const shown = tls?.shown?.certificate;
      entry.clientCertificate = shown?.subject;
      if (takesCertificates(service)) {
        const unknown = await this.#identify(flow, entry, shown);
        if (unknown !== undefined || flow.cut !== undefined || flow.signal.aborted) {
          socket.destroy();
          const allowed = unknown === undefined && flow.cut === undefined;
          return this.#record(entry, service, remote, flow.cut ?? unknown ?? 'client_closed', allowed, 0, 0);
        }
      }
      if (tls !== undefined) flow.deadline = this.#deadlines.now() + service.dialMs;
      this.#deadlines.add(flow);
      ({ dialled, member } = await this.#dial(flow, remote));
      member.health.inFlight++;
      // Before the client's first byte: what the client itself sends as a header is only bytes to the target.
      if (service.proxy !== undefined) {
        const vectors = tls !== undefined && service.termination?.tellTarget === true ? vectorsOf(tls) : undefined;
        dialled.write(writeProxyHeader(service.proxy, remote, local, vectors === undefined ? {} : { vectors }));
      }
      const upstream =
        service.targetTls === undefined ? dialled : await secureTarget(dialled, service, member.target.host, tls, flow.signal, this.#deps.log);
      flow.reached(upstream, this.#deadlines.now());
      socket.off('close', flow.giveUp);
      if (flow.cut !== undefined) upstream.destroy();
      const spliced = splice(client, upstream, { idleMs: service.idleMs });
      // Paused where its first bytes were looked at.
      client.resume();
      const { forward, backward, error } = await spliced;
      // Agents accept before they dial: what they cannot reach breaks off without a byte.
      if (backward > 0 || error === undefined) this.#targets.succeeded(member);
      else if (upstream.errored !== null && flow.cut === undefined) this.#targets.failed(service, member, 'broken without an answer');
      this.#record(entry, service, remote, flow.cut ?? (error === undefined ? 'done' : 'broken'), true, forward, backward);
    } catch (error) {
      socket.destroy();
      if (member !== undefined && flow.cut === undefined && errorCode(error) === 'PUBLISH_UPSTREAM_TLS') this.#targets.failed(service, member, 'tls');
      this.#record(entry, service, remote, flow.cut ?? dialReason(error), true, 0, 0);
    } finally {
      if (member !== undefined) member.health.inFlight--;
      this.#deadlines.remove(flow);
      this.#flows.delete(flow);
      this.#certified.delete(flow);
      if (this.#flows.size === 0) this.#emptied?.();
      if (flow.network !== undefined) this.#shares.give(flow.network);
      if (flow.place !== undefined) this.#deps.opened.give(flow.place);
    }
  }

  /** Why the connection is not forwarded; one that is has its share afterwards. */
  #refusal(flow: Flow, remote: Endpoint): string | undefined {
    const { service } = flow;
    const { log } = this.#deps;
    if (this.#closed) return 'draining';
    if (service.closed !== undefined) log.debug('a stream was refused', { service: service.domain, reason: service.closed });
    const admitted = admitStream(service, remote.address, this.#deps);
    flow.rule = admitted.rule;
    if ('refused' in admitted) {
      if (admitted.refused !== 'not_signed_in' || !takesCertificates(service)) return admitted.refused;
      flow.unknown = true;
    } else {
      flow.unlock = admitted.unlock;
      flow.observed = admitted.observed;
    }
    const network = this.#flows.size >= STREAMS ? undefined : this.#shares.take(remote.address);
    if (network === undefined) return 'too_many_streams';
    const counted = countAdmitted(service, remote.address, flow.unlock, this.#deps);
    if ('refused' in counted) {
      this.#shares.give(network);
      return counted.refused;
    }
    flow.network = network;
    flow.place = counted.place;
    return undefined;
  }

  /** A target that cannot be reached is passed over while there is time. */
  async #dial(flow: Flow, { address }: Endpoint): Promise<{ readonly dialled: Duplex; readonly member: StreamMember }> {
    const { service, signal } = flow;
    const dial = service.direct ? this.#deps.directDial : this.#deps.dial;
    let tried: Set<StreamMember> | undefined;
    let failure: unknown;
    for (let member = this.#targets.choose(service, address, tried); member !== undefined && !signal.aborted;) {
      const target = service.targets[member.target.index];
      if (target === undefined) break;
      flow.share = member.target;
      try {
        return { dialled: await dial(target, { signal }), member };
      } catch (error) {
        failure = error;
        // Who gives up has learned nothing of the target.
        const gone = signal.aborted && !isTimeout(signal.reason);
        if (!gone) this.#targets.failed(service, member, dialReason(error).replace('upstream_', ''));
        this.#deps.log.debug('a target could not be reached', { service: service.domain, error: describeError(error) });
      }
      tried = (tried ?? new Set()).add(member);
      member = this.#targets.choose(service, address, tried);
    }
    throw failure ?? (signal.aborted ? signal.reason : new TypeError('the service has no target'));
  }

  #record(entry: Entry, service: StreamService, remote: Endpoint, reason: string, allowed: boolean, bytesUp: number, bytesDown: number): void {
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
      rule: entry.rule,
      observed: entry.observed,
      ...(entry.clientCertificate === undefined ? {} : { clientCertificate: entry.clientCertificate }),
    });
  }
}

/** Whether a certificate of the client says who it is. */
function takesCertificates({ termination }: StreamService): boolean {
  const clients = termination?.clients;
  return clients !== undefined && !('problem' in clients) && clients.account;
}

function dialReason(error: unknown): string {
  switch (errorCode(error)) {
    case 'ECONNREFUSED':
    case 'ECONNRESET':
      return 'upstream_refused';
    case 'ETIMEDOUT':
      return 'upstream_timeout';
    case 'PUBLISH_UPSTREAM_TLS':
      return 'upstream_tls';
    case 'ABORT_ERR':
      return 'client_closed';
    case undefined:
    default:
      return isTimeout(error) ? 'upstream_timeout' : 'upstream_unreachable';
  }
}

function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'TimeoutError';
}
