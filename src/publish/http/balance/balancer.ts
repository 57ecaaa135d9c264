// Which of a route's targets a request goes to. Time and randomness are arguments; requests report back what became of them.
import type { Balancing, Ejection } from '#model/web.ts';
import { STICKY_WORK } from '../../constants.ts';
import type { RouteTarget } from '../routes.ts';
import { affinity, type Hash } from './hash.ts';
import type { TargetHealth } from './target-health.ts';
import { drawVisitor } from './visitor.ts';

/** One of several targets. Its health is shared by all routes of the service that lead to it. */
export interface Member {
  readonly target: RouteTarget;
  readonly health: TargetHealth;
  readonly hash: Hash;
  /** Smooth weighted round robin: what it is owed. */
  owed: number;
}

export interface BalancerRules {
  readonly balancing: Balancing;
  readonly ejection: Ejection;
}

export class Balancer {
  readonly members: readonly Member[];
  readonly rules: BalancerRules;
  readonly #reachable: (target: RouteTarget) => boolean;
  /** Filled anew by every choice. */
  readonly #candidates: Member[] = [];

  /** `reachable`: whether there is a path to it now. */
  constructor(members: readonly Member[], rules: BalancerRules, reachable: (target: RouteTarget) => boolean) {
    this.members = members;
    this.rules = rules;
    this.#reachable = reachable;
  }

  /**
   * A target that is not among `tried`, or undefined where all are. Targets of weight 0 only where no other is available; and where none is
   * at all, any: it is better to try than to refuse.
   */
  choose(now: number, random: () => number, visitor: Hash | undefined, tried: ReadonlySet<Member> | undefined): Member | undefined {
    const candidates = this.#candidates;
    this.#fill((member) => member.target.weight > 0 && this.#usable(member, now), tried);
    if (candidates.length === 0) this.#fill((member) => this.#usable(member, now), tried);
    if (candidates.length === 0) this.#fill(({ target }) => target.weight > 0, tried);
    if (candidates.length === 0) this.#fill(() => true, tried);
    const [only] = candidates;
    if (candidates.length <= 1) return only;
    if (visitor !== undefined) return dearest(candidates, visitor);
    switch (this.rules.balancing.strategy) {
      case 'round_robin':
        return nextInTurn(candidates);
      case 'least_requests':
        return lessLoaded(candidates, random);
      case 'random':
        return drawn(candidates, random, undefined);
    }
  }

  /** Whether the visitor comes to that target while nothing is wrong with any. */
  belongs(visitor: Hash, member: Member): boolean {
    this.#fill(({ target }) => target.weight > 0, undefined);
    return dearest(this.#candidates, visitor) === member;
  }

  /** A visitor who belongs to the target; undefined where none was found in bounded time, or where none can: it has no weight. */
  visitorFor(member: Member, random: () => number): Hash | undefined {
    if (member.target.weight <= 0) return undefined;
    for (let work = 0; work < STICKY_WORK; work += this.members.length) {
      const visitor = drawVisitor(random);
      if (this.belongs(visitor, member)) return visitor;
    }
    return undefined;
  }

  /** A request failed at the target. It is left out for a time only where another is available. */
  failed(member: Member, now: number, reason: string): void {
    const spare = this.members.some((other) => other !== member && this.#usable(other, now));
    member.health.failed(now, reason, this.rules.ejection, spare);
  }

  #usable({ target, health }: Member, now: number): boolean {
    return health.available(now) && this.#reachable(target);
  }

  #fill(takes: (member: Member) => boolean, tried: ReadonlySet<Member> | undefined): void {
    const candidates = this.#candidates;
    candidates.length = 0;
    for (const member of this.members) if (tried?.has(member) !== true && takes(member)) candidates.push(member);
  }
}

/** Targets of weight 0 among each other are equal. */
function weightOf({ target }: Member): number {
  return target.weight > 0 ? target.weight : 1;
}

/** Smooth weighted round robin, as nginx has it: the heavy ones do not come in a row. */
function nextInTurn(candidates: readonly Member[]): Member | undefined {
  let best: Member | undefined;
  let total = 0;
  for (const member of candidates) {
    const weight = weightOf(member);
    total += weight;
    member.owed += weight;
    if (best === undefined || member.owed > best.owed) best = member;
  }
  if (best !== undefined) best.owed -= total;
  return best;
}

/** The less loaded of two drawn by weight (power of two choices): near the least of all, and no herd runs to one target. */
function lessLoaded(candidates: readonly Member[], random: () => number): Member | undefined {
  const first = drawn(candidates, random, undefined);
  const second = drawn(candidates, random, first);
  if (first === undefined || second === undefined) return first;
  return second.health.inFlight * weightOf(first) < first.health.inFlight * weightOf(second) ? second : first;
}

function drawn(candidates: readonly Member[], random: () => number, without: Member | undefined): Member | undefined {
  let total = 0;
  for (const member of candidates) if (member !== without) total += weightOf(member);
  let left = random() * total;
  let last: Member | undefined;
  for (const member of candidates) {
    if (member === without) continue;
    last = member;
    left -= weightOf(member);
    if (left < 0) break;
  }
  return last;
}

function dearest(candidates: readonly Member[], visitor: Hash): Member | undefined {
  let best: Member | undefined;
  let most = -Infinity;
  for (const member of candidates) {
    const value = affinity(visitor, member.hash, weightOf(member));
    if (value > most) {
      best = member;
      most = value;
    }
  }
  return best;
}
