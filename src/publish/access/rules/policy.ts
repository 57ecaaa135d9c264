// The access rules of one version of a service, compiled once: asked in order, the first whose condition holds decides. A path of several
// readings is judged by each of them, and the strictest outcome holds. A pure function of what is asked about; whoever has it throw, denies.
import { type AccessPolicy, type AccessRule, type ProofAlternatives, sufficient } from '#model/access.ts';
import type { ServiceMode } from '#model/service.ts';
import { type Answer, Condition } from './condition.ts';
import type { Caller, Facts } from './facts.ts';
import { RulePaths } from './rule-paths.ts';

/** Where no rule decides and the policy denies the rest. */
const otherwiseRule = 'otherwise';

/** `rule` is the one that decided; undefined where none did. `observed` are the rules that would have, were they not only observed. */
export type Judgement = {
  readonly rule: string | undefined;
  readonly observed: readonly string[] | undefined;
} & (
  | { readonly kind: 'deny'; readonly detail: string }
  /** `anonymous`: nobody asks who it is. */
  | { readonly kind: 'allow'; readonly anonymous: boolean }
  /** One of these has to be proven, whole. */
  | { readonly kind: 'ask'; readonly proofs: ProofAlternatives }
);

interface CompiledRule {
  readonly rule: AccessRule;
  readonly condition: Condition;
  readonly named: boolean;
  /** What satisfies it, and what tells who the caller is. */
  readonly proofs: ProofAlternatives;
}

/** Not a `const` union for speed: these are kept in an array of small numbers. */
const unasked = 0;
const no = 1;
const holds = 2;
const asksWho = 3;

type Decided =
  | { readonly kind: 'deny'; readonly rule: string }
  | { readonly kind: 'bypass' | 'allow'; readonly rule: string | undefined }
  | { readonly kind: 'ask'; readonly rule: string | undefined; readonly proofs: ProofAlternatives };

/** How strict a decision is, for the strictest of several. */
const strictness = { bypass: 0, allow: 1, ask: 2, deny: 3 } as const;

export class CompiledPolicy {
  readonly #policy: AccessPolicy;
  readonly #rules: readonly CompiledRule[];
  readonly #paths = new RulePaths();
  /** For the request at hand; nothing of it is used by the next. */
  readonly #answers: Uint8Array;
  readonly #matched: Uint8Array;
  readonly #note: (rule: number) => void;
  #observed: string[] | undefined;
  /** The path whose only reading `#matched` is of: a request is judged before and after it is known who it is. */
  #matchedPath: string | undefined;
  /** Whether a decision may become another one by the mere passing of time. */
  readonly asksWhen: boolean;

