// Which TCP, TLS and UDP services there are, and which of them a connection or datagram means: an immutable table, made anew from all mappings.
import type { SecureContext } from 'node:tls';
import type { DialTarget } from '#lib/net.ts';
import type { AccountId, ServiceId } from '#model/ids.ts';
import type { ServiceMapping } from '#model/service.ts';
import type { Ejection } from '#model/web.ts';
import { policyProblem } from '../access/proofs.ts';
import { type ConnectCheck, listenPorts, type StreamBalancing, type StreamLimits, targetPortOf } from '#model/stream.ts';
import { accessKey, compileRestrictions, homeKey, type CompiledRestrictions } from '../access/restrictions.ts';
import { CompiledPolicy } from '../access/rules/policy.ts';
import { type CompiledLimit, compileLimits } from '../access/rules/rate-limits.ts';
import { STREAM_DIAL_MS, STREAM_IDLE_MS, UDP_IDLE_MS } from '../constants.ts';
import { compileClientRule, type CompiledClientRule } from '../tls/client-certificates.ts';
import { upstreamContext } from '../http/upstream-tls.ts';
import type { TlsTerms } from '../http/upstream-target.ts';
import { canonicalDomain, canonicalHost, wildcardOf } from '../http/host.ts';

export interface AnyStreamService {
  readonly id: ServiceId;
  readonly accountId: AccountId;
  /** Canonical. */
  readonly domain: string;
  /** One of its public ports: the table has the service once for each. */
  readonly port: number;
  /** Where that port leads, for each of `shares`. */
  readonly targets: readonly DialTarget[];
  /** The targets as the listen port leads to them, and how they share the load. */
  readonly shares: readonly (DialTarget & { readonly weight: number })[];
  readonly balancing: StreamBalancing;
  /** Each source's address has a target of its own. */
  readonly sticky: boolean;
  readonly ejection: Ejection;
  readonly slowStartMs: number;
  readonly healthCheck: ConnectCheck | undefined;
  /** The PROXY header that checks begin with; undefined for none. */
  readonly checkProxy: 1 | 2 | undefined;
  readonly direct: boolean;
  readonly idleMs: number;
  readonly restrictions: CompiledRestrictions;
  readonly policy: CompiledPolicy;
  readonly limits: readonly CompiledLimit[];
  /** Of what is open at once. */
  readonly openLimits: StreamLimits;
  /** Why nobody may pass, whoever it is; undefined where restrictions and policy decide. */
  readonly closed: string | undefined;
  /** Whoever was let in to one stays with another version only where this is equal. */
  readonly home: string;
  /** Equal for two versions that let the same in, as at the page where people sign in for it. */
  readonly access: string;
  /** Equal for two versions that lead the same way: what is open to a target that is still there stays open, where access lets it. */
  readonly fingerprint: string;
}

export interface StreamService extends AnyStreamService {
  readonly mode: 'tcp' | 'tls';
  /** The version of the PROXY header that targets are told the client's address with; undefined for none. */
  readonly proxy: 1 | 2 | undefined;
  readonly dialMs: number;
  /** TLS ends here; undefined passes it on. */
  readonly termination: Termination | undefined;
  /** TLS to the targets; undefined for plain TCP. */
  readonly targetTls: TargetTls | undefined;
}

export interface Termination {
  /** ALPN's wire form; undefined agrees to nothing. */
  readonly protocols: Buffer | undefined;
  readonly clients: CompiledClientRule | undefined;
  readonly tellTarget: boolean;
}

export interface TargetTls {
  readonly terms: TlsTerms;
  /** Made with the first connection; it throws where the terms cannot be used. */
  readonly context: () => SecureContext;
}

export interface UdpService extends AnyStreamService {
  readonly mode: 'udp';
  /** Whether each datagram tells the target, in a PROXY header of version 2, whose it is. */
  readonly proxy: boolean;
}

/** What one port carries: services by the name that the client asks for (or `*.` and what is behind its first label), and one for everybody else. */
export interface StreamPort {
  readonly names: ReadonlyMap<string, StreamService>;
  readonly rest: StreamService | undefined;
}

