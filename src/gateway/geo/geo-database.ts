// One MaxMind DB file of the operator's: read whole, and again when it changes. What cannot be read leaves the last one that could.
import { readFile, stat } from 'node:fs/promises';
import { Reader } from 'mmdb-lib';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { formatIp, type IpAddress } from '#lib/ip.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { geoCacheSize, geoPollMs } from '../constants.ts';

export interface GeoDatabaseDeps {
  readonly clock: Clock;
  readonly log: Logger;
}

/** A record of the file, as far as anybody looks into it. */
export type GeoRecord = Readonly<Record<string, unknown>>;

export class GeoDatabase implements Closable {
  readonly #file: string;
  readonly #deps: GeoDatabaseDeps;
  #reader: Reader<never> | undefined;
  /** Of addresses that were asked for, so that a visitor's is looked up once. */
  readonly #found = new Map<string, GeoRecord | undefined>();
  #stamp = '';
  #problem = 'it has not been read yet';
  #version = 0;
  #poll: Timer | undefined;
  #closed = false;

  private constructor(file: string, deps: GeoDatabaseDeps) {
    this.#file = file;
    this.#deps = deps;
  }

  /** Never rejects: what cannot be read is a problem that passes when it can. */
  static async open(file: string, deps: GeoDatabaseDeps): Promise<GeoDatabase> {
    const database = new GeoDatabase(file, deps);
    await database.#read();
    database.#arm();
    return database;
  }

  /** Why nothing can be looked up; empty where it can. */
  get problem(): string {
    return this.#reader === undefined ? `${this.#file}: ${this.#problem}` : '';
  }

  /** Grows with each file that was read. */
  get version(): number {
    return this.#version;
  }

  /** What the file says of the address; undefined where it says nothing. */
  lookup(address: IpAddress): GeoRecord | undefined {
    if (this.#reader === undefined) return undefined;
    const text = formatIp(address);
    if (this.#found.has(text)) return this.#found.get(text);
    if (this.#found.size >= geoCacheSize) this.#found.clear();
    const record = lookUp(this.#reader, text);
    this.#found.set(text, record);
    return record;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#poll?.cancel();
  }

  #arm(): void {
    this.#poll = this.#deps.clock.after(geoPollMs, () => {
      void this.#read().then(() => (this.#closed ? undefined : this.#arm()));
    });
  }

  async #read(): Promise<void> {
    try {
      const { mtimeMs, size, ino } = await stat(this.#file);
      const stamp = `${mtimeMs} ${size} ${ino}`;
      if (stamp === this.#stamp) return;
      this.#stamp = stamp;
      this.#reader = new Reader<never>(await readFile(this.#file));
      this.#found.clear();
      this.#version++;
      this.#problem = '';
      this.#deps.log.info('a data base of addresses was read', { file: this.#file });
    } catch (error) {
      const problem = describeError(error);
      if (problem !== this.#problem) this.#deps.log.warn('a data base of addresses cannot be read', { file: this.#file, error: problem });
      this.#problem = problem;
    }
  }
}

/** A file may be broken anywhere: what cannot be read says nothing. */
function lookUp(reader: Reader<never>, address: string): GeoRecord | undefined {
  try {
    const record: unknown = reader.get(address);
    return typeof record === 'object' && record !== null ? (record as GeoRecord) : undefined;
  } catch {
    return undefined;
  }
}
