// Which service and which target a request means: a table of immutable services, changed one by one.
import { formatHostPort } from '#lib/net.ts';
import { SharedValues } from '#lib/shared-values.ts';
import { asksFor } from '#model/access.ts';
import type { AccountId, ServiceId } from '#model/ids.ts';
import type { MappingPath, MappingTarget, ServiceMapping, TargetOptions } from '#model/service.ts';
import { matchesAll, type OwnAnswer } from '#model/web.ts';
import { compileCredentials, type CredentialKinds } from '../access/credentials.ts';
import { accessKey, compileRestrictions, homeKey, type CompiledRestrictions } from '../access/restrictions.ts';
import { CompiledPolicy } from '../access/rules/policy.ts';
import { type CompiledLimit, compileLimits } from '../access/rules/rate-limits.ts';
import { compileClientRule, type CompiledClientRule } from '../tls/client-certificates.ts';
import { RetryBudget } from './balance/retry-budget.ts';
import type { FieldClass } from './field-class.ts';
import { compileAnswerEdits, type AnswerEdits } from './answer-edits.ts';
import { compileRequestEdits } from './header-edits.ts';
import { canonicalDomain, canonicalHost, wildcardOf } from './host.ts';
import { compileAnswer, leadsBelow, type CompiledAnswer } from './own-answer.ts';
import { compileConditions, findMatch, moreSpecific, otherMethods, type Matchable, type MatchedRequest } from './route-match.ts';
import { compilePathMap, type PathMap } from './upstream-path.ts';
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

/** A route of a service with everything a request needs worked out beforehand. */
export interface Route extends Matchable {
  readonly kind: 'forward';
  readonly service: PublishedService;
  readonly paths: PathMap;
  /** One at least; several share the load. */
  readonly targets: readonly [RouteTarget, ...RouteTarget[]];
  /** Whether there is something to choose or to watch: several targets, or checks. */
  readonly shared: boolean;
  /** Which route of its service it is, whatever becomes of it. */
  readonly key: string;
  /** Equal for two versions of a route that lead the same way: what is open then stays open. Where to, and in what shares, is not in it. */
  readonly fingerprint: string;
  readonly requestTimeoutMs: number | undefined;
  /** Field lines to set, and the classes of names of which copies by clients are removed. */
  readonly customHeaders: string;
  readonly customKeys: FieldClass;
  /** Whether answers are compressed for clients that take it. */
  readonly compression: boolean;
  readonly edits: AnswerEdits | undefined;
}

/** A route that the gateway answers itself. */
export interface AnsweredRoute extends Matchable {
  readonly kind: 'answer';
  readonly service: PublishedService;
  readonly answer: CompiledAnswer;
  readonly edits: AnswerEdits | undefined;
}

/** The page of a TCP, TLS or UDP service: who signs in here opens its port. */
export interface UnlockRoute extends Matchable {
  readonly kind: 'unlock';
  readonly service: PublishedService;
}

export type ServiceRoute = Route | AnsweredRoute | UnlockRoute;

export interface PublishedService {
  readonly id: ServiceId;
  /** A host name, or `*.` and one: any single label below it (RFC 9525 §6.3). */
  readonly domain: string;
  readonly mapping: ServiceMapping;
  readonly restrictions: CompiledRestrictions;
  readonly policy: CompiledPolicy;
  readonly limits: readonly CompiledLimit[];
  /** What its hosts ask of TLS clients. */
  readonly clients: CompiledClientRule | undefined;
  /** Which of a request's fields are secrets for us; undefined where none is. */
  readonly credentials: CredentialKinds | undefined;
  /** The most specific first. */
  readonly routes: readonly ServiceRoute[];
  /** Whoever was let in to one stays with another version only where this is equal. */
  readonly home: string;
  /** Equal for two versions of a service that lets the same in. */
  readonly access: string;
  /** Used by all requests of the service. */
  readonly retryBudget: RetryBudget;
}

/**
 * All services of mode `http`, and the pages at which people sign in for others. It changes service by service, and nobody sees half of a change. Of several services
 * with one domain the first stays, and the next takes its place when it goes; that is told to `onProblem`, as is a domain that is no host name.
 */