  /** Of a stream service only rules without paths and methods are any. */
  constructor(mode: ServiceMode, policy: AccessPolicy) {
    this.#policy = policy;
    const mine = policy.rules.filter(({ when }) => mode === 'http' || when.paths.length + when.methods.length === 0);
    this.#rules = mine.map((rule) => ({
      rule,
      condition: new Condition(rule.when),
      named: rule.when.paths.length > 0,
      proofs: rule.proofs.length === 0 ? policy.proofs : rule.proofs,
    }));
    for (const [i, { when }] of mine.entries()) this.#paths.add(i, when.paths);
    this.asksWhen = this.#rules.some(({ condition }) => condition.asksWhen);
    this.#answers = new Uint8Array(mine.length);
    this.#matched = new Uint8Array(mine.length);
    this.#note = (rule) => void (this.#matched[rule] = 1);
  }

  /** Whether nothing has to be worked out: the service's own proofs are all that is asked for. */
  get plain(): boolean {
    return this.#rules.length === 0 && this.#policy.otherwise === 'allow';
  }

  /** Without a caller it says what has to be proven first, if anything. */
  judge(facts: Facts, caller: Caller | undefined): Judgement {
    this.#observed = undefined;
    this.#answers.fill(unasked);
    if (this.#paths.none || facts.path === undefined) return this.#judgement(this.#decide(undefined, false, facts, caller), caller);
    if (facts.path === this.#matchedPath) return this.#judgement(this.#walk(facts, caller), caller);
    const readings = this.#paths.readings(facts.path);
    if (readings === undefined) {
      return { kind: 'deny', rule: undefined, observed: undefined, detail: 'its path may be read as one that climbs above the root' };
    }
    let strictest: Decided | undefined;
    for (const reading of readings.exact) strictest = stricter(strictest, this.#decide(reading, false, facts, caller));
    for (const reading of readings.folded) strictest = stricter(strictest, this.#decide(reading, true, facts, caller));
    if (readings.exact.length === 1 && readings.folded.length === 0) this.#matchedPath = facts.path;
    return strictest === undefined
      ? { kind: 'deny', rule: undefined, observed: undefined, detail: 'its path has no reading' }
      : this.#judgement(strictest, caller);
  }

  #judgement(decided: Decided, caller: Caller | undefined): Judgement {
    const { rule } = decided;
    const observed = this.#observed;
    switch (decided.kind) {
      case 'deny':
        return { kind: 'deny', rule, observed, detail: decided.rule };
      case 'ask':
        return { kind: 'ask', rule, observed, proofs: decided.proofs };
      case 'bypass':
      case 'allow':
        return { kind: 'allow', rule, observed, anonymous: decided.kind === 'bypass' || caller === undefined };
    }
  }

  /** By one reading; undefined is the one of what has no path. */
  #decide(reading: string | undefined, byFolding: boolean, facts: Facts, caller: Caller | undefined): Decided {
    if (reading !== undefined) {
      this.#matchedPath = undefined;
      this.#matched.fill(0);
      this.#paths.match(reading, byFolding, this.#note);
    }
    return this.#walk(facts, caller);
  }

  /** In the order of the rules, of those that name a path by `#matched`. */
  #walk(facts: Facts, caller: Caller | undefined): Decided {
    const { otherwise, proofs } = this.#policy;
    const rules = this.#rules;
    for (let i = 0; i < rules.length; i++) {
      const compiled = rules[i];
      if (compiled === undefined || (compiled.named && this.#matched[i] !== 1)) continue;
      const answer = this.#answer(i, compiled, facts, caller);
      if (answer === no) continue;
      const { rule } = compiled;
      if (rule.observe) {
        this.#observe(answer === asksWho ? `${rule.name} (if it is one of its callers)` : rule.name);
        continue;
      }
      if (answer === asksWho) return { kind: 'ask', rule: rule.name, proofs: compiled.proofs };
      if (rule.action === 'deny') return { kind: 'deny', rule: rule.name };
      if (rule.action === 'bypass') return { kind: 'bypass', rule: rule.name };
      return satisfied(rule.name, compiled.proofs, caller);
    }
    return otherwise === 'deny' ? { kind: 'deny', rule: otherwiseRule } : satisfied(undefined, proofs, caller);
  }

  /** Worked out once for all readings. */
  #answer(i: number, { rule, condition, proofs }: CompiledRule, facts: Facts, caller: Caller | undefined): number {
    const known = this.#answers[i] ?? unasked;
    if (known !== unasked) return known;
    const answer = decideRule(rule, condition, proofs, facts, caller);
    this.#answers[i] = answer;
    return answer;
  }

  #observe(name: string): void {
    this.#observed ??= [];
    if (!this.#observed.includes(name)) this.#observed.push(name);
  }
}

function decideRule(rule: AccessRule, condition: Condition, proofs: ProofAlternatives, facts: Facts, caller: Caller | undefined): number {
  const taken = (answer: Answer): boolean => answer === 'yes' || (answer === 'unknown' && rule.action === 'deny');
  if (!taken(condition.where(facts))) return no;
  if (!condition.asksWho) return holds;
  if (caller !== undefined) return taken(condition.who(caller.identity)) ? holds : no;
  // Where nobody can prove who they are, it cannot be told.
  return proofs.length > 0 ? asksWho : taken('unknown') ? holds : no;
}

function satisfied(rule: string | undefined, proofs: ProofAlternatives, caller: Caller | undefined): Decided {
  if (proofs.length === 0) return { kind: 'bypass', rule };
  if (caller !== undefined && sufficient(proofs, caller.proofs)) return { kind: 'allow', rule };
  return { kind: 'ask', rule, proofs };
}

function stricter(before: Decided | undefined, next: Decided): Decided {
  return before === undefined || strictness[next.kind] > strictness[before.kind] ? next : before;
}
