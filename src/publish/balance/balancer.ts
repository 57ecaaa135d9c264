// Which of several targets a request or connection goes to. Time and randomness are arguments; what became of it is reported back.
import type { StreamBalancing } from '#model/stream.ts';
import type { Balancing, Ejection } from '#model/web.ts';
import { STICKY_WORK } from '../constants.ts';
import { affinity, type Hash } from './hash.ts';
import type { TargetHealth } from './target-health.ts';
import { drawVisitor } from './visitor.ts';

/** What a target has to have: its share of the load, from 0 up. */
export interface Weighted {
  readonly weight: number;
}

/** One of several targets. Its health is shared by all of the service that leads to it. */
export interface Member<Target extends Weighted = Weighted> {
  readonly target: Target;
  readonly health: TargetHealth;
  readonly hash: Hash;
  /** Smooth weighted round robin: what it is owed. */
  owed: number;
}

export interface BalancerRules {
  readonly balancing: Balancing | StreamBalancing;
  readonly ejection: Ejection;
  /** Milliseconds until a target that is new or well again gets its full share; 0 for none. */
  readonly slowStartMs: number;
}

export class Balancer<Target extends Weighted> {
  readonly members: readonly Member<Target>[];
  readonly rules: BalancerRules;
  readonly #reachable: (target: Target) => boolean;
  /** Filled anew by every choice. */
  readonly #candidates: Member<Target>[] = [];
  /** When the choice at hand is made. */
  #now = 0;
  readonly #loadOf = (member: Member<Target>): number => weightOf(member) * member.health.share(this.#now, this.rules.slowStartMs);

  /** `reachable`: whether there is a path to it now. */
  constructor(members: readonly Member<Target>[], rules: BalancerRules, reachable: (target: Target) => boolean) {
    this.members = members;
    this.rules = rules;
    this.#reachable = reachable;
  }

  /**
   * A target that is not among `tried`, or undefined where all are. Targets of weight 0 only where no other is available; and where none is
   * at all, any: it is better to try than to refuse.
   */
  choose(now: number, random: () => number, visitor: Hash | undefined, tried: ReadonlySet<Member> | undefined): Member<Target> | undefined {
    const candidates = this.#candidates;
    this.#now = now;
    this.#fill((member) => member.target.weight > 0 && this.#usable(member, now), tried);
    if (candidates.length === 0) this.#fill((member) => this.#usable(member, now), tried);
    if (candidates.length === 0) this.#fill(({ target }) => target.weight > 0, tried);
    if (candidates.length === 0) this.#fill(() => true, tried);
    const [only] = candidates;
    if (candidates.length <= 1) return only;
    if (visitor !== undefined) return dearest(candidates, visitor);
    switch (this.rules.balancing.strategy) {
      case 'round_robin':
        return nextInTurn(candidates, this.#loadOf);
      case 'least_requests':
      case 'least_connections':
        return lessLoaded(candidates, this.#loadOf, random);
      case 'random':
        return drawn(candidates, this.#loadOf, random, undefined);
    }
  }

  /** Whether the visitor comes to that target while nothing is wrong with any. */
  belongs(visitor: Hash, member: Member<Target>): boolean {
    this.#fill(({ target }) => target.weight > 0, undefined);
    return dearest(this.#candidates, visitor) === member;
  }

  /** A visitor who belongs to the target; undefined where none was found in bounded time, or where none can: it has no weight. */
  visitorFor(member: Member<Target>, random: () => number): Hash | undefined {
    if (member.target.weight <= 0) return undefined;
    for (let work = 0; work < STICKY_WORK; work += this.members.length) {
      const visitor = drawVisitor(random);
      if (this.belongs(visitor, member)) return visitor;
    }
    return undefined;
  }

  /** Whether one that is well, and neither this nor among `tried`, could be asked instead. */
  hasOther(member: Member<Target>, now: number, tried: ReadonlySet<Member> | undefined): boolean {
    return this.members.some((other) => other !== member && other.target.weight > 0 && tried?.has(other) !== true && this.#usable(other, now));
  }

  /** A request failed at the target. It is left out for a time only where another is available. */
  failed(member: Member<Target>, now: number, reason: string): void {
    const spare = this.members.some((other) => other !== member && this.#usable(other, now));
    member.health.failed(now, reason, this.rules.ejection, spare);
  }

  #usable({ target, health }: Member<Target>, now: number): boolean {
    return health.available(now) && this.#reachable(target);
  }

  #fill(takes: (member: Member<Target>) => boolean, tried: ReadonlySet<Member> | undefined): void {
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
function nextInTurn<M extends Member>(candidates: readonly M[], loadOf: (member: M) => number): M | undefined {
  let best: M | undefined;
  let total = 0;
  for (const member of candidates) {
    const weight = loadOf(member);
    total += weight;
    member.owed += weight;
    if (best === undefined || member.owed > best.owed) best = member;
  }
  if (best !== undefined) best.owed -= total;
  return best;
}

/** The less loaded of two drawn by weight (power of two choices): near the least of all, and no herd runs to one target. */
function lessLoaded<M extends Member>(candidates: readonly M[], loadOf: (member: M) => number, random: () => number): M | undefined {
  const first = drawn(candidates, loadOf, random, undefined);
  const second = drawn(candidates, loadOf, random, first);
  if (first === undefined || second === undefined) return first;
  return second.health.inFlight * loadOf(first) < first.health.inFlight * loadOf(second) ? second : first;
}

function drawn<M extends Member>(
  candidates: readonly M[],
  loadOf: (member: M) => number,
  random: () => number,
  without: M | undefined,
): M | undefined {
  let total = 0;
  for (const member of candidates) if (member !== without) total += loadOf(member);
  let left = random() * total;
  let last: M | undefined;
  for (const member of candidates) {
    if (member === without) continue;
    last = member;
    left -= loadOf(member);
    if (left < 0) break;
  }
  return last;
}

function dearest<M extends Member>(candidates: readonly M[], visitor: Hash): M | undefined {
  let best: M | undefined;
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
