// When which connection wants to be polled: a binary heap that knows each entry's place. It is lazy: an entry whose time moves later
// stays where it is and is put right when it comes up, so a packet that only pushes a timer back costs nothing here.

export interface Timed {
  /** When this entry comes up; never later than what its owner wants. Managed by the heap. */
  dueAt: number;
  /** Place in the heap, -1 outside. Managed by the heap. */
  heapIndex: number;
}

export class Deadlines<T extends Timed> {
  readonly #heap: T[] = [];

  /** The earliest time at which anything may be due; Infinity when empty. May be too early, never too late. */
  next(): number {
    return this.#heap[0]?.dueAt ?? Infinity;
  }

  get size(): number {
    return this.#heap.length;
  }

  /** Makes sure that `entry` comes up at `at` or before; Infinity asks for nothing. */
  schedule(entry: T, at: number): void {
    if (entry.heapIndex < 0) {
      if (at === Infinity) return;
      entry.dueAt = at;
      entry.heapIndex = this.#heap.length;
      this.#heap.push(entry);
      this.#up(entry.heapIndex);
    } else if (at < entry.dueAt) {
      entry.dueAt = at;
      this.#up(entry.heapIndex);
    }
  }

  /** Takes out one entry that is due, or undefined. */
  takeDue(now: number): T | undefined {
    const first = this.#heap[0];
    if (first === undefined || first.dueAt > now) return undefined;
    this.remove(first);
    return first;
  }

  remove(entry: T): void {
    const index = entry.heapIndex;
    if (index < 0) return;
    entry.heapIndex = -1;
    const last = this.#heap.pop();
    if (last === undefined || last === entry) return;
    this.#heap[index] = last;
    last.heapIndex = index;
    this.#up(index);
    this.#down(last.heapIndex);
  }

  #up(from: number): void {
    const heap = this.#heap;
    let index = from;
    const entry = heap[index] as T;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = heap[parentIndex] as T;
      if (parent.dueAt <= entry.dueAt) break;
      heap[index] = parent;
      parent.heapIndex = index;
      index = parentIndex;
    }
    heap[index] = entry;
    entry.heapIndex = index;
  }

  #down(from: number): void {
    const heap = this.#heap;
    let index = from;
    const entry = heap[index] as T;
    for (;;) {
      let childIndex = 2 * index + 1;
      if (childIndex >= heap.length) break;
      if (childIndex + 1 < heap.length && (heap[childIndex + 1] as T).dueAt < (heap[childIndex] as T).dueAt) childIndex++;
      const child = heap[childIndex] as T;
      if (child.dueAt >= entry.dueAt) break;
      heap[index] = child;
      child.heapIndex = index;
      index = childIndex;
    }
    heap[index] = entry;
    entry.heapIndex = index;
  }
}
