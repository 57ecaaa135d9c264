// The services this gateway serves, as the control plane last said; a cold start begins with the last good ones. Each change is told by
// itself, so that it costs the same with ten services and with ten thousand.
import { isDeepStrictEqual } from 'node:util';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { ServiceId } from '#model/ids.ts';
import { SharedValues } from '#lib/shared-values.ts';
import { asksFor } from '#model/access.ts';
import type { MappingChange, ServiceMapping } from '#model/service.ts';
import { maxMappings } from '../constants.ts';
import { KeptMappings, type KeptMappingsDeps } from './kept-mappings.ts';

export type MappingSet = ReadonlyMap<ServiceId, ServiceMapping>;

export interface MappingFollower {
  /** A service is new or has changed; not called where a snapshot repeats what is known. */
  set(mapping: ServiceMapping, before: ServiceMapping | undefined): void;
  removed(mapping: ServiceMapping): void;
  /** After one or more of the above: at once, or within a snapshot when the event loop comes round. For what looks at all services. */
  settled(): void;
}

export class Mappings implements Closable {
  readonly #log: Logger;
  readonly #follower: MappingFollower;
  readonly #kept: KeptMappings;
  readonly #current = new Map<ServiceId, ServiceMapping>();
  readonly #shared = new SharedValues();
  /** Whether there is a configuration at all, be it empty: from the control plane, or kept. */
  known = false;
  /** Ids that the snapshot under way has brought, or undefined between snapshots. */
  #snapshot: Set<ServiceId> | undefined;
  #unsettled = false;

  constructor(stateDir: string, deps: KeptMappingsDeps, follower: MappingFollower) {
    this.#log = deps.log;
    this.#follower = follower;
    this.#kept = new KeptMappings(stateDir, deps, () => this.#current.values());
  }

  /** As it is, also while it changes. */
  get current(): MappingSet {
    return this.#current;
  }

  /** What is wrong with the file of the last good configuration; empty where nothing is. */
  get problem(): string {
    return this.#kept.problem;
  }

  close(): Promise<void> {
    return this.#kept.close();
  }

  /** Starts from what the last run knew, so that a restart serves while the control plane is away. */
  async load(): Promise<void> {
    const kept = await this.#kept.load();
    if (kept === undefined) return;
    this.known = true;
    for (const mapping of kept) this.#set(mapping);
    this.#settle();
  }

  /** Applies one change. Resolves when it is in force and on disk; within a snapshot only its end waits for the disk. */
  async apply(change: MappingChange): Promise<void> {
    switch (change.kind) {
      case 'snapshot-begin':
        this.#snapshot = new Set();
        return;
      case 'set':
        if (this.#current.size >= maxMappings && !this.#current.has(change.mapping.id)) {
          this.#log.error('too many services; one is not served', { service: change.mapping.id, limit: maxMappings });
          return;
        }
        this.#snapshot?.add(change.mapping.id);
        return this.#set(change.mapping) ? this.#changed({ set: change.mapping }) : undefined;
      case 'remove':
        if (!this.#remove(change.id)) return;
        return this.#changed({ remove: change.id });
      case 'snapshot-complete': {
        const seen = this.#snapshot;
        this.#snapshot = undefined;
        this.known = true;
        if (seen !== undefined) {
          for (const id of this.#current.keys()) if (!seen.has(id) && this.#remove(id)) void this.#kept.record({ remove: id });
        }
        this.#settle();
        return this.#kept.settled();
      }
    }
  }

  /** Kept, and settled: each by itself between snapshots, many together within one. */
  #changed(change: Parameters<KeptMappings['record']>[0]): Promise<void> {
    const kept = this.#kept.record(change);
    if (this.#snapshot === undefined) {
      this.#settle();
      return kept;
    }
    if (!this.#unsettled) {
      this.#unsettled = true;
      setImmediate(() => this.#settle());
    }
    return Promise.resolve();
  }

  #settle(): void {
    this.#unsettled = false;
    this.#follower.settled();
  }

  /** Whether anything is different but the one-time token. */
  #set(received: ServiceMapping): boolean {
    const mapping = shareParts(received, this.#shared);
    const before = this.#current.get(mapping.id);
    this.#current.set(mapping.id, mapping);
    if (before !== undefined && isDeepStrictEqual({ ...before, authToken: '' }, { ...mapping, authToken: '' })) return false;
    this.#follower.set(mapping, before);
    return true;
  }

  #remove(id: ServiceId): boolean {
    const mapping = this.#current.get(id);
    if (mapping === undefined) return false;
    this.#current.delete(id);
    this.#follower.removed(mapping);
    return true;
  }
}

/** The same, with parts that are equal to another service's kept once. */
function shareParts(mapping: ServiceMapping, shared: SharedValues): ServiceMapping {
  return {
    ...mapping,
    accountId: shared.value(mapping.accountId),
    paths: mapping.paths.map((path) => ({ ...path, targets: shared.value(path.targets), options: shared.value(path.options) })),
    access: shared.value(mapping.access),
    restrictions: shared.value(mapping.restrictions),
    web: shared.value(mapping.web),
    stream: shared.value(mapping.stream),
  };
}

/** The hosts that we end TLS for: web services, and the pages at which people sign in for others. */
export function* hostsWithCertificates(mappings: Iterable<ServiceMapping>): Iterable<string> {
  for (const { mode, domain, access, stream } of mappings)
    if (mode === 'http' || asksFor(access, 'oidc') || stream.termination !== undefined) yield domain;
}
