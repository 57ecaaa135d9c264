// Reading a saved file strictly: every field must be what was written.
import { type IpPrefix, parsePrefix } from '#lib/ip.ts';

/** Reads fields of parsed JSON; anything of another type throws, and the one catch above makes it "none". */
export class Fields {
  readonly #value: Readonly<Record<string, unknown>>;

  constructor(value: unknown) {
    if (typeof value !== 'object' || value === null) throw new TypeError('not an object');
    this.#value = value as Readonly<Record<string, unknown>>;
  }

  has(name: string): boolean {
    return this.#value[name] !== undefined;
  }
  text(name: string): string {
    const value = this.#value[name];
    if (typeof value !== 'string') throw new TypeError(name);
    return value;
  }
  number(name: string): number {
    const value = this.#value[name];
    if (typeof value !== 'number') throw new TypeError(name);
    return value;
  }
  flag(name: string): boolean {
    const value = this.#value[name];
    if (typeof value !== 'boolean') throw new TypeError(name);
    return value;
  }
  isList(name: string): boolean {
    return Array.isArray(this.#value[name]);
  }
  list(name: string): readonly unknown[] {
    const value = this.#value[name];
    if (!Array.isArray(value)) throw new TypeError(name);
    return value;
  }
  object(name: string): Fields {
    return new Fields(this.#value[name]);
  }
  prefix(name: string): IpPrefix {
    return prefixFrom(this.#value[name]);
  }
  oneOf<T extends string>(name: string, values: readonly T[]): T {
    const value = values.find((candidate) => candidate === this.#value[name]);
    if (value === undefined) throw new TypeError(name);
    return value;
  }
}

/** Throws where it is none. */
export function prefixFrom(value: unknown): IpPrefix {
  const prefix = typeof value === 'string' ? parsePrefix(value) : undefined;
  if (prefix === undefined) throw new TypeError('prefix');
  return prefix;
}

/** Throws where it is none. */
export function textFrom(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('text');
  return value;
}
