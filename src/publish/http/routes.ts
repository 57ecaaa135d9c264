// Which service and which target a request means: an immutable table, made anew from all mappings and swapped whole.
import { canonicalHeaderName } from '#model/field-names.ts';
import { formatHostPort } from '#lib/net.ts';
import type { AccountId, ServiceId } from '#model/ids.ts';
import type { MappingPath, MappingTarget, ServiceMapping, TargetOptions } from '#model/service.ts';
import { isFieldValue, isToken } from '#wire/http1-fields.ts';
import { compileRestrictions, type CompiledRestrictions } from '../access/restrictions.ts';
import { canonicalHost } from './host.ts';
import { pathReadings } from './path-readings.ts';
import { describeUpstream, type UpstreamTarget } from './upstream-target.ts';

/** One place where the requests of a route may go. */
export interface RouteTarget {
  readonly upstream: UpstreamTarget;
  /** Put before the forwarded path; without a trailing slash. */
  readonly basePath: string;
  /** What Host says where the client's is not passed on. */
  readonly host: string;
  /** Its share of the load, from 0 up. */
  readonly weight: number;
}

/** One path of a service with everything a request needs worked out beforehand. */
export interface Route {
  readonly service: PublishedService;
  /** The mapping's path without a trailing slash; empty for `/`. */
  readonly prefix: string;
  readonly strip: boolean;
  /** One at least; several share the load. */
  readonly targets: readonly [RouteTarget, ...RouteTarget[]];
  readonly requestTimeoutMs: number | undefined;
  /** Field lines to set, and their folded names, of which copies by clients are removed. */
  readonly customHeaders: string;
  readonly customKeys: ReadonlySet<string>;
}

export interface PublishedService {
  readonly id: ServiceId;
  readonly domain: string;
  readonly mapping: ServiceMapping;
  readonly restrictions: CompiledRestrictions;
  /** Longest prefix first. */
  readonly routes: readonly Route[];
  /** Equal for two versions of a service whose routes and access are the same: what is open then stays open. */
  readonly fingerprint: string;
}

export class RouteTable {
  readonly #byHost: ReadonlyMap<string, PublishedService>;
  readonly #byId: ReadonlyMap<ServiceId, PublishedService>;

  constructor(byHost: ReadonlyMap<string, PublishedService>, byId: ReadonlyMap<ServiceId, PublishedService>) {
    this.#byHost = byHost;
    this.#byId = byId;
  }

  get size(): number {
    return this.#byHost.size;
  }

  /** By canonical host name, exactly. */
  service(host: string): PublishedService | undefined {
    return this.#byHost.get(host);
  }

  serviceById(id: ServiceId): PublishedService | undefined {
    return this.#byId.get(id);
  }

  /** Whether an open stream of `service` may stay open under this table. */
  keeps(service: PublishedService): boolean {
    return this.#byId.get(service.id)?.fingerprint === service.fingerprint;
  }
}

export const emptyRoutes = new RouteTable(new Map(), new Map());

/**
 * Builds the table from all mappings of mode `http`; others are not HTTP's. Of two services with one domain the first stays and the
 * second is told to `onProblem`, as is a mapping with a domain that is no host name.
 */
export function buildRouteTable(
  mappings: Iterable<ServiceMapping>,
  onProblem: (id: ServiceId, problem: string) => void = () => undefined,
): RouteTable {
  const byHost = new Map<string, PublishedService>();
  const byId = new Map<ServiceId, PublishedService>();
  for (const mapping of mappings) {
    if (mapping.mode !== 'http') continue;
    const host = canonicalHost(mapping.domain);
    if (host === undefined) {
      onProblem(mapping.id, `${mapping.domain} is not a host name`);
    } else if (byHost.has(host)) {
      onProblem(mapping.id, `${host} belongs to another service already`);
    } else {
      const service = publishService(mapping, host, (problem) => onProblem(mapping.id, problem));
      byHost.set(host, service);
      byId.set(mapping.id, service);
    }
  }
  return new RouteTable(byHost, byId);
}

