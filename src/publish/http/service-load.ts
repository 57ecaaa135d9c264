// How many requests of a service are in work at this gateway, for services that say how many may be.
import type { ServiceId } from '#model/ids.ts';

export class ServiceLoad {
  readonly #inWork = new Map<ServiceId, number>();

  /** Takes one of `most` places; false where all are taken. */
  enter(id: ServiceId, most: number): boolean {
    const now = this.#inWork.get(id) ?? 0;
    if (now >= most) return false;
    this.#inWork.set(id, now + 1);
    return true;
  }

  leave(id: ServiceId): void {
    const left = (this.#inWork.get(id) ?? 1) - 1;
    if (left > 0) this.#inWork.set(id, left);
    else this.#inWork.delete(id);
  }
}
