// The decisions of a CrowdSec LAPI, ready to be asked for an address: single addresses in tables of their own, as most are such, and ranges in a trie.
import { asBuffer } from '#lib/bytes.ts';
import { hostPrefix, type IpAddress, type IpPrefix, parsePrefix } from '#lib/ip.ts';
import { PrefixTable } from '#lib/prefix-table.ts';
import type { GeoLookup } from '#publish/index.ts';

/** One decision, as the LAPI tells it. Whatever it asks for (ban, captcha), it is kept out here: nothing milder can be done. */
export interface Decision {
  readonly id: number;
  readonly scope: 'ip' | 'range' | 'country' | 'as';
  readonly value: string;
  /** For the log. */
  readonly scenario: string;
}

/** A decision as it is held: most values have one, so that others of the same value hang behind it. */
interface Held {
  readonly id: number;
  readonly scenario: string;
  readonly next: Held | undefined;
}

export class Decisions {
  readonly #v4 = new Map<number, Held>();
  readonly #v6 = new Map<string, Held>();
  readonly #ranges = new PrefixTable<Held>();
  readonly #countries = new Map<string, Held>();
  readonly #networks = new Map<number, Held>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** False where its value cannot be read. */
  add({ id, scope, value, scenario }: Decision): boolean {
    return this.#change(scope, value, (held) => {
      for (let at = held; at !== undefined; at = at.next) if (at.id === id) return held;
      this.#size++;
      return { id, scenario, next: held };
    });
  }

  /** False where no such decision is known. */
  delete({ id, scope, value }: Decision): boolean {
    const before = this.#size;
    this.#change(scope, value, (held) => {
      const kept = without(held, id);
      if (kept !== held) this.#size--;
      return kept;
    });
    return this.#size < before;
  }

  /** The scenario for which the address is banned; undefined where it is not. */
  banned(address: IpAddress, geo: GeoLookup): string | undefined {
    const host = address.family === 4 ? this.#v4.get(numberOf(address)) : this.#v6.get(textOf(address));
    const held = host ?? (this.#ranges.size === 0 ? undefined : this.#ranges.lookup(address.family, address.bytes, 0));
    return held?.scenario ?? this.#bannedPlace(address, geo);
  }

  /** By country and network. Where that cannot be told it may be one that is banned. */
  #bannedPlace(address: IpAddress, geo: GeoLookup): string | undefined {
    if (this.#countries.size > 0) {
      const country = geo.country(address);
      if (country === undefined) return 'a country is banned, and this one cannot be told';
      const held = this.#countries.get(country);
      if (held !== undefined) return held.scenario;
    }
    if (this.#networks.size > 0) {
      const network = geo.network(address);
      if (network === undefined) return 'a network is banned, and this one cannot be told';
      return this.#networks.get(network)?.scenario;
    }
    return undefined;
  }

  /** Puts another chain in the place of a value's; undefined takes it out. False where the value cannot be read. */
  #change(scope: Decision['scope'], value: string, to: (held: Held | undefined) => Held | undefined): boolean {
    if (scope === 'country') return change(this.#countries, value.toUpperCase(), to);
    if (scope === 'as') return change(this.#networks, Number(value.replace(/^as/i, '')), to);
    const prefix = parsePrefix(value);
    if (prefix === undefined) return false;
    if (isHost(prefix)) {
      const { address } = prefix;
      return address.family === 4 ? change(this.#v4, numberOf(address), to) : change(this.#v6, textOf(address), to);
    }
    const held = to(this.#ranges.get(prefix));
    if (held === undefined) this.#ranges.delete(prefix);
    else this.#ranges.set(prefix, held);
    return true;
  }
}

function change<K>(table: Map<K, Held>, key: K, to: (held: Held | undefined) => Held | undefined): boolean {
  const held = to(table.get(key));
  if (held === undefined) table.delete(key);
  else table.set(key, held);
  return true;
}

/** The chain without one decision; the same chain where it is not in it. */
function without(held: Held | undefined, id: number): Held | undefined {
  if (held === undefined) return undefined;
  if (held.id === id) return held.next;
  const next = without(held.next, id);
  return next === held.next ? held : { ...held, next };
}

function isHost({ address, bits }: IpPrefix): boolean {
  return bits === hostPrefix(address).bits;
}

function numberOf({ bytes }: IpAddress): number {
  return asBuffer(bytes).readUInt32BE(0);
}

function textOf({ bytes }: IpAddress): string {
  return asBuffer(bytes).toString('latin1');
}
