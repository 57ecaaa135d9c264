// Who is at the relay, and who wants to know of whom (netbird-wire §4.6). Ids are the map keys of `relayPeerKey`.
//
// A subscription is answered once with "online", at once or when the peer comes, and with "offline" each time the peer goes, until it is
// taken back.

/** Whatever stands for a connection. */
export interface Subscriber {
  /** The ids that it is subscribed to; kept by the directory. */
  readonly subscriptions: Set<string>;
}

export class Presence<T extends Subscriber> {
  readonly #online = new Map<string, T>();
  readonly #waiting = new Map<string, Set<T>>();
  readonly #watching = new Map<string, Set<T>>();
  readonly #maxSubscriptions: number;

  constructor(maxSubscriptions: number) {
    this.#maxSubscriptions = maxSubscriptions;
  }

  get size(): number {
    return this.#online.size;
  }

  find(id: string): T | undefined {
    return this.#online.get(id);
  }

  all(): IterableIterator<T> {
    return this.#online.values();
  }

  /** Puts the peer there; returns the connection that it replaces, and who was waiting for it. */
  arrive(id: string, connection: T): { readonly replaced: T | undefined; readonly notify: readonly T[] } {
    const replaced = this.#online.get(id);
    this.#online.set(id, connection);
    const notify = [...(this.#waiting.get(id) ?? [])];
    this.#waiting.delete(id);
    return { replaced, notify };
  }

  /** Takes the connection's interests away, and the peer where the connection is still its own; returns who has to be told that it went. */
  leave(id: string, connection: T): readonly T[] {
    for (const other of connection.subscriptions) this.#forget(other, connection);
    connection.subscriptions.clear();
    if (this.#online.get(id) !== connection) return [];
    this.#online.delete(id);
    const notify = [...(this.#watching.get(id) ?? [])];
    // They learn of its return too, as a stock client subscribes again only when it opens a connection anew.
    for (const watcher of notify) add(this.#waiting, id, watcher);
    return notify;
  }

  /** Adds interests, as many as fit; returns the ids that are there already. */
  subscribe(connection: T, ids: readonly string[]): readonly string[] {
    const there: string[] = [];
    for (const id of ids) {
      if (!connection.subscriptions.has(id)) {
        if (connection.subscriptions.size >= this.#maxSubscriptions) break;
        connection.subscriptions.add(id);
        add(this.#watching, id, connection);
      }
      if (this.#online.has(id)) there.push(id);
      else add(this.#waiting, id, connection);
    }
    return there;
  }

  unsubscribe(connection: T, ids: readonly string[]): void {
    for (const id of ids) {
      if (connection.subscriptions.delete(id)) this.#forget(id, connection);
    }
  }

  #forget(id: string, connection: T): void {
    remove(this.#waiting, id, connection);
    remove(this.#watching, id, connection);
  }
}

function add<T>(sets: Map<string, Set<T>>, id: string, value: T): void {
  const set = sets.get(id);
  if (set === undefined) sets.set(id, new Set([value]));
  else set.add(value);
}

function remove<T>(sets: Map<string, Set<T>>, id: string, value: T): void {
  const set = sets.get(id);
  if (set?.delete(value) === true && set.size === 0) sets.delete(id);
}
