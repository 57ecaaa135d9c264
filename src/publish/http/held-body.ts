// The request's body as far as it has come, held while it is small, so that the request can be sent again.
import { RETRY_BODY } from '../constants.ts';

export class HeldBody {
  #parts: Buffer[] = [];
  #bytes = 0;
  #whole = true;

  /** Whether all of it is still here. */
  get whole(): boolean {
    return this.#whole;
  }

  add(payload: Buffer): void {
    if (!this.#whole) return;
    this.#bytes += payload.length;
    if (this.#bytes > RETRY_BODY) {
      this.#whole = false;
      this.#parts = [];
    } else {
      // A copy: a payload is a view of a larger piece of memory.
      this.#parts.push(Buffer.from(payload));
    }
  }

  replay(write: (payload: Buffer) => void): void {
    for (const part of this.#parts) write(part);
  }
}
