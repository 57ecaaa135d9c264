// A set of objects that come and go at a high rate. A Set makes new tables all the time under such use, and its old ones, dead but in old
// space, keep whatever they named alive through minor collections; here a place is an index that the member knows.

export interface Slotted {
  /** The set's own; -1 while it is in none. A member is in one set at most. */
  slot: number;
}

export class Slots<T extends Slotted> {
  /** The first `#size` places are taken. It never shrinks, so that it is not made anew either. */
  readonly #members: (T | undefined)[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(member: T): void {
    if (member.slot >= 0) return;
    member.slot = this.#size;
    this.#members[this.#size++] = member;
  }

  delete(member: T): void {
    const { slot } = member;
    if (slot < 0) return;
    member.slot = -1;
    const last = this.#members[--this.#size];
    this.#members[this.#size] = undefined;
    if (last === undefined || last === member) return;
    last.slot = slot;
    this.#members[slot] = last;
  }

  clear(): void {
    for (let i = this.#size - 1; i >= 0; i--) {
      const member = this.#members[i];
      if (member !== undefined) member.slot = -1;
      this.#members[i] = undefined;
    }
    this.#size = 0;
  }

  /** Members may leave and come meanwhile: who stays is visited, perhaps twice where another one leaves; none is that has left. */
  forEach(visit: (member: T) => void): void {
    for (let i = this.#size - 1; i >= 0; i--) {
      // From the end: whoever moves into a freed place has been visited already, or still will be.
      const member = i < this.#size ? this.#members[i] : undefined;
      if (member !== undefined) visit(member);
    }
  }
}
