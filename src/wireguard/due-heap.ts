// Which of many things is due first: a binary heap whose members know their place, so that a due time can be moved without a search.
// Later due times are noticed only at the top: a data path that keeps pushing a timeout back pays for a comparison and no more.

export interface Due {
  /** Place in the heap; -1 outside. Belongs to the heap. */
  heapPlace: number;
  /** The due time that the heap knows; the true one is never earlier. Belongs to the heap. */
  heapAt: number;
  /** The true due time; Infinity where nothing is pending. */
  dueAt(): number;
}

export class DueHeap<T extends Due> {
  readonly #items: T[] = [];

  /** To be called after the item's due time may have become earlier. */
  update(item: T): void {
    const at = item.dueAt();
    if (item.heapPlace < 0) {
      if (at === Infinity) return;
      item.heapAt = at;
      item.heapPlace = this.#items.length;
      this.#items.push(item);
      this.#up(item);
    } else if (at < item.heapAt) {
      item.heapAt = at;
      this.#up(item);
    }
  }

  remove(item: T): void {
    const place = item.heapPlace;
    if (place < 0) return;
    item.heapPlace = -1;
    const last = this.#items.pop();
    if (last === undefined || last === item) return;
    this.#put(last, place);
    this.#up(last);
    this.#down(last);
  }

  /** The item that is due first, with `heapAt` as its true due time; undefined where nothing is pending. */
  first(): T | undefined {
    for (;;) {
      const top = this.#items[0];
      if (top === undefined) return undefined;
      const at = top.dueAt();
      if (at <= top.heapAt) return top;
      if (at === Infinity) {
        this.remove(top);
      } else {
        top.heapAt = at;
        this.#down(top);
      }
    }
  }

  #put(item: T, place: number): void {
    this.#items[place] = item;
    item.heapPlace = place;
  }

  #up(item: T): void {
    let place = item.heapPlace;
    while (place > 0) {
      const above = this.#items[(place - 1) >> 1];
      if (above === undefined || above.heapAt <= item.heapAt) break;
      this.#put(above, place);
      place = (place - 1) >> 1;
    }
    this.#put(item, place);
  }

  #down(item: T): void {
    let place = item.heapPlace;
    for (;;) {
      const left = this.#items[2 * place + 1];
      const right = this.#items[2 * place + 2];
      const below = right !== undefined && left !== undefined && right.heapAt < left.heapAt ? right : left;
      if (below === undefined || below.heapAt >= item.heapAt) break;
      const next = below.heapPlace;
      this.#put(below, place);
      place = next;
    }
    this.#put(item, place);
  }
}
