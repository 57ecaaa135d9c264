// Which connection a segment belongs to: the four-tuple as integers, and a hash table from it. Addresses and ports are compared as
// whole words, so looking up a packet allocates nothing.
import { readInt32 } from '#wire/tcp.ts';
import type { KeyedHash } from './keyed-hash.ts';

/** A four-tuple seen from this host. IPv4 addresses use word 0 only; the others stay 0. */
export class Flow {
  family: 4 | 6 = 4;
  local0 = 0;
  local1 = 0;
  local2 = 0;
  local3 = 0;
  remote0 = 0;
  remote1 = 0;
  remote2 = 0;
  remote3 = 0;
  /** Local port in the high half, remote port in the low half. */
  ports = 0;

  /** Sets this flow from addresses in `bytes` (network order) and ports. */
  set(family: 4 | 6, local: Uint8Array, localAt: number, remote: Uint8Array, remoteAt: number, localPort: number, remotePort: number): this {
    const six = family === 6;
    this.family = family;
    this.local0 = readInt32(local, localAt);
    this.local1 = six ? readInt32(local, localAt + 4) : 0;
    this.local2 = six ? readInt32(local, localAt + 8) : 0;
    this.local3 = six ? readInt32(local, localAt + 12) : 0;
    this.remote0 = readInt32(remote, remoteAt);
    this.remote1 = six ? readInt32(remote, remoteAt + 4) : 0;
    this.remote2 = six ? readInt32(remote, remoteAt + 8) : 0;
    this.remote3 = six ? readInt32(remote, remoteAt + 12) : 0;
    this.ports = (localPort << 16) | remotePort;
    return this;
  }

  copy(): Flow {
    return Object.assign(new Flow(), this);
  }

  hash(hash: KeyedHash): number {
    hash.begin().add(this.ports).add(this.remote0).add(this.local0);
    if (this.family === 6) hash.add(this.remote1).add(this.remote2).add(this.remote3).add(this.local1).add(this.local2).add(this.local3);
    return hash.end();
  }
}

function sameFlow(a: Flow, b: Flow): boolean {
  return (
    a.ports === b.ports &&
    a.remote0 === b.remote0 &&
    a.local0 === b.local0 &&
    a.remote3 === b.remote3 &&
    a.local3 === b.local3 &&
    a.remote1 === b.remote1 &&
    a.remote2 === b.remote2 &&
    a.local1 === b.local1 &&
    a.local2 === b.local2 &&
    a.family === b.family
  );
}

/** What the table keeps: entries chain themselves where hashes collide. */
export interface FlowEntry<T> {
  readonly flow: Flow;
  nextInBucket: T | undefined;
}

/** Flow → entry. The owner bounds its size. */
export class FlowTable<T extends FlowEntry<T>> {
  readonly #buckets = new Map<number, T>();
  readonly #hash: KeyedHash;
  #size = 0;

  constructor(hash: KeyedHash) {
    this.#hash = hash;
  }

  get size(): number {
    return this.#size;
  }

  find(flow: Flow): T | undefined {
    let entry = this.#buckets.get(flow.hash(this.#hash));
    while (entry !== undefined && !sameFlow(entry.flow, flow)) entry = entry.nextInBucket;
    return entry;
  }

  /** Adds an entry whose flow is not in the table. */
  add(entry: T): void {
    const key = entry.flow.hash(this.#hash);
    entry.nextInBucket = this.#buckets.get(key);
    this.#buckets.set(key, entry);
    this.#size++;
  }

  remove(entry: T): void {
    const key = entry.flow.hash(this.#hash);
    let before: T | undefined;
    let at = this.#buckets.get(key);
    while (at !== undefined && at !== entry) {
      before = at;
      at = at.nextInBucket;
    }
    if (at === undefined) return;
    if (before !== undefined) before.nextInBucket = at.nextInBucket;
    else if (at.nextInBucket !== undefined) this.#buckets.set(key, at.nextInBucket);
    else this.#buckets.delete(key);
    entry.nextInBucket = undefined;
    this.#size--;
  }

  /** All entries as they are now; removing while going through them is safe. */
  entries(): T[] {
    const all: T[] = [];
    for (const first of this.#buckets.values()) {
      for (let entry: T | undefined = first; entry !== undefined; entry = entry.nextInBucket) all.push(entry);
    }
    return all;
  }
}
