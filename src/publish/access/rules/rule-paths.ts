// Which rules name a path: one look-up for all rules of a service, over every reading that a server behind us may have (DESIGN §5).
import { pathReadings } from '../../http/path-readings.ts';

/**
 * What a server makes of a path that ignores the case of letters, and dots, spaces and stream names at the end of a name. Both sides are folded
 * alike, so more is alike here than on any such server.
 */
function folded(path: string): string {
  return path.toLowerCase().replaceAll(/(?:::?\$[a-z_]*|[. ])+(?=\/|$)/g, '');
}

/** What has one reading only and is folded already, but for empty segments. */
const plain = /^[a-z0-9/_-]+$/;

/** The readings of a request's path: as they are, and folded. */
export interface RuleReadings {
  readonly exact: readonly string[];
  readonly folded: readonly string[];
}

/** For each reading, the numbers of the rules that name it or something above it. */
export class RulePaths {
  readonly #exact = new Map<string, number[]>();
  readonly #folded = new Map<string, number[]>();
  /** Whether a path that is folded already can mean something else than it says. */
  #unfolded = false;
  /** Segments of the longest path named; no reading is looked at beyond. */
  #depth = 0;

  /** Adds what a rule names, written as paths are: `/` is everything. */
  add(rule: number, paths: readonly string[]): void {
    for (const path of paths) {
      const named = path.replace(/\/+$/, '');
      this.#depth = Math.max(this.#depth, named.split('/').length - 1);
      if (folded(named) !== named) this.#unfolded = true;
      push(this.#exact, named, rule);
      push(this.#folded, folded(named), rule);
    }
  }

  get none(): boolean {
    return this.#exact.size === 0;
  }

  /** Undefined where a reading climbs above the root: what such a path means cannot be told. */
  readings(path: string): RuleReadings | undefined {
    if (!this.#unfolded && plain.test(path) && !path.includes('//')) return { exact: [path], folded: [] };
    const exact = pathReadings(path);
    if (exact === undefined) return undefined;
    const lower = exact.map(folded);
    const same = !this.#unfolded && lower.every((reading, i) => reading === exact[i]);
    return { exact, folded: same ? [] : [...new Set(lower)] };
  }

  /** Calls back for each rule that names the reading; a rule may come twice. */
  match(reading: string, byFolding: boolean, matched: (rule: number) => void): void {
    const index = byFolding ? this.#folded : this.#exact;
    let end = 0;
    for (let depth = 0; depth <= this.#depth; depth++) {
      const rules = index.get(reading.slice(0, end));
      if (rules !== undefined) for (const rule of rules) matched(rule);
      if (end >= reading.length) return;
      const slash = reading.indexOf('/', end + 1);
      end = slash < 0 ? reading.length : slash;
    }
  }
}

function push(index: Map<string, number[]>, path: string, rule: number): void {
  const rules = index.get(path);
  if (rules === undefined) index.set(path, [rule]);
  else if (rules.at(-1) !== rule) rules.push(rule);
}