export class RouteTable {
  readonly #onProblem: (id: ServiceId, problem: string) => void;
  readonly #byHost = new Map<string, PublishedService>();
  readonly #byId = new Map<ServiceId, PublishedService>();
  /** Services whose domain is another's, by that domain, in the order in which they came. */
  readonly #waiting = new Map<string, ServiceMapping[]>();
  /** What is worked out of parts that most services have the same. */
  readonly #shared = new SharedValues();
  /** Domains in use that are wildcards. */
  #wildcards = 0;
  /** Grows with each change. */
  version = 0;

  constructor(onProblem: (id: ServiceId, problem: string) => void = () => undefined) {
    this.#onProblem = onProblem;
  }

  get size(): number {
    return this.#byHost.size;
  }

  /** By canonical host name: the service of that name, else the one whose wildcard stands for its first label. */
  service(host: string): PublishedService | undefined {
    const exact = this.#byHost.get(host);
    return exact !== undefined || this.#wildcards === 0 ? exact : this.#byHost.get(wildcardOf(host));
  }

  /** The canonical host of a Host value, undefined where it is none. One look does where it is spelled as the service's domain is. */
  host(authority: string): string | undefined {
    // A wildcard is a domain, and no Host value.
    const known = authority.charCodeAt(0) === 0x2a ? undefined : this.#byHost.get(authority);
    return known?.domain ?? canonicalHost(authority);
  }

  serviceById(id: ServiceId): PublishedService | undefined {
    return this.#byId.get(id);
  }

  services(): Iterable<PublishedService> {
    return this.#byId.values();
  }