export class StreamTable {
  readonly ports: ReadonlyMap<number, StreamPort>;
  readonly udp: ReadonlyMap<number, UdpService>;
  readonly #byId: ReadonlyMap<ServiceId, AnyStreamService>;

  constructor(ports: ReadonlyMap<number, StreamPort>, udp: ReadonlyMap<number, UdpService>, byId: ReadonlyMap<ServiceId, AnyStreamService>) {
    this.ports = ports;
    this.udp = udp;
    this.#byId = byId;
  }

  has(id: ServiceId): boolean {
    return this.#byId.has(id);
  }

  /** Each service once. */
  services(): Iterable<AnyStreamService> {
    return this.#byId.values();
  }

  service(id: ServiceId): AnyStreamService | undefined {
    return this.#byId.get(id);
  }

  /** The version of `service` under which what is open leads the same way; undefined where there is none. */
  keeps(service: AnyStreamService): AnyStreamService | undefined {
    const now = this.#byId.get(service.id);
    return now?.fingerprint === service.fingerprint ? now : undefined;
  }
}

/** The service that has that name at a port, exactly or by its wildcard. */
export function namedService({ names }: StreamPort, serverName: string | undefined): StreamService | undefined {
  return serverName === undefined ? undefined : (names.get(serverName) ?? names.get(wildcardOf(serverName)));
}

export const noStreams = new StreamTable(new Map(), new Map(), new Map());

/**
 * Builds the table from all mappings but those of web services. What cannot be served is told to `onProblem`. A tls service without a port is on
 * the one of HTTPS.
 */
export function buildStreamTable(
  mappings: Iterable<ServiceMapping>,
  onProblem: (id: ServiceId, problem: string) => void,
  httpsPort?: number,
): StreamTable {
  const ports = new Map<number, { names: Map<string, StreamService>; rest: StreamService | undefined }>();
  const udp = new Map<number, UdpService>();
  const byId = new Map<ServiceId, AnyStreamService>();
  for (const mapping of mappings) {
    if (mapping.mode === 'http') continue;
    const common = compile(mapping, httpsPort);
    if (typeof common === 'string') {
      onProblem(mapping.id, common);
      continue;
    }
    const views = portViews(mapping, common);
    if (mapping.mode === 'udp') {
      for (const view of views) {
        const holder = udp.get(view.port);
        const options = mapping.paths[0]?.options;
        if (holder === undefined) {
          udp.set(view.port, { ...view, mode: 'udp', proxy: options?.proxyProtocol === true, idleMs: options?.sessionIdleTimeoutMs ?? UDP_IDLE_MS });
        } else onProblem(mapping.id, `port ${view.port} is ${holder.domain}'s already`);
        if (holder === undefined) byId.set(common.id, common);
      }
      continue;
    }
    const options = mapping.paths[0]?.options;
    const dialMs = Math.min(options?.requestTimeoutMs ?? STREAM_DIAL_MS, STREAM_DIAL_MS);
    const proxy = options?.proxyProtocol === true ? options.proxyProtocolVersion : undefined;
    for (const view of views) {
      const service: StreamService = {
        ...view,
        mode: mapping.mode,
        dialMs,
        proxy,
        termination: terminationOf(mapping),
        targetTls: targetTlsOf(mapping),
      };
      let port = ports.get(service.port);
      if (port === undefined) ports.set(service.port, (port = { names: new Map(), rest: undefined }));
      const holder = service.mode === 'tls' ? port.names.get(service.domain) : port.rest;
      if (holder !== undefined) {
        onProblem(mapping.id, `port ${service.port} is ${holder.domain}'s already`);
        continue;
      }
      if (service.mode === 'tls') port.names.set(service.domain, service);
      else port.rest = service;
      byId.set(service.id, service);
    }
  }
  return new StreamTable(ports, udp, byId);
}

