// Which of a service's routes a request means. The order is total: an exact path before a prefix, the longer before the shorter, more conditions
// before fewer, and then as configured.
import { requestFieldProblem } from '#model/field-names.ts';
import type { RouteMatch } from '#model/web.ts';
import type { Fields } from '#wire/http1-fields.ts';
import { pathReadings } from './path-readings.ts';

export interface Conditions {
  readonly methods: ReadonlySet<string> | undefined;
  /** Names in lower case. */
  readonly headers: readonly { readonly key: string; readonly value: string | undefined }[];
}

/** What matching looks at in a route. */
export interface Matchable {
  /** The path without a trailing slash; empty for `/`. */
  readonly prefix: string;
  /** The one path that it takes, as configured, or undefined where it takes what is below it. */
  readonly exact: string | undefined;
  /** Undefined where every request fits. */
  readonly conditions: Conditions | undefined;
  /** Nothing that a path could be read as leads out of it: it is the only one, and nothing stands before its paths. */
  readonly whole: boolean;
}

/** What matching looks at in a request. */
export interface MatchedRequest {
  readonly method: string;
  readonly fields: Fields;
}

/** The conditions as they are asked for; a field that clients may only claim never fits. */
export function compileConditions({ methods, headers }: RouteMatch): Conditions | undefined {
  if (methods.length === 0 && headers.length === 0) return undefined;
  return {
    methods: methods.length === 0 ? undefined : new Set(methods),
    headers: headers.map(({ name, value }) => ({ key: requestFieldProblem(name) === undefined ? name.toLowerCase() : ' never', value })),
  };
}

/** Compares two routes of a service for the order above; a stable sort keeps what is equal as configured. */
export function moreSpecific(a: Matchable, b: Matchable): number {
  if ((a.exact === undefined) !== (b.exact === undefined)) return a.exact === undefined ? 1 : -1;
  return b.prefix.length - a.prefix.length || weight(b.conditions) - weight(a.conditions);
}

function weight(conditions: Conditions | undefined): number {
  return conditions === undefined ? 0 : conditions.headers.length + (conditions.methods === undefined ? 0 : 1);
}

/**
 * The first route in order that takes the request: its path exactly, or as a prefix that ends at a segment boundary of the path as sent (attack row P-13),
 * and all its conditions. Undefined also where the path may be read as one that another route, or none, would take: what is published is what stands below the
 * route, whoever reads. What passes is forwarded byte for byte.
 */
export function findMatch<T extends Matchable>(routes: readonly T[], path: string, request: MatchedRequest): T | undefined {
  const route = firstTaking(routes, path, request, takesPath);
  if (route === undefined || route.whole || route.exact !== undefined) return route;
  const { prefix } = route;
  const rest = path.slice(prefix.length);
  const readings = pathReadings(rest);
  const same = (reading: string): boolean => reading === rest || firstTaking(routes, prefix + reading, request, takesReading) === route;
  return readings?.every(same) === true ? route : undefined;
}

function firstTaking<T extends Matchable>(
  routes: readonly T[],
  path: string,
  request: MatchedRequest,
  takes: (route: Matchable, path: string) => boolean,
): T | undefined {
  for (const route of routes) if (takes(route, path) && fits(route.conditions, request)) return route;
  return undefined;
}

/** The methods for which the request would have found a route, or undefined where its method is not what is wrong. */
export function otherMethods(routes: readonly Matchable[], path: string, { method, fields }: MatchedRequest): readonly string[] | undefined {
  const methods = new Set<string>();
  for (const route of routes) {
    if (route.conditions?.methods === undefined || !takesPath(route, path) || !hasHeaders(route.conditions, fields)) continue;
    for (const other of route.conditions.methods) methods.add(other);
  }
  return methods.size === 0 || methods.has(method) ? undefined : [...methods];
}

function takesPath({ exact, prefix }: Matchable, path: string): boolean {
  return exact === undefined ? isBelow(path, prefix) : path === exact;
}

/** Readings have no slash at their end, so an exact path is compared without. */
function takesReading({ exact, prefix }: Matchable, reading: string): boolean {
  return exact === undefined ? isBelow(reading, prefix) : reading === prefix;
}

/** Whether a path is a prefix or below it, at a segment boundary. */
export function isBelow(path: string, prefix: string): boolean {
  return prefix.length === 0 || (path.startsWith(prefix) && (path.length === prefix.length || path.charCodeAt(prefix.length) === 0x2f));
}

function fits(conditions: Conditions | undefined, { method, fields }: MatchedRequest): boolean {
  if (conditions === undefined) return true;
  return (conditions.methods === undefined || conditions.methods.has(method)) && hasHeaders(conditions, fields);
}

function hasHeaders({ headers }: Conditions, { keys, values }: Fields): boolean {
  return headers.every(({ key, value }) => keys.some((other, i) => other === key && (value === undefined || values[i] === value)));
}
