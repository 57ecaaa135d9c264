// A set of field names by class: a name belongs to it in every spelling that some server takes for the same (attack rows H-2, H-3).
import { canonicalHeaderName } from '#model/field-names.ts';

/** Spellings remembered; strangers can only empty the table. */
const REMEMBERED = 256;

export class FieldClass {
  readonly empty: boolean;
  readonly #folded: ReadonlySet<string>;
  readonly #spellings = new Map<string, boolean>();

  constructor(names: Iterable<string>) {
    this.#folded = new Set([...names].map(canonicalHeaderName));
    this.empty = this.#folded.size === 0;
  }

  /** By the name in lower case. */
  has(key: string): boolean {
    if (this.empty) return false;
    const known = this.#spellings.get(key);
    if (known !== undefined) return known;
    const found = this.#folded.has(canonicalHeaderName(key));
    if (this.#spellings.size >= REMEMBERED) this.#spellings.clear();
    this.#spellings.set(key, found);
    return found;
  }
}

export const noFields = new FieldClass([]);