  /** A new service, or a new version of one, in its old place. */
  set(mapping: ServiceMapping): void {
    this.version++;
    const ours = mapping.mode === 'http' || asksFor(mapping.access, 'oidc');
    const host = ours ? canonicalDomain(mapping.domain) : undefined;
    if (ours && host === undefined) this.#onProblem(mapping.id, `${mapping.domain} is not a host name`);
    if (host !== undefined && this.#byId.get(mapping.id)?.domain === host) return this.#publish(mapping, host);
    this.#leave(mapping.id);
    if (host === undefined) return;
    if (!this.#byHost.has(host)) return this.#publish(mapping, host);
    this.#onProblem(mapping.id, `${host} belongs to another service already`);
    const waiting = this.#waiting.get(host);
    if (waiting === undefined) this.#waiting.set(host, [mapping]);
    else waiting.push(mapping);
  }

  remove(id: ServiceId): void {
    this.version++;
    this.#leave(id);
  }

  #publish(mapping: ServiceMapping, host: string): void {
    const service = publishService(mapping, host, this.#shared, (problem) => this.#onProblem(mapping.id, problem));
    if (host.startsWith('*') && !this.#byHost.has(host)) this.#wildcards++;
    this.#byHost.set(host, service);
    this.#byId.set(mapping.id, service);
  }

  /** Takes a service out, and lets the next one have its domain. */
  #leave(id: ServiceId): void {
    const { domain } = this.#byId.get(id) ?? {};
    if (domain === undefined) {
      // Rare, as control planes give each domain once.
      for (const [host, waiting] of this.#waiting) {
        const left = waiting.filter((mapping) => mapping.id !== id);
        if (left.length === 0) this.#waiting.delete(host);
        else this.#waiting.set(host, left);
      }
      return;
    }
    this.#byId.delete(id);
    this.#byHost.delete(domain);
    if (domain.startsWith('*')) this.#wildcards--;
    const [next, ...others] = this.#waiting.get(domain) ?? [];
    if (others.length === 0) this.#waiting.delete(domain);
    else this.#waiting.set(domain, others);
    if (next !== undefined) this.#publish(next, domain);
  }
}

/** The table of all these services. */
export function buildRouteTable(mappings: Iterable<ServiceMapping>, onProblem?: (id: ServiceId, problem: string) => void): RouteTable {
  const table = new RouteTable(onProblem);
  for (const mapping of mappings) table.set(mapping);
  return table;
}

/** The route that takes a request; see `findMatch` for the order, and for what is refused. */
export function findRoute({ routes }: PublishedService, path: string, request: MatchedRequest): ServiceRoute | undefined {
  return findMatch(routes, path, request);
}

/** For a request without a route: the methods that would have found one there, or undefined. */
export function allowedMethods({ routes }: PublishedService, path: string, request: MatchedRequest): readonly string[] | undefined {
  return otherMethods(routes, path, request);
}

function publishService(mapping: ServiceMapping, domain: string, shared: SharedValues, onProblem: (problem: string) => void): PublishedService {
  const routes: ServiceRoute[] = [];
  const service: PublishedService = {
    id: mapping.id,
    domain,
    mapping,
    restrictions: shared.made('restrictions', mapping.restrictions, () => compileRestrictions(mapping.restrictions)),
    policy: shared.made(`policy ${mapping.mode}`, mapping.access, () => new CompiledPolicy(mapping.mode, mapping.access)),
    limits: compileLimits(mapping.id, mapping.access.rateLimits),
    clients: mapping.web.clientCertificate && compileClientRule(mapping.web.clientCertificate),
    credentials: compileCredentials(mapping.access),
    routes,
    home: homeKey(mapping, domain),
    access: accessKey(mapping, domain),
    retryBudget: new RetryBudget(),
  };
  if (mapping.mode !== 'http') {
    routes.push({ kind: 'unlock', service, ...placeOf('/', true), conditions: compileConditions(matchesAll), whole: true });
    return service;
  }
  const alone = mapping.paths.length + mapping.web.answers.length === 1;
  const edits = compileAnswerEdits(mapping, onProblem);
  for (const path of mapping.paths) routes.push(publishPath(service, path, alone, edits, shared, onProblem));
  for (const answer of mapping.web.answers) routes.push(publishAnswer(service, answer, alone, edits, onProblem));
  routes.sort(moreSpecific);
  return service;
}

function publishPath(
  service: PublishedService,
  path: MappingPath,
  alone: boolean,
  edits: AnswerEdits | undefined,
  shared: SharedValues,
  onProblem: (problem: string) => void,
): Route {
  const { options } = path;
  const [first, ...others] = path.targets.map((target) => routeTarget(service.mapping.accountId, target, options));
  if (first === undefined) throw new TypeError('a path without a target');
  const place = placeOf(path.path, options.match.exact);
  const paths = compilePathMap(place.prefix, options.pathRewrite);
  if (paths.problem !== undefined) onProblem(`the paths below ${path.path} cannot be rewritten: ${paths.problem}`);
  const { lines, names } = compileRequestEdits(service.mapping.web.requestHeaders, options.customHeaders, onProblem);
  const { weight: _weight, requestTimeoutMs, sessionIdleTimeoutMs: _idle, ...lasting } = options;
  const bare = paths.inner === '' && paths.pattern === undefined && path.targets.every(({ basePath }) => trimSlash(basePath) === '');
  return {
    kind: 'forward',
    service,
    ...place,
    conditions: compileConditions(options.match),
    whole: alone && place.prefix === '' && bare,
    paths,
    targets: [first, ...others],
    shared: others.length > 0 || service.mapping.web.healthCheck !== undefined,
    key: shared.text(`${path.path} ${JSON.stringify(options.match)}`),
    fingerprint: shared.text(JSON.stringify([path.path, lasting, [...new Set(path.targets.map(({ basePath }) => basePath))].toSorted()])),
    requestTimeoutMs,
    customHeaders: toldPrefix(paths, names) + lines,
    customKeys: names,
    compression: service.mapping.web.compression,
    edits,
  };
}

function publishAnswer(
  service: PublishedService,
  own: OwnAnswer,
  alone: boolean,
  edits: AnswerEdits | undefined,
  onProblem: (problem: string) => void,
): AnsweredRoute {
  const place = placeOf(own.path, own.match.exact);
  const answer = compileAnswer(own);
  if (answer.kind === 'broken') onProblem(`the answer of ${own.path} cannot be given: ${answer.problem}`);
  const whole = alone && place.prefix === '' && !leadsBelow(answer);
  return { kind: 'answer', service, ...place, conditions: compileConditions(own.match), whole, answer, edits };
}

/** Tells an app whose paths were stripped where it stands for its visitors. A service that says so itself, or wants it removed, is left alone. */
function toldPrefix({ prefix, inner, pattern }: PathMap, edited: FieldClass): string {
  const stripped = prefix !== '' && inner === '' && pattern === undefined;
  return stripped && /^[\x21-\x7e]+$/.test(prefix) && !edited.has('x-forwarded-prefix') ? `X-Forwarded-Prefix: ${prefix}\r\n` : '';
}

function placeOf(path: string, exact: boolean): { readonly prefix: string; readonly exact: string | undefined } {
  return { prefix: trimSlash(path), exact: exact ? (path === '' ? '/' : path) : undefined };
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

function trimSlash(path: string): string {
  const trimmed = path.replace(/\/+$/, '');
  return trimmed === '' || trimmed.startsWith('/') ? trimmed : `/${trimmed}`;
}