/**
 * The route of the longest prefix that ends at a segment boundary of the path as sent (attack row P-13). Undefined also where the path may be
 * read as one that leaves the route: what is published is what stands below it, whoever reads. What passes is forwarded byte for byte.
 */
export function findRoute(service: PublishedService, path: string): Route | undefined {
  const route = longestPrefix(service, path);
  if (route === undefined || (route.prefix === '' && route.targets.every(({ basePath }) => basePath === '') && service.routes.length === 1))
    return route;
  const readings = pathReadings(path.slice(route.prefix.length));
  return readings?.every((reading) => longestPrefix(service, route.prefix + reading) === route) === true ? route : undefined;
}

function longestPrefix(service: PublishedService, path: string): Route | undefined {
  for (const route of service.routes) {
    const length = route.prefix.length;
    if (length === 0) return route;
    if (path.startsWith(route.prefix) && (path.length === length || path.charCodeAt(length) === 0x2f)) return route;
  }
  return undefined;
}

/** The request target for the upstream: path stripped or kept, base path before it, all other bytes the client's own. */
export function upstreamTarget(route: Route, target: RouteTarget, path: string, query: string): string {
  let rest = route.strip ? path.slice(route.prefix.length) : path;
  if (!rest.startsWith('/')) rest = `/${rest}`;
  return target.basePath + rest + query;
}

function publishService(mapping: ServiceMapping, domain: string, onProblem: (problem: string) => void): PublishedService {
  const { authToken: _token, ...lasting } = mapping;
  const routes: Route[] = [];
  const service: PublishedService = {
    id: mapping.id,
    domain,
    mapping,
    restrictions: compileRestrictions(mapping.restrictions),
    routes,
    fingerprint: JSON.stringify(lasting),
  };
  for (const path of mapping.paths) routes.push(publishPath(service, path, onProblem));
  routes.sort((a, b) => b.prefix.length - a.prefix.length);
  return service;
}

function publishPath(service: PublishedService, path: MappingPath, onProblem: (problem: string) => void): Route {
  const [first, ...others] = path.targets.map((target) => routeTarget(service.mapping.accountId, target, path.options));
  if (first === undefined) throw new TypeError('a path without a target');
  let customHeaders = '';
  const customKeys = new Set<string>();
  for (const [name, value] of Object.entries(path.options.customHeaders)) {
    if (isToken(name) && isFieldValue(value) && !reservedKeys.has(name.toLowerCase())) {
      customHeaders += `${name}: ${value.trim()}\r\n`;
      customKeys.add(canonicalHeaderName(name));
    } else {
      onProblem(`the header ${JSON.stringify(name)} cannot be set`);
    }
  }
  return {
    service,
    prefix: trimSlash(path.path),
    strip: path.options.pathRewrite === 'strip',
    targets: [first, ...others],
    requestTimeoutMs: path.options.requestTimeoutMs,
    customHeaders,
    customKeys,
  };
}

function routeTarget(accountId: AccountId, target: MappingTarget, options: TargetOptions): RouteTarget {
  const { protocol, host, port, basePath, weight } = target;
  return {
    upstream: describeUpstream(accountId, target, options),
    basePath: trimSlash(basePath),
    host: port === (protocol === 'https' ? 443 : 80) ? (host.includes(':') ? `[${host}]` : host) : formatHostPort(host, port),
    weight,
  };
}

/** Fields that frame or route the message: no configuration may set them. */
const reservedKeys = new Set(['host', 'connection', 'content-length', 'transfer-encoding', 'upgrade', 'te', 'trailer', 'expect', 'keep-alive']);

function trimSlash(path: string): string {
  const trimmed = path.replace(/\/+$/, '');
  return trimmed === '' || trimmed.startsWith('/') ? trimmed : `/${trimmed}`;
}
