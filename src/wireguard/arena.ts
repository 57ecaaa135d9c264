// The memory in which messages are sealed and opened, and views of its beginning that are made once.
import type { AeadProvider } from '#crypto/aead.ts';

/** Views of this length and below are kept: those of single packets, whose lengths repeat. */
const keptViewBytes = 2_048;

/** Memory in which the cipher works without a copy, or plain memory where it has none of its own. */
export function arena(aead: AeadProvider, bytes: number): Uint8Array {
  return aead.alloc?.(bytes) ?? new Uint8Array(bytes);
}

/** Views of the first bytes of an arena: one for each length, so that a packet makes no object. */
export class Views {
  readonly #bytes: Uint8Array;
  readonly #views: (Uint8Array | undefined)[] = Array.from({ length: keptViewBytes + 1 }, () => undefined);

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  first(length: number): Uint8Array {
    if (length > keptViewBytes) return this.#bytes.subarray(0, length);
    const kept = this.#views[length];
    if (kept !== undefined) return kept;
    const view = this.#bytes.subarray(0, length);
    this.#views[length] = view;
    return view;
  }
}