function terminationOf({ stream: { termination } }: ServiceMapping): Termination | undefined {
  if (termination === undefined) return undefined;
  const { alpn, clientCertificate, tellTarget } = termination;
  return {
    protocols: alpn.length === 0 ? undefined : Buffer.concat(alpn.map((name) => Buffer.from(`${String.fromCharCode(name.length)}${name}`, 'latin1'))),
    clients: clientCertificate && compileClientRule(clientCertificate),
    tellTarget,
  };
}

function targetTlsOf({ paths }: ServiceMapping): TargetTls | undefined {
  const [path] = paths;
  if (path?.targets[0]?.protocol !== 'tls') return undefined;
  const terms = { ...path.options.tls, skipVerify: path.options.skipTlsVerify };
  let context: SecureContext | undefined;
  return { terms, context: () => (context ??= upstreamContext(terms, undefined)) };
}

/** The service at each of its ports, with where that leads. */
function portViews<Service extends AnyStreamService>({ listenPort = 0, stream, paths }: ServiceMapping, service: Service): readonly Service[] {
  if (stream.portRanges.length === 0) return [service];
  const targets = paths[0]?.targets ?? [];
  return listenPorts(listenPort, stream.portRanges).map((port) => ({
    ...service,
    port,
    targets: targets.map((target) => ({ host: target.host, port: targetPortOf(port, listenPort, target.port, stream.portRanges) })),
  }));
}

function compile(mapping: ServiceMapping, httpsPort: number | undefined): AnyStreamService | string {
  const domain = mapping.mode === 'tls' ? canonicalDomain(mapping.domain) : canonicalHost(mapping.domain);
  const [path] = mapping.paths;
  if (domain === undefined) return `${mapping.domain} is not a host name`;
  const port = mapping.listenPort ?? (mapping.mode === 'tls' ? httpsPort : undefined);
  if (port === undefined) return 'it has no port';
  if (path === undefined) return 'it has no target';
  const { authToken: _token, access, restrictions: _restrictions, private: _private, paths: _paths, stream, ...lasting } = mapping;
  const { options, targets } = path;
  const { weight: _weight, ...way } = options;
  return {
    id: mapping.id,
    accountId: mapping.accountId,
    domain,
    port,
    targets: targets.map(({ host, port }) => ({ host, port })),
    shares: targets.map(({ host, port, weight }) => ({ host, port, weight })),
    balancing: stream.balancing,
    sticky: stream.balancing.sticky === 'address',
    ejection: stream.ejection,
    slowStartMs: stream.slowStartMs,
    healthCheck: stream.healthCheck,
    checkProxy: options.proxyProtocol ? options.proxyProtocolVersion : undefined,
    direct: options.directUpstream,
    idleMs: options.sessionIdleTimeoutMs ?? STREAM_IDLE_MS,
    restrictions: compileRestrictions(mapping.restrictions),
    policy: new CompiledPolicy(mapping.mode, access),
    limits: compileLimits(mapping.id, access.rateLimits),
    openLimits: stream.limits,
    closed: streamRefusal(mapping),
    home: homeKey(mapping, domain),
    access: accessKey(mapping, domain),
    fingerprint: JSON.stringify([lasting, way, stream.portRanges, stream.termination, targets[0]?.protocol]),
  };
}

/** Why nobody gets through to a stream service, whoever it is: what cannot be checked is not let through. */
export function streamRefusal({ mode, access, private: isPrivate, paths, stream }: ServiceMapping): string | undefined {
  const [path] = paths;
  const clients = stream.termination?.clientCertificate && compileClientRule(stream.termination.clientCertificate);
  if (clients !== undefined && 'problem' in clients) return clients.problem;
  if (path === undefined) return 'the service has no enabled target';
  const problem = policyProblem(access, stream.termination?.clientCertificate);
  if (problem !== undefined) return problem;
  if (isPrivate) return 'private services are not served by this version of the gateway';
  const { proxyProtocol, proxyProtocolVersion } = path.options;
  return mode === 'udp' && proxyProtocol && proxyProtocolVersion === 1 ? 'version 1 of the PROXY protocol cannot speak of UDP' : undefined;
}
