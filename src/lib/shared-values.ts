// Equal values kept once: ten thousand services that differ in their names hardly differ in their options.

/** Values remembered; those beyond are shared only with what comes soon after. */
const REMEMBERED = 512;
/** Characters of the JSON of one; what is longer is hardly ever equal, and may hold keys. */
const SHARED_TEXT = 4_096;

export class SharedValues {
  /** By what they are as JSON; the longest unused one first. */
  readonly #values = new Map<string, unknown>();

  /** An earlier value that is equal as JSON, or this one. Both have to be plain data that nobody changes. */
  value<T>(value: T): T {
    return this.made('value', value, () => value);
  }

  text(text: string): string {
    return this.made('text', text, () => text);
  }

  /** What was made before of an equal value, or is made now; `kind` says what is made of it. */
  made<From, Made>(kind: string, from: From, make: () => Made): Made {
    const text = JSON.stringify(from);
    return text.length > SHARED_TEXT ? make() : this.#remember(`${kind} ${text}`, make);
  }

  get size(): number {
    return this.#values.size;
  }

  #remember<T>(key: string, make: () => T): T {
    const known = this.#values.get(key) as T | undefined;
    const shared = known ?? make();
    if (known !== undefined) this.#values.delete(key);
    this.#values.set(key, shared);
    for (const oldest of this.#values.keys()) {
      if (this.#values.size <= REMEMBERED) break;
      this.#values.delete(oldest);
    }
    return shared;
  }
}
