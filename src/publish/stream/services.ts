// Which TCP and TLS services there are, and which of them a connection means: an immutable table, made anew from all mappings.
import type { DialTarget } from '#lib/net.ts';
import type { AccountId, ServiceId } from '#model/ids.ts';
import type { ServiceMapping } from '#model/service.ts';
import { compileRestrictions, type CompiledRestrictions } from '../access/restrictions.ts';
import { STREAM_DIAL_MS, STREAM_IDLE_MS } from '../constants.ts';
import { canonicalHost } from '../http/host.ts';

export interface StreamService {
  readonly id: ServiceId;
  readonly accountId: AccountId;
  /** Canonical. */
  readonly domain: string;
  readonly mode: 'tcp' | 'tls';
  readonly port: number;
  readonly targets: readonly DialTarget[];
  readonly direct: boolean;
  readonly dialMs: number;
  readonly idleMs: number;
  readonly restrictions: CompiledRestrictions;
  /** Why nobody may pass, whoever it is; undefined where the restrictions alone decide. */
  readonly closed: string | undefined;
  /** Equal for two versions whose targets and access are the same: what is open then stays open. */
  readonly fingerprint: string;
}

/** What one port carries: services by the name that the client asks for, and one for everybody else. */
export interface StreamPort {
  readonly names: ReadonlyMap<string, StreamService>;
  readonly rest: StreamService | undefined;
}

export class StreamTable {
  readonly ports: ReadonlyMap<number, StreamPort>;
  readonly #byId: ReadonlyMap<ServiceId, StreamService>;

  constructor(ports: ReadonlyMap<number, StreamPort>, byId: ReadonlyMap<ServiceId, StreamService>) {
    this.ports = ports;
    this.#byId = byId;
  }

  /** Whether an open stream of `service` may stay open under this table. */
  keeps(service: StreamService): boolean {
    return this.#byId.get(service.id)?.fingerprint === service.fingerprint;
  }
}

export const noStreams = new StreamTable(new Map(), new Map());

/** Builds the table from all mappings of the modes tcp and tls. What cannot be served is told to `onProblem`. */
export function buildStreamTable(mappings: Iterable<ServiceMapping>, onProblem: (id: ServiceId, problem: string) => void): StreamTable {
  const ports = new Map<number, { names: Map<string, StreamService>; rest: StreamService | undefined }>();
  const byId = new Map<ServiceId, StreamService>();
  for (const mapping of mappings) {
    if (mapping.mode !== 'tcp' && mapping.mode !== 'tls') continue;
    const service = streamService(mapping, mapping.mode);
    if (typeof service === 'string') {
      onProblem(mapping.id, service);
      continue;
    }
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
  return new StreamTable(ports, byId);
}

function streamService(mapping: ServiceMapping, mode: StreamService['mode']): StreamService | string {
  const domain = canonicalHost(mapping.domain);
  const [path] = mapping.paths;
  if (domain === undefined) return `${mapping.domain} is not a host name`;
  if (mapping.listenPort === undefined) return 'it has no port';
  if (path === undefined) return 'it has no target';
  const { authToken: _token, ...lasting } = mapping;
  const { options, targets } = path;
  return {
    id: mapping.id,
    accountId: mapping.accountId,
    domain,
    mode,
    port: mapping.listenPort,
    targets: targets.map(({ host, port }) => ({ host, port })),
    direct: options.directUpstream,
    dialMs: Math.min(options.requestTimeoutMs ?? STREAM_DIAL_MS, STREAM_DIAL_MS),
    idleMs: options.sessionIdleTimeoutMs ?? STREAM_IDLE_MS,
    restrictions: compileRestrictions(mapping.restrictions),
    closed: streamRefusal(mapping),
    fingerprint: JSON.stringify(lasting),
  };
}

/** Why nobody gets through to a stream service, whoever it is: what cannot be checked is not let through. */
export function streamRefusal({ mode, auth, private: isPrivate, paths }: ServiceMapping): string | undefined {
  if (mode === 'udp') return 'udp services are not served by this version of the gateway';
  if (paths.length === 0) return 'the service has no enabled target';
  if (auth.oidc || auth.unsupported.length > 0) return 'sign-in for streams is not supported by this version of the gateway';
  if (isPrivate) return 'private services are not served by this version of the gateway';
  if (paths[0]?.options.proxyProtocol === true) return 'PROXY protocol for streams is not supported by this version of the gateway';
  return undefined;
}
