// The services this gateway serves, as the control plane last said. A value that is swapped whole; a cold start begins with the last good one.
import { join } from 'node:path';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import type { Logger } from '#lib/log.ts';
import type { ServiceId } from '#model/ids.ts';
import type { MappingChange, ServiceMapping } from '#model/service.ts';
import { maxMappings } from '../constants.ts';

export type MappingSet = ReadonlyMap<ServiceId, ServiceMapping>;

/** Bumped where the form of what is written changes: another version's file is not read. */
const formatVersion = 2;

export class Mappings {
  readonly #file: string;
  readonly #log: Logger;
  readonly #changed: (now: MappingSet, gone: readonly ServiceMapping[]) => void;
  #current: MappingSet = new Map();
  /** Whether there is a configuration at all, be it empty: from the control plane, or kept. */
  known = false;
  /** Ids that the snapshot under way has brought, or undefined between snapshots. */
  #snapshot: Set<ServiceId> | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(stateDir: string, log: Logger, changed: (now: MappingSet, gone: readonly ServiceMapping[]) => void) {
    this.#file = join(stateDir, 'mappings.json');
    this.#log = log;
    this.#changed = changed;
  }

  get current(): MappingSet {
    return this.#current;
  }

  /** Starts from what the last run knew, so that a restart serves while the control plane is away. An unreadable file is told and not used. */
  async load(): Promise<void> {
    const text = await readFileIfThere(this.#file);
    if (text === undefined) return;
    const kept: unknown = parseJson(text);
    if (!isKept(kept)) {
      this.#log.warn('the last good configuration cannot be read and is not used', { file: this.#file });
      return;
    }
    this.known = true;
    this.#swap(new Map(kept.mappings.map((mapping) => [mapping.id, mapping])));
  }

  /** Applies one change and resolves when it is in force and on disk. */
  async apply(change: MappingChange): Promise<void> {
    switch (change.kind) {
      case 'snapshot-begin':
        this.#snapshot = new Set();
        return;
      case 'set': {
        const next = new Map(this.#current);
        if (next.size >= maxMappings && !next.has(change.mapping.id)) {
          this.#log.error('too many services; one is not served', { service: change.mapping.id, limit: maxMappings });
          return;
        }
        this.#snapshot?.add(change.mapping.id);
        this.#swap(next.set(change.mapping.id, change.mapping));
        break;
      }
      case 'remove': {
        const next = new Map(this.#current);
        next.delete(change.id);
        this.#swap(next);
        break;
      }
      case 'snapshot-complete': {
        const seen = this.#snapshot;
        if (seen !== undefined) this.#swap(new Map([...this.#current].filter(([id]) => seen.has(id))));
        this.#snapshot = undefined;
        this.known = true;
        break;
      }
    }
    await this.#save();
  }

  #swap(next: MappingSet): void {
    const gone = [...this.#current.values()].filter(({ id }) => !next.has(id));
    this.#current = next;
    this.#changed(next, gone);
  }

  /** One write at a time, in order. One-time tokens are of no use later and stay out. */
  #save(): Promise<void> {
    const mappings = [...this.#current.values()].map((mapping) => ({ ...mapping, authToken: '' }));
    const text = JSON.stringify({ formatVersion, mappings });
    this.#writing = this.#writing
      .then(() => writeFileAtomic(this.#file, text))
      .catch((error: unknown) => this.#log.error('the last good configuration cannot be written', { error: String(error) }));
    return this.#writing;
  }
}

/** The hosts that we end TLS for. */
export function* hostsWithCertificates(mappings: Iterable<ServiceMapping>): Iterable<string> {
  for (const { mode, domain } of mappings) if (mode === 'http') yield domain;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The file is ours, 0600 and written whole; its version is what has to be checked. */
function isKept(value: unknown): value is { readonly mappings: readonly ServiceMapping[] } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'formatVersion' in value &&
    value.formatVersion === formatVersion &&
    'mappings' in value &&
    Array.isArray(value.mappings)
  );
}
