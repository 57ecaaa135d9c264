// The balancers of all routes that have something to choose, carried over from one route table to the next: what is known of a target stays
// known while the target stays the same.
import { formatHostPort } from '#lib/net.ts';
import type { ServiceId } from '#model/ids.ts';
import type { HealthCheck } from '#model/web.ts';
import type { Route, RouteTable, RouteTarget } from '../routes.ts';
import { Balancer, type Member } from '../../balance/balancer.ts';
import { hashText } from '../../balance/hash.ts';
import { TargetHealth } from '../../balance/target-health.ts';

export type RouteMember = Member<RouteTarget>;
export type RouteBalancer = Balancer<RouteTarget>;

/** A target that is asked how it is. */
export interface CheckedTarget {
  readonly target: RouteTarget;
  readonly health: TargetHealth;
  readonly check: HealthCheck;
  /** What Host says. */
  readonly host: string;
}

export interface TargetProblem {
  readonly host: string;
  readonly port: number;
  readonly problem: string;
}

export class Balancers {
  readonly #reachable: (target: RouteTarget) => boolean;
  readonly #now: () => number;
  readonly #byRoute = new WeakMap<Route, RouteBalancer>();
  /** The newest of each route, by service and route. */
  readonly #newest = new Map<string, RouteBalancer>();
  /** By service and target. */
  readonly #health = new Map<string, TargetHealth>();
  #byService: ReadonlyMap<ServiceId, readonly RouteBalancer[]> = new Map();
  #table: RouteTable | undefined;
  #version = 0;

  /** `now`: monotonic milliseconds. */
  constructor(reachable: (target: RouteTarget) => boolean, now: () => number) {
    this.#reachable = reachable;
    this.#now = now;
  }

  of(route: Route): RouteBalancer {
    const known = this.#byRoute.get(route);
    if (known !== undefined) return known;
    const key = routeKey(route);
    const old = this.#newest.get(key);
    const balancer = old !== undefined && sameChoice(old, route) ? old : this.#make(route, old);
    this.#byRoute.set(route, balancer);
    this.#newest.set(key, balancer);
    return balancer;
  }

  /** Takes a new table as the truth: what no route needs is forgotten. Returns all targets to be checked, or undefined where nothing is new. */
  follow(table: RouteTable): ReadonlyMap<string, CheckedTarget> | undefined {
    if (this.#table === table && this.#version === table.version) return undefined;
    this.#table = table;
    this.#version = table.version;
    const checked = new Map<string, CheckedTarget>();
    const byService = new Map<ServiceId, RouteBalancer[]>();
    const routes = new Set<string>();
    const targets = new Set<string>();
    for (const service of table.services()) {
      const { healthCheck } = service.mapping.web;
      for (const route of service.routes) {
        if (route.kind !== 'forward' || !route.shared) continue;
        const balancer = this.of(route);
        byService.set(service.id, [...(byService.get(service.id) ?? []), balancer]);
        routes.add(routeKey(route));
        for (const { target, health } of balancer.members) {
          const key = targetKey(route, target);
          targets.add(key);
          if (healthCheck === undefined) health.unchecked();
          else
            checked.set(key, {
              target,
              health,
              check: healthCheck,
              host: service.mapping.passHostHeader && !service.domain.startsWith('*') ? service.domain : target.host,
            });
        }
      }
    }
    for (const key of this.#newest.keys()) if (!routes.has(key)) this.#newest.delete(key);
    for (const key of this.#health.keys()) if (!targets.has(key)) this.#health.delete(key);
    this.#byService = byService;
    return checked;
  }

  /** Targets of the service that get no requests now, and why. */
  problems(service: ServiceId, now: number): readonly TargetProblem[] {
    const balancers = this.#byService.get(service);
    if (balancers === undefined) return [];
    return balancers.flatMap(({ members }) =>
      members.flatMap(({ target, health }) => {
        const problem = health.problem(now);
        return problem === '' ? [] : [{ ...target.upstream.target, problem }];
      }),
    );
  }

  #make(route: Route, old: RouteBalancer | undefined): RouteBalancer {
    const members = route.targets.map((target): RouteMember => {
      const key = targetKey(route, target);
      let health = this.#health.get(key);
      if (health === undefined) this.#health.set(key, (health = new TargetHealth(old === undefined ? undefined : this.#now())));
      const owed = old?.members.find((member) => member.target.weight === target.weight && targetKey(route, member.target) === key)?.owed ?? 0;
      // What a visitor's order is made of is the same at every gateway of the cluster.
      return {
        target,
        health,
        hash: hashText(`${formatHostPort(target.upstream.target.host, target.upstream.target.port)}${target.basePath}`),
        owed,
      };
    });
    const { balancing, ejection, slowStartMs } = route.service.mapping.web;
    return new Balancer(members, { balancing, ejection, slowStartMs }, this.#reachable);
  }
}

function routeKey(route: Route): string {
  return `${route.service.id} ${route.key}`;
}

function targetKey(route: Route, { upstream, basePath }: RouteTarget): string {
  return `${route.service.id} ${upstream.key} ${basePath}`;
}

function sameChoice({ members, rules }: RouteBalancer, route: Route): boolean {
  const { balancing, ejection, slowStartMs } = route.service.mapping.web;
  return (
    rules.slowStartMs === slowStartMs &&
    rules.balancing.strategy === balancing.strategy &&
    rules.balancing.sticky === balancing.sticky &&
    rules.ejection.failures === ejection.failures &&
    rules.ejection.ejectMs === ejection.ejectMs &&
    members.length === route.targets.length &&
    members.every(({ target }, i) => {
      const other = route.targets[i];
      return (
        other !== undefined && other.weight === target.weight && other.host === target.host && targetKey(route, other) === targetKey(route, target)
      );
    })
  );
}
