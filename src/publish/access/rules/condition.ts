// The condition of one rule, but for its paths: three answers, as some things cannot be told.
import { parsePrefix } from '#lib/ip.ts';
import { PrefixTable } from '#lib/prefix-table.ts';
import type { AccessCondition } from '#model/access.ts';
import type { GroupId } from '#model/ids.ts';
import type { Identity } from '#model/identity.ts';
import type { Facts } from './facts.ts';
import { WeekTimes } from './week-times.ts';

/** `unknown`: it holds for `deny`, and for nothing else. */
export type Answer = 'yes' | 'no' | 'unknown';

const inside = {};

export class Condition {
  readonly #methods: ReadonlySet<string> | undefined;
  readonly #addresses: PrefixTable<object> | undefined;
  /** Whether all addresses could be read. */
  readonly #addressesWhole: boolean;
  readonly #countries: ReadonlySet<string> | undefined;
  readonly #networks: ReadonlySet<number> | undefined;
  readonly #times: WeekTimes | undefined;
  readonly #users: ReadonlySet<string> | undefined;
  readonly #groups: ReadonlySet<GroupId> | undefined;
  readonly #claims: AccessCondition['claims'] | undefined;
  /** Whether it asks who the caller is. */
  readonly asksWho: boolean;

  constructor({ methods, addresses, countries, networks, times, users, groups, claims }: AccessCondition) {
    this.#methods = setOf(methods);
    const prefixes = addresses.map(parsePrefix);
    this.#addressesWhole = !prefixes.includes(undefined);
    if (addresses.length > 0) {
      this.#addresses = new PrefixTable();
      for (const prefix of prefixes) if (prefix !== undefined) this.#addresses.set(prefix, inside);
    }
    this.#countries = setOf(countries);
    this.#networks = setOf(networks);
    this.#times = times.length === 0 ? undefined : new WeekTimes(times);
    this.#users = setOf(users);
    this.#groups = setOf(groups);
    this.#claims = claims.length === 0 ? undefined : claims;
    this.asksWho = users.length + groups.length + claims.length > 0;
  }

  /** Whether it changes with the time of the day. */
  get asksWhen(): boolean {
    return this.#times !== undefined;
  }

  /** Whether all holds that does not ask who it is. */
  where(facts: Facts): Answer {
    if (this.#methods !== undefined && (facts.method === undefined || !this.#methods.has(facts.method))) return 'no';
    let answer: Answer = 'yes';
    if (this.#addresses !== undefined) {
      const { address } = facts;
      if (address === undefined) answer = 'unknown';
      else if (this.#addresses.lookup(address.family, address.bytes, 0) === undefined) {
        if (this.#addressesWhole) return 'no';
        answer = 'unknown';
      }
    }
    if (this.#times !== undefined) {
      const held = this.#times.hold(facts.now);
      if (held === false) return 'no';
      if (held === undefined) answer = 'unknown';
    }
    if (this.#countries !== undefined) {
      const country = facts.address === undefined ? undefined : facts.geo.country(facts.address);
      if (country === undefined) answer = 'unknown';
      else if (!this.#countries.has(country)) return 'no';
    }
    if (this.#networks !== undefined) {
      const network = facts.address === undefined ? undefined : facts.geo.network(facts.address);
      if (network === undefined) answer = 'unknown';
      else if (!this.#networks.has(network)) return 'no';
    }
    return answer;
  }

  /** Whether the caller is one that it names. Who has no account (a shared password, a link) may be anybody. */
  who(identity: Identity): Answer {
    const { userId, email, groupIds, claims, method } = identity;
    const account = !(userId.startsWith(method) && userId.charCodeAt(method.length) === 0x3a);
    let answer: Answer = 'yes';
    if (this.#users !== undefined && !this.#users.has(userId.toLowerCase()) && (email === '' || !this.#users.has(email.toLowerCase()))) {
      if (account) return 'no';
      answer = 'unknown';
    }
    if (this.#groups !== undefined) {
      const groups = this.#groups;
      if (!account || groupIds === undefined) answer = 'unknown';
      else if (!groupIds.some((id) => groups.has(id))) return 'no';
    }
    if (this.#claims !== undefined) {
      if (!account || claims === undefined) answer = 'unknown';
      else if (!this.#claims.some(({ name, value }) => Object.hasOwn(claims, name) && claims[name]?.includes(value) === true)) return 'no';
    }
    return answer;
  }
}

function setOf<T>(entries: readonly T[]): ReadonlySet<T> | undefined {
  return entries.length === 0 ? undefined : new Set(entries);
}
